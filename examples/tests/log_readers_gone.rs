//! Nobody reads what the mesh logs: whoever did has gone away, or has stopped reading. A control
//! plane and a proxy carry on as if nothing had happened, changes of the configuration included.

#![cfg(test)]

use std::io::{BufRead as _, BufReader, PipeReader, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use examples::mesh::{Fetched, fetch, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);
/// What a pipe holds by default (pipe(7)).
const PIPE: usize = 65_536;

/// What becomes of the reader of standard error.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// It reads a line and goes.
    Goes,
    /// It stays and never reads.
    Stalls,
}

struct Part {
    process: Child,
    _reader: Option<PipeReader>,
}

impl Part {
    fn start(name: &str, arguments: &[&str], reader: Reader) -> Self {
        let own = std::env::current_exe().unwrap();
        let binary = own.parent().unwrap().parent().unwrap().join(name);
        let (read, mut write) = std::io::pipe().unwrap();
        if matches!(reader, Reader::Stalls) {
            write.write_all(&vec![b'.'; PIPE]).unwrap();
        }
        let process = Command::new(&binary)
            .args(arguments)
            .args(["--exit-on-stdin-close", "--log-level", "debug"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(write)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let reader = match reader {
            Reader::Stalls => Some(read),
            Reader::Goes => {
                let mut line = String::new();
                BufReader::new(read).read_line(&mut line).unwrap();
                None
            }
        };
        Self {
            process,
            _reader: reader,
        }
    }

    fn assert_runs(&mut self) {
        assert_eq!(self.process.try_wait().unwrap(), None);
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

fn workload(address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\n\
         metadata: {{name: way-in-1, namespace: istio-system}}\n\
         spec: {{address: {address}, labels: {{istio: way-in}}}}\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {{name: way-in, namespace: istio-system}}\n\
         spec: {{selector: {{istio: way-in}}, ports: [{{name: http, port: 80, targetPort: 8080}}]}}\n\
         ---\napiVersion: networking.istio.io/v1\nkind: Gateway\n\
         metadata: {{name: way-in, namespace: shop}}\n\
         spec:\n  selector: {{istio: way-in}}\n  servers:\n  \
         - {{port: {{number: 80, name: http, protocol: HTTP}}, hosts: [\"*\"]}}\n"
    )
}

fn answer(text: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: answer, namespace: shop}}\n\
         spec:\n  hosts: [\"*\"]\n  gateways: [way-in]\n  http:\n  \
         - directResponse: {{status: 200, body: {{string: {text}}}}}\n"
    )
}

fn wrong(number: usize) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n\
         metadata: {{name: wrong-{number}, namespace: shop}}\nspec: {{hostz: []}}\n"
    )
}

/// Writes a file in one step, as editors do.
fn write(folder: &Path, name: &str, text: &str) {
    let staged = folder.join(format!(".{name}.new"));
    std::fs::write(&staged, text).unwrap();
    std::fs::rename(&staged, folder.join(name)).unwrap();
}

async fn until(address: SocketAddr, path: &str, wanted: impl Fn(&Fetched) -> bool) {
    let what = format!("{address}{path}");
    wait_until(&what, PATIENCE, async || {
        let page = fetch(address, path).await?;
        Ok(wanted(&page).then_some(()))
    })
    .await
    .unwrap();
}

async fn carries_on(place: u8, reader: Reader) {
    let folder = tempfile::tempdir().unwrap();
    let (config, data) = (folder.path().join("config"), folder.path().join("data"));
    std::fs::create_dir(&config).unwrap();
    let (stream, admin) = (
        format!("127.91.{place}.2:15012"),
        format!("127.91.{place}.2:15014"),
    );
    let address = format!("127.91.{place}.1");
    write(&config, "mesh.yaml", &workload(&address));
    write(&config, "answer.yaml", &answer("one"));
    let config_dir = config.to_str().unwrap();
    let serve = [
        "serve",
        "--config-dir",
        config_dir,
        "--listen",
        &stream,
        "--admin",
        &admin,
    ];
    let mut control_plane = Part::start("control-plane", &serve, reader);
    let admin: SocketAddr = admin.parse().unwrap();
    until(admin, "/ready", |page| page.status == 200).await;

    let (url, data_dir) = (format!("http://{stream}"), data.to_str().unwrap());
    let gateway = [
        "gateway",
        "--workload",
        "istio-system/way-in-1",
        "--address",
        &address,
        "--control-plane",
        &url,
        "--data-dir",
        data_dir,
        "--mode",
        "explicit",
        "--access-log",
        "text",
        "--min-drain",
        "0s",
    ];
    let mut proxy = Part::start("proxy", &gateway, reader);
    let at = |port: u16| -> SocketAddr { format!("{address}:{port}").parse().unwrap() };
    until(at(15021), "/healthz/ready", |page| page.status == 200).await;
    until(at(8080), "/", |page| page.body == "one").await;

    for (number, text) in ["two", "three", "four"].into_iter().enumerate() {
        // What is wrong is logged, and each change is, on both sides.
        write(&config, "wrong.yaml", &wrong(number));
        write(&config, "answer.yaml", &answer(text));
        until(at(8080), "/", |page| page.body == text).await;
    }
    until(admin, "/debug/diagnostics", |page| {
        page.body.contains("wrong-2")
    })
    .await;
    until(admin, "/ready", |page| page.status == 200).await;
    until(at(15021), "/healthz/ready", |page| page.status == 200).await;
    control_plane.assert_runs();
    proxy.assert_runs();
    let page = fetch(at(15090), "/stats/prometheus").await.unwrap();
    if matches!(reader, Reader::Goes) {
        let dropped = page
            .body
            .lines()
            .find_map(|line| line.strip_prefix("log_lines_dropped_total "))
            .unwrap_or_default();
        assert_ne!(dropped.parse::<u64>().unwrap_or_default(), 0, "{dropped}");
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_takes_nothing_with_it() {
    carries_on(1, Reader::Goes).await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_nothing_up() {
    carries_on(2, Reader::Stalls).await;
}
