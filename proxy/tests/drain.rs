//! The end of a proxy: what is in flight finishes, clients are told, and it does end.

#![cfg(test)]

#[path = "support/http.rs"]
mod http_support;
#[path = "support/mesh.rs"]
mod mesh;
#[path = "support/process.rs"]
mod process;
#[path = "support/servers.rs"]
mod servers;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mesh_api::cluster::ConnectionLimits;
use mesh_api::listener::{
    Bind, InboundListener, InboundProtocol, InboundTarget, Listener, ListenerKind,
};
use mesh_api::name::ListenerName;
use mesh_api::proxy::CaptureMode;
use mesh_api::resource::Resource;
use mesh_api::units::Port;
use mesh_runtime::drain::Drained;
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use http_support::{Client, Upstream, get, plain, read};
use mesh::{TestProxy, free_address};
use process::{Process, echo_on_threads, pause};
use servers::echo;

fn inbound(bind: SocketAddr, to: SocketAddr, protocol: InboundProtocol) -> Resource {
    Resource::Listener(Arc::new(Listener {
        name: ListenerName("inbound".into()),
        bind: Bind::Socket(bind),
        kind: ListenerKind::Inbound(Box::new(InboundListener {
            port: Port::new(bind.port()).unwrap(),
            protocol,
            target: InboundTarget::Address(to),
            service: None,
            policy: mesh::open(),
            limits: ConnectionLimits::default(),
        })),
    }))
}

/// What became of a client that connected while the proxy ended.
async fn client(address: SocketAddr) -> Result<bool, String> {
    let mut stream = match TcpStream::connect(address).await {
        Ok(stream) => stream,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(false),
        Err(error) => return Err(format!("connect: {error}")),
    };
    stream
        .write_all(b"hello")
        .await
        .map_err(|error| format!("write: {error}"))?;
    let mut answer = [0; 5];
    stream
        .read_exact(&mut answer)
        .await
        .map_err(|error| format!("read: {error}"))?;
    Ok(true)
}

#[tokio::test]
async fn whoever_gets_a_connection_gets_an_answer() {
    let server = echo("").await;
    for round in 0..10 {
        let (mut proxy, address) = (TestProxy::start(), free_address());
        proxy
            .apply(vec![inbound(address, server.address, InboundProtocol::Tcp)])
            .await;
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let stop = Arc::clone(&stop);
                tokio::spawn(async move {
                    let mut outcomes = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        outcomes.push(client(address).await);
                    }
                    outcomes
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        proxy.drain.trigger();
        proxy.stop_accepting().await;
        assert_eq!(
            proxy.drain.wait_idle(Duration::from_secs(5)).await,
            Drained::Idle
        );
        stop.store(true, Ordering::SeqCst);
        let mut answered = 0;
        for client in clients {
            for outcome in client.await.unwrap() {
                answered += usize::from(outcome.unwrap_or_else(|lost| panic!("{round}: {lost}")));
            }
        }
        assert!(answered > 0, "round {round}");
    }
}

/// An HTTP proxy in front of an application that takes 100 ms for `/slow`.
async fn http_proxy() -> (TestProxy, SocketAddr) {
    let server = Upstream::serve(|request, _| async move {
        if request.uri().path() == "/slow" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        plain(200, "here")
    })
    .await;
    let (mut proxy, address) = (TestProxy::start(), free_address());
    let listener = inbound(address, server.address, InboundProtocol::Http1);
    proxy.apply(vec![listener]).await;
    (proxy, address)
}

async fn ask(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"here") {
        let mut buffer = [0; 1024];
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed after {}", answer.escape_ascii());
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(answer).unwrap()
}

async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    let read = tokio::time::timeout(within, stream.read(&mut [0])).await;
    matches!(read, Ok(Ok(0)))
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n";
const SOON: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(150);

#[tokio::test]
async fn an_announced_drain_closes_no_connection_that_may_carry_a_request() {
    let (proxy, address) = http_proxy().await;
    let mut kept = TcpStream::connect(address).await.unwrap();
    assert!(!ask(&mut kept, GET).await.contains("connection: close"));
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: app\r\n\r\n")
        .await
        .unwrap();
    proxy.drain.inbound.announce();
    assert!(!is_closed(&mut kept, QUIET).await, "nobody was told");
    // Each of them, and whoever comes now, learns it from an answer.
    let mut new = TcpStream::connect(address).await.unwrap();
    for (which, stream, request) in [
        ("kept", &mut kept, GET),
        ("busy", &mut busy, &b""[..]),
        ("new", &mut new, GET),
    ] {
        let answer = ask(stream, request).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{which}: {answer}");
        assert!(answer.contains("connection: close"), "{which}: {answer}");
        assert!(is_closed(stream, SOON).await, "{which}");
    }
    assert_eq!(proxy.drain.wait_idle(SOON).await, Drained::Idle);
}

#[tokio::test]
async fn a_drain_closes_what_is_idle_and_answers_what_has_begun() {
    let (proxy, address) = http_proxy().await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    ask(&mut idle, GET).await;
    let mut begun = TcpStream::connect(address).await.unwrap();
    ask(&mut begun, GET).await;
    let (head, rest) = GET.split_at(10);
    begun.write_all(head).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    proxy.drain.trigger();
    assert!(is_closed(&mut idle, SOON).await);
    assert!(
        !is_closed(&mut begun, QUIET).await,
        "half a request is here"
    );
    assert!(ask(&mut begun, rest).await.contains("connection: close"));
    assert!(is_closed(&mut begun, SOON).await);
    // Taken from the queue of a socket that is closing: its request is there already.
    let mut late = TcpStream::connect(address).await.unwrap();
    assert!(ask(&mut late, GET).await.contains("connection: close"));
    assert_eq!(proxy.drain.wait_idle(SOON).await, Drained::Idle);
}

#[tokio::test]
async fn http2_clients_are_told_at_once_and_lose_nothing() {
    let (proxy, address) = http_proxy().await;
    let mut early = Client::http2(address).await;
    early.get("app", "/").await;
    let slow = tokio::spawn(async move {
        let head = early.open(get("app", "/slow")).await.unwrap();
        (read(head).await, early)
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    proxy.drain.inbound.announce();
    let mut late = Client::http2(address).await;
    for _ in 0..3 {
        assert_eq!(late.get("app", "/").await.status, 200);
    }
    let (answer, mut early) = slow.await.unwrap();
    assert_eq!((answer.status, answer.text()), (200, "here"));
    assert!(
        early.try_send(get("app", "/")).await.is_err(),
        "it was told"
    );
    proxy.drain.trigger();
    drop((early, late));
    assert_eq!(proxy.drain.wait_idle(SOON).await, Drained::Idle);
}

#[test]
fn sigterm_stops_in_order() {
    let server = echo_on_threads();
    let address: SocketAddr = "127.77.1.1:9080".parse().unwrap();
    let resources = vec![inbound(address, server, InboundProtocol::Tcp)];
    let data = Process::data(CaptureMode::Explicit, resources);
    let options = ["--min-drain", "1s", "--drain-timeout", "10s"];
    let mut proxy = Process::start(&[], "127.77.1.1", data, &options);
    proxy.wait_ready();
    let mut flow = std::net::TcpStream::connect(address).unwrap();
    let talk = |flow: &mut std::net::TcpStream| {
        flow.write_all(b"x").unwrap();
        flow.read_exact(&mut [0]).unwrap();
    };
    talk(&mut flow);

    let dump = proxy.page(15000, "GET", "/config_dump").unwrap();
    assert!(dump.contains("\"listener/inbound\""), "{dump}");
    assert!(
        proxy
            .page(15000, "GET", "/clusters")
            .unwrap()
            .contains("inbound|9080||::")
    );

    proxy.signal(Signal::SIGTERM);
    pause(300);
    // Not ready any more, but still there for those who do not know it yet.
    assert_eq!(proxy.status(15021, "GET", "/healthz/ready"), Some(503));
    let mut late = std::net::TcpStream::connect(address).unwrap();
    talk(&mut late);
    pause(1200);
    let refused = std::net::TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // What was begun goes on.
    talk(&mut flow);
    talk(&mut late);
    assert!(proxy.child.try_wait().unwrap().is_none());
    drop((flow, late));
    assert!(proxy.ended(Duration::from_secs(3)).success());
}

#[test]
fn whoever_is_stopped_and_started_at_once_comes_back() {
    let server = echo_on_threads();
    let address: SocketAddr = "127.77.1.6:9080".parse().unwrap();
    let start = || {
        let resources = vec![inbound(address, server, InboundProtocol::Tcp)];
        let data = Process::data(CaptureMode::Explicit, resources);
        let options = ["--min-drain", "2s", "--drain-timeout", "3s"];
        Process::start(&[], "127.77.1.6", data, &options)
    };
    let mut first = start();
    first.wait_ready();
    first.signal(Signal::SIGTERM);
    let mut second = start();
    assert!(first.ended(Duration::from_secs(6)).success());
    second.wait_ready();
    let mut flow = std::net::TcpStream::connect(address).unwrap();
    flow.write_all(b"x").unwrap();
    flow.read_exact(&mut [0]).unwrap();

    // One that stays is not waited for.
    let begun = Instant::now();
    let mut third = start();
    assert!(!third.ended(Duration::from_secs(3)).success());
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert_eq!(second.status(15021, "GET", "/healthz/ready"), Some(200));
}

#[test]
fn a_second_signal_or_the_deadline_ends_it_all_the_same() {
    let server = echo_on_threads();
    let address: SocketAddr = "127.77.1.2:9080".parse().unwrap();
    for (options, second) in [
        (["--min-drain", "20s", "--drain-timeout", "20s"], true),
        (["--min-drain", "0s", "--drain-timeout", "1s"], false),
    ] {
        let resources = vec![inbound(address, server, InboundProtocol::Tcp)];
        let data = Process::data(CaptureMode::Explicit, resources);
        let log = tempfile::NamedTempFile::new().unwrap();
        let to_log = format!(
            "exec \"$0\" \"$@\" --access-log text > {}",
            log.path().display()
        );
        let launcher = ["sh", "-c", &to_log];
        let mut proxy = Process::start(&launcher, "127.77.1.2", data, &options);
        proxy.wait_ready();
        let _holds = std::net::TcpStream::connect(address).unwrap();
        pause(50);
        let begun = Instant::now();
        proxy.signal(Signal::SIGTERM);
        pause(200);
        if second {
            proxy.signal(Signal::SIGTERM);
        }
        assert!(proxy.ended(Duration::from_secs(5)).success());
        assert!(
            second || begun.elapsed() >= Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
        // What was cut is logged, too.
        let lines = std::fs::read_to_string(log.path()).unwrap();
        assert!(lines.contains("inbound|9080||"), "{lines:?}");
    }
}

#[test]
fn it_does_not_outlive_its_parent_and_obeys_its_socket() {
    let data = Process::data(CaptureMode::Explicit, Vec::new());
    let mut proxy = Process::start(&[], "127.77.1.3", data, &["--exit-on-stdin-close"]);
    proxy.wait_ready();
    drop(proxy.child.stdin.take());
    assert!(proxy.ended(Duration::from_secs(3)).success());

    let data = Process::data(CaptureMode::Explicit, Vec::new());
    let mut proxy = Process::start(&[], "127.77.1.3", data, &["--min-drain", "0s"]);
    proxy.wait_ready();
    for page in ["/drain", "/quit"] {
        assert_eq!(proxy.status(15000, "POST", page), Some(404), "{page}");
    }
    assert_eq!(proxy.status(15020, "POST", "/drain"), Some(200));
    pause(100);
    assert_eq!(proxy.status(15021, "GET", "/healthz/ready"), Some(503));
    assert_eq!(proxy.status(15000, "GET", "/config_dump"), Some(200));
    assert_eq!(proxy.status(15090, "GET", "/stats/prometheus"), Some(200));
    let quit = std::process::Command::new(env!("CARGO_BIN_EXE_proxy"))
        .args(["request", "POST", "quit", "--data-dir"])
        .arg(proxy.data.path())
        .output()
        .unwrap();
    assert!(quit.status.success(), "{quit:?}");
    assert!(proxy.ended(Duration::from_secs(3)).success());
}

#[test]
fn a_taken_admin_port_is_named() {
    let taken = std::net::TcpListener::bind("127.77.1.4:15021").unwrap();
    let data = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_proxy"))
        .args([
            "sidecar",
            "--workload",
            "test/proxy-1",
            "--address",
            "127.77.1.4",
        ])
        .args(["--control-plane", "http://127.0.0.1:1", "--data-dir"])
        .arg(data.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("127.77.1.4:15021"), "{error}");
    assert!(
        error.contains(&format!("process {}", std::process::id())),
        "{error}"
    );
    drop(taken);
}

/// Nearly no files: connections beyond what they allow are refused, those there are served, the
/// admin port answers, nothing spins, and it recovers.
#[test]
fn running_out_of_files_harms_nobody_who_is_there() {
    let server = echo_on_threads();
    let address: SocketAddr = "127.77.1.5:9080".parse().unwrap();
    let resources = vec![inbound(address, server, InboundProtocol::Tcp)];
    let data = Process::data(CaptureMode::Explicit, resources);
    let launcher = ["sh", "-c", "ulimit -n 96 && exec \"$0\" \"$@\""];
    let mut proxy = Process::start(&launcher, "127.77.1.5", data, &[]);
    proxy.wait_ready();
    let served = |stream: &mut std::net::TcpStream| {
        stream
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        stream.write_all(b"x").is_ok() && stream.read_exact(&mut [0]).is_ok()
    };
    let mut clients: Vec<std::net::TcpStream> = (0..80)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    let count = clients
        .iter_mut()
        .map(served)
        .filter(|served| *served)
        .count();
    assert!((20..=40).contains(&count), "{count} of 80 are served");
    let before = proxy.cpu();
    pause(1000);
    let used = proxy.cpu().saturating_sub(before);
    assert!(
        used < Duration::from_millis(300),
        "{used:?} of CPU in a second of nothing"
    );
    assert_eq!(proxy.status(15000, "GET", "/ready"), Some(200));
    let metrics = proxy.page(15090, "GET", "/stats/prometheus").unwrap();
    assert!(
        metrics.contains("proxy_connections_refused_total"),
        "{metrics}"
    );
    drop(clients);
    pause(300);
    let mut again = std::net::TcpStream::connect(address).unwrap();
    assert!(served(&mut again), "it recovers");
}
