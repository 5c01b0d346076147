//! One team's Service changes nothing for another team's calls to the world outside the mesh.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use examples::cluster::{Cluster, name, processes_of, text};
use serde_json::Value;

use super::support::{SHOP, SOON, shop};

/// Another team's namespace.
const LOUD: &str = "cluster-loud";
/// Its Service, which claims that what goes to port 443 is HTTP.
const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: loud, namespace: cluster-loud}
spec:
  selector: {app: loud}
  ports:
  - {name: http, port: 443, targetPort: 8080}
";
const PORT: u16 = 443;
/// What the server outside says if its client says nothing.
const GREETING: &str = "5.7.0-outside";
/// What a client says that speaks first; no protocol anybody knows.
const PING: &str = "\\x00\\x01ping";
/// What the server then says.
const PONG: &str = "pong";
/// How often a call is repeated: one that works by chance does not count.
const TIMES: usize = 5;

#[tokio::test]
async fn a_service_named_http_on_port_443_changes_no_call_to_the_world_outside() {
    let Some(cluster) = Cluster::connect("cluster external calls").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    let outside = outside(&cluster).unwrap();
    let caller = Caller::find(&cluster).unwrap();
    cluster
        .until("calls to the world outside", SOON, |_| {
            caller.reaches(outside)
        })
        .await
        .unwrap();

    cluster.fresh_namespace(LOUD, false).unwrap();
    cluster.apply(SERVICE).unwrap();
    cluster
        .until(
            "the caller's proxy to know of the Service",
            SOON,
            |cluster| {
                let agent = ["/usr/local/bin/pilot-agent", "request", "GET", "clusters"];
                let known = cluster.exec(SHOP, &caller.pod, "istio-proxy", &agent)?;
                anyhow::ensure!(known.contains("loud.cluster-loud"), "{known}");
                Ok(())
            },
        )
        .await
        .unwrap();
    for _ in 0..TIMES {
        caller.reaches(outside).unwrap();
    }

    let settings = Settings::change(&cluster, "ALLOW_ANY", "REGISTRY_ONLY").unwrap();
    cluster
        .until("calls to be refused", SOON, |_| caller.is_refused(outside))
        .await
        .unwrap();
    for _ in 0..TIMES {
        caller.is_refused(outside).unwrap();
    }
    settings.restore().unwrap();
    cluster
        .until("calls to work again", SOON, |_| caller.reaches(outside))
        .await
        .unwrap();
    cluster.remove_namespace(LOUD).unwrap();
}

/// Starts a server outside the mesh, on the address of the node this test runs on. It speaks first
/// unless the client does.
fn outside(cluster: &Cluster) -> anyhow::Result<SocketAddr> {
    let nodes = cluster.json(&["nodes"])?;
    let addresses = nodes.pointer("/items/0/status/addresses");
    let addresses = addresses.and_then(Value::as_array).into_iter().flatten();
    let own: IpAddr = addresses
        .filter(|one| text(one, "/type") == "InternalIP")
        .map(|one| text(one, "/address"))
        .next()
        .context("the node has no address")?
        .parse()?;
    let address = SocketAddr::new(own, PORT);
    let listener = TcpListener::bind(address)
        .with_context(|| format!("{address}: this test runs on the node, with port 443 free"))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || converse(stream));
        }
    });
    Ok(address)
}

/// One connection; whoever hangs up early is not answered.
fn converse(mut stream: TcpStream) -> Option<()> {
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .ok()?;
    let mut said = [0; 64];
    let answer = match stream.read(&mut said) {
        Ok(0) => return None,
        Ok(_) => PONG,
        Err(_silence) => GREETING,
    };
    stream.write_all(format!("{answer}\n").as_bytes()).ok()
}

/// The shop's caller, whose connections its sidecar captures.
struct Caller {
    pod: String,
    /// A process of the pod, by which its network is entered.
    process: i32,
}

impl Caller {
    fn find(cluster: &Cluster) -> anyhow::Result<Self> {
        let pods = cluster.ready_pods(SHOP, "app=caller")?;
        let pod = name(pods.first().context("no caller is ready")?).to_owned();
        let processes = processes_of(&[&format!("{SHOP}/{pod}")])?;
        let process = processes
            .first()
            .copied()
            .context("this test runs on the node, as root")?;
        Ok(Self { pod, process })
    }

    /// What the server says to a client in the pod that says this first.
    fn ask(&self, to: SocketAddr, first: &str) -> anyhow::Result<String> {
        let script = format!(
            "exec 3<>/dev/tcp/{}/{} || exit 0; printf '{first}' >&3; \
             IFS= read -t 15 -r line <&3; [ $? -gt 128 ] && line=silence; printf '%s' \"$line\"",
            to.ip(),
            to.port()
        );
        let process = self.process.to_string();
        let output = Command::new("nsenter")
            .args(["--target", &process, "--net", "bash", "-c", &script])
            .output()
            .context("nsenter")?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn reaches(&self, to: SocketAddr) -> anyhow::Result<()> {
        for (first, expected) in [("", GREETING), (PING, PONG)] {
            let said = self.ask(to, first)?;
            anyhow::ensure!(said == expected, "said {first:?}, heard {said:?}");
        }
        Ok(())
    }

    fn is_refused(&self, to: SocketAddr) -> anyhow::Result<()> {
        for first in ["", PING] {
            let said = self.ask(to, first)?;
            anyhow::ensure!(said.is_empty(), "said {first:?}, heard {said:?}");
        }
        Ok(())
    }
}

/// The settings of the mesh, changed until they are restored.
struct Settings<'c> {
    cluster: &'c Cluster,
    before: String,
}

impl<'c> Settings<'c> {
    fn change(cluster: &'c Cluster, from: &str, to: &str) -> anyhow::Result<Self> {
        let map = cluster.json(&["configmap", "istio", "-n", "istio-system"])?;
        let before = text(&map, "/data/mesh").to_owned();
        anyhow::ensure!(before.contains(from), "no {from} in {before}");
        let settings = Self { cluster, before };
        settings.write(&settings.before.replace(from, to))?;
        Ok(settings)
    }

    fn write(&self, mesh: &str) -> anyhow::Result<()> {
        let patch = serde_json::json!({ "data": { "mesh": mesh } }).to_string();
        let patched = ["patch", "configmap", "istio", "-n", "istio-system"];
        self.cluster
            .kubectl(&[&patched[..], &["--type=merge", "-p", &patch]].concat())
            .map(drop)
    }

    fn restore(&self) -> anyhow::Result<()> {
        self.write(&self.before)
    }
}

impl Drop for Settings<'_> {
    /// The tests after this one want the settings they know, also when this one fails.
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            tracing::error!(%error, "the mesh's settings stay changed");
        }
    }
}
