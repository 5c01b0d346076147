//! A proxy in a pod: which ports answer whom, what it says about the application beside it, and
//! how it ends.

#![cfg(test)]

#[path = "support/mesh.rs"]
mod mesh;
#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/process.rs"]
mod process;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mesh_api::listener::{ListenerKind, UnmatchedTraffic};
use mesh_api::proxy::CaptureMode;
use nix::sys::signal::Signal;

use namespaces::{Namespaces, inside, missing, skipped};
use process::{Process, pause};

/// The words that run something in the workload's namespace as the proxy's user.
fn as_proxy(namespaces: &Namespaces) -> Vec<&str> {
    let mut words = vec!["ip", "netns", "exec", &namespaces.workload, "setpriv"];
    words.extend(["--reuid", "1337", "--regid", "1337", "--clear-groups"]);
    // For the files of this test, which are root's.
    words.extend(["--inh-caps", "+dac_override"]);
    words.extend(["--ambient-caps", "+dac_override"]);
    words
}

/// A pod's proxy that passes everything through; ready.
fn start(namespaces: &Namespaces, address: &str, options: &[&str]) -> Process {
    namespaces.init();
    let capture = ListenerKind::OutboundCapture {
        unmatched: UnmatchedTraffic::Passthrough,
    };
    let redirected = ListenerKind::InboundCapture {
        policy: mesh::open(),
    };
    let at = |address: &str| address.parse().unwrap();
    let resources = vec![
        mesh::listener("outbound", at("0.0.0.0:15001"), capture),
        mesh::listener("inbound", at("0.0.0.0:15006"), redirected),
    ];
    let data = Process::data(CaptureMode::OriginalDestination, resources);
    let mut words = vec!["--mode", "capture"];
    words.extend(options);
    let proxy = Process::start(&as_proxy(namespaces), address, data, &words);
    let waited = run(namespaces, &["wait", "--timeout", "20s"]);
    assert!(waited.status.success(), "{waited:?}");
    proxy
}

/// The binary's other commands, beside the proxy.
fn run(namespaces: &Namespaces, words: &[&str]) -> Output {
    let launcher = as_proxy(namespaces);
    Command::new(launcher[0])
        .args(&launcher[1..])
        .arg(env!("CARGO_BIN_EXE_proxy"))
        .args(words)
        .output()
        .unwrap()
}

/// The whole answer of a page, asked from a namespace; empty if nobody answers.
fn page(namespace: &str, method: &str, address: &str, path: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nX-Prometheus-Scrape-Timeout-Seconds: 5\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    inside(namespace, move || {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
            return String::new();
        };
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut answer = String::new();
        drop(stream.write_all(request.as_bytes()));
        drop(stream.read_to_string(&mut answer));
        answer
    })
}

fn status(namespace: &str, method: &str, address: &str, path: &str) -> String {
    let answer = page(namespace, method, address, path);
    answer.split(' ').nth(1).unwrap_or("nobody").to_owned()
}

/// An application; it listens until this is dropped.
struct Application {
    _stop: mpsc::Sender<()>,
}

/// An application that serves each connection on a thread of its own.
fn serve(namespace: &str, address: &str, each: fn(TcpStream)) -> Application {
    let address: SocketAddr = address.parse().unwrap();
    let (stop, stopped) = mpsc::channel();
    inside(namespace, move || {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            while stopped.try_recv() != Err(mpsc::TryRecvError::Disconnected) {
                match listener.accept() {
                    Ok((stream, _)) => drop(std::thread::spawn(move || each(stream))),
                    Err(_nobody) => pause(5),
                }
            }
        });
    });
    Application { _stop: stop }
}

/// Answers every request with the same metrics.
fn application(namespace: &str, address: &str) -> Application {
    serve(namespace, address, |mut stream| {
        const ANSWER: &str = "x_total 1\n# EOF\n";
        let mut head = [0; 4096];
        drop(stream.read(&mut head));
        let length = ANSWER.len();
        drop(write!(
            stream,
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\
             content-type: application/openmetrics-text; version=1.0.0\r\n\r\n{ANSWER}"
        ));
    })
}

/// Says everything back.
fn echo(namespace: &str, address: &str) -> Application {
    serve(namespace, address, |stream| {
        let mut reader = stream.try_clone().unwrap();
        drop(std::io::copy(&mut reader, &mut &stream));
    })
}

fn connect(namespace: &str, address: &str) -> std::io::Result<TcpStream> {
    let address: SocketAddr = address.parse().unwrap();
    inside(namespace, move || {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        Ok(stream)
    })
}

fn talks(stream: &mut TcpStream) -> bool {
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut [0]).is_ok()
}

const PROBES: &str = r#"{
    "/app-health/web/livez": {"httpGet": {"port": 8080, "path": "/live"}},
    "/app-health/web/readyz": {"tcpSocket": {"port": 8081}},
    "/app-lifecycle/web/prestopz": {"httpGet": {"port": 8080, "path": "/stop"}}
}"#;

#[test]
fn every_port_answers_whom_it_should() {
    if let Some(reason) = missing() {
        return skipped("pod::every_port_answers_whom_it_should", &reason);
    }
    let namespaces = Namespaces::new("ports");
    let (workload, peer) = (namespaces.workload.as_str(), namespaces.peer.as_str());
    let _app = application(workload, "10.77.0.1:8080");
    let metrics = r#"{"scrape": "true", "port": "8080"}"#;
    let options = ["--app-probers", PROBES, "--app-metrics", metrics];
    let mut proxy = start(&namespaces, "10.77.0.1", &options);
    for (port, path) in [
        (15021, "/healthz/ready"),
        (15020, "/healthz/ready"),
        (15020, "/stats/prometheus"),
        (15090, "/stats/prometheus"),
    ] {
        for (from, address) in [
            (peer, "10.77.0.1"),
            (peer, "[fd77::1]"),
            (workload, "127.0.0.1"),
            (workload, "[::1]"),
            (workload, "10.77.0.1"),
        ] {
            let at = format!("{address}:{port}");
            assert_eq!(status(from, "GET", &at, path), "200", "{at}{path}");
        }
    }
    for (from, method, at, path, expected) in [
        (
            peer,
            "GET",
            "10.77.0.1:15020",
            "/app-health/web/livez",
            "200",
        ),
        (
            peer,
            "GET",
            "10.77.0.1:15020",
            "/app-health/web/readyz",
            "503",
        ),
        (
            peer,
            "GET",
            "10.77.0.1:15020",
            "/app-health/other/livez",
            "404",
        ),
        // Nobody outside can end it, nor see its configuration.
        (peer, "POST", "10.77.0.1:15020", "/quitquitquit", "403"),
        (peer, "POST", "[fd77::1]:15020", "/drain", "403"),
        (workload, "POST", "10.77.0.1:15020", "/drain", "403"),
        (workload, "GET", "127.0.0.1:15020", "/quitquitquit", "405"),
        (peer, "GET", "10.77.0.1:15000", "/config_dump", "nobody"),
        (workload, "GET", "127.0.0.1:15000", "/config_dump", "200"),
    ] {
        assert_eq!(
            status(from, method, at, path),
            expected,
            "{method} {at}{path}"
        );
    }
    let merged = page(peer, "GET", "10.77.0.1:15020", "/stats/prometheus");
    assert!(merged.contains("application/openmetrics-text"), "{merged}");
    assert!(merged.contains("proxy_downstream_connections "), "{merged}");
    assert!(merged.trim_end().ends_with("x_total 1\n# EOF"), "{merged}");
    let own = page(peer, "GET", "10.77.0.1:15090", "/stats/prometheus");
    assert!(!own.contains("x_total"), "{own}");

    let stats = run(&namespaces, &["request", "GET", "stats"]);
    let text = String::from_utf8(stats.stdout).unwrap();
    assert!(text.contains("listener_manager.applied_versions"), "{text}");
    let wrong = run(&namespaces, &["request", "GET", "/quitquitquit"]);
    assert_eq!(wrong.status.code(), Some(1));
    let quit = run(&namespaces, &["request", "POST", "/quitquitquit"]);
    assert!(quit.status.success(), "{quit:?}");
    assert!(proxy.ended(Duration::from_secs(10)).success());
    let nobody = run(&namespaces, &["wait", "--timeout", "300ms"]);
    assert_eq!(nobody.status.code(), Some(1));
    let error = String::from_utf8_lossy(&nobody.stderr);
    assert!(error.contains("is the proxy running"), "{error}");
}

/// The way out of this pod leads over its peer, which so is its node; other pods have no hook run.
#[test]
fn hooks_run_for_the_node_and_the_pod_itself_alone() {
    if let Some(reason) = missing() {
        return skipped(
            "pod::hooks_run_for_the_node_and_the_pod_itself_alone",
            &reason,
        );
    }
    let namespaces = Namespaces::new("hooks");
    let (workload, peer) = (namespaces.workload.as_str(), namespaces.peer.as_str());
    let _app = application(workload, "10.77.0.1:8080");
    let _proxy = start(&namespaces, "10.77.0.1", &["--app-probers", PROBES]);
    for (from, at, expected) in [
        (peer, "10.77.0.1:15020", "200"),
        (workload, "127.0.0.1:15020", "200"),
        (peer, "[fd77::1]:15020", "403"),
    ] {
        let hook = "/app-lifecycle/web/prestopz";
        assert_eq!(status(from, "GET", at, hook), expected, "{at}");
    }
}

#[test]
fn an_ipv6_pod_is_a_pod() {
    if let Some(reason) = missing() {
        return skipped("pod::an_ipv6_pod_is_a_pod", &reason);
    }
    let namespaces = Namespaces::new("six");
    let (workload, peer) = (namespaces.workload.as_str(), namespaces.peer.as_str());
    let _app = application(workload, "[fd77::1]:8080");
    let _proxy = start(&namespaces, "fd77::1", &["--app-probers", PROBES]);
    for (at, path) in [
        ("[fd77::1]:15021", "/healthz/ready"),
        ("[fd77::1]:15020", "/app-health/web/livez"),
        ("[fd77::1]:8080", "/"),
    ] {
        assert_eq!(status(peer, "GET", at, path), "200", "{at}{path}");
    }
}

/// The proxy is told to stop while the application still works, as in pods without sidecar
/// containers of their own: who is there is served, nobody new comes in, the way out stays.
#[test]
fn the_application_keeps_its_way_out_until_it_is_gone() {
    if let Some(reason) = missing() {
        return skipped(
            "pod::the_application_keeps_its_way_out_until_it_is_gone",
            &reason,
        );
    }
    let namespaces = Namespaces::new("out");
    let (workload, peer) = (namespaces.workload.as_str(), namespaces.peer.as_str());
    let _far = echo(peer, "10.77.0.2:7000");
    let app = echo(workload, "10.77.0.1:9000");
    let options = ["--min-drain", "500ms", "--drain-timeout", "20s"];
    let mut proxy = start(&namespaces, "10.77.0.1", &options);
    let mut inbound = connect(peer, "10.77.0.1:9000").unwrap();
    let mut outbound = connect(workload, "10.77.0.2:7000").unwrap();
    assert!(talks(&mut inbound) && talks(&mut outbound));

    proxy.signal(Signal::SIGTERM);
    pause(1000);
    assert!(connect(peer, "10.77.0.1:9000").is_err());
    assert!(talks(&mut inbound) && talks(&mut outbound));
    drop(inbound);
    pause(300);
    // What was asked is answered, but the application is still at it.
    assert!(talks(&mut outbound));
    let mut another = connect(workload, "10.77.0.2:7000").unwrap();
    assert!(talks(&mut another));
    drop(outbound);
    pause(300);
    assert!(talks(&mut another));
    assert!(proxy.child.try_wait().unwrap().is_none());
    drop(another);
    pause(500);
    // It has no connection now, and may open one as long as it serves.
    assert!(proxy.child.try_wait().unwrap().is_none());
    assert!(talks(&mut connect(workload, "10.77.0.2:7000").unwrap()));
    drop(app);
    assert!(proxy.ended(Duration::from_secs(3)).success());
}

/// The kubelet runs the preStop hook first and stops the proxy after the application: there is
/// nothing left to wait for then.
#[test]
fn a_drained_proxy_without_application_ends_at_once() {
    if let Some(reason) = missing() {
        return skipped(
            "pod::a_drained_proxy_without_application_ends_at_once",
            &reason,
        );
    }
    let namespaces = Namespaces::new("pre");
    let (workload, peer) = (namespaces.workload.as_str(), namespaces.peer.as_str());
    let _far = echo(peer, "10.77.0.2:7000");
    let app = echo(workload, "10.77.0.1:9000");
    let options = ["--min-drain", "1s", "--drain-timeout", "20s"];
    let mut proxy = start(&namespaces, "10.77.0.1", &options);
    let drained = run(&namespaces, &["request", "POST", "/drain"]);
    assert!(drained.status.success(), "{drained:?}");
    let ready = "/healthz/ready";
    assert_eq!(status(peer, "GET", "10.77.0.1:15021", ready), "503");
    // It goes on, in both directions, for as long as nobody stops it.
    pause(1500);
    assert!(talks(&mut connect(peer, "10.77.0.1:9000").unwrap()));
    let mut outbound = connect(workload, "10.77.0.2:7000").unwrap();
    assert!(talks(&mut outbound));
    drop((outbound, app));
    pause(100);
    let begun = Instant::now();
    proxy.signal(Signal::SIGTERM);
    assert!(proxy.ended(Duration::from_secs(3)).success());
    assert!(begun.elapsed() < Duration::from_millis(700), "{begun:?}");
}

#[test]
fn connections_are_waited_for_where_that_is_wanted() {
    if let Some(reason) = missing() {
        return skipped(
            "pod::connections_are_waited_for_where_that_is_wanted",
            &reason,
        );
    }
    let namespaces = Namespaces::new("zero");
    let (workload, peer) = (namespaces.workload.as_str(), namespaces.peer.as_str());
    let app = echo(workload, "10.77.0.1:9000");
    let options = [
        "--min-drain",
        "0s",
        "--drain-timeout",
        "200ms",
        "--exit-on-zero-active-connections",
    ];
    let mut proxy = start(&namespaces, "10.77.0.1", &options);
    let mut inbound = connect(peer, "10.77.0.1:9000").unwrap();
    assert!(talks(&mut inbound));
    proxy.signal(Signal::SIGTERM);
    pause(1000);
    assert!(talks(&mut inbound));
    drop((inbound, app));
    assert!(proxy.ended(Duration::from_secs(3)).success());
}
