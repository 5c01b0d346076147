//! Sockets come, go and change their meaning under load; nothing is lost.

#![cfg(test)]

#[path = "support/mesh.rs"]
mod mesh;
#[path = "support/process.rs"]
mod process;
#[path = "support/servers.rs"]
mod servers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mesh_api::cluster::ConnectionLimits;
use mesh_api::listener::{ListenerKind, Outbound, RouteSelection};
use mesh_api::resource::Resource;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use mesh::{TestProxy, cluster, free_address, tcp_listener};
use servers::{ask, echo};

fn to(host: &str, server: SocketAddr) -> Vec<Resource> {
    cluster(host, &[server], ConnectionLimits::default())
}

/// Connects again and again until told to stop; counts answers and failures.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(address: SocketAddr, clients: usize) -> Self {
        let (stop, answered) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let tasks = (0..clients)
            .map(|_| {
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                tokio::spawn(async move {
                    let mut failures = Vec::new();
                    while !stop.load(Ordering::SeqCst) {
                        match ask(address, b"hello").await {
                            Ok(answer) if answer.ends_with("hello") => {
                                answered.fetch_add(1, Ordering::SeqCst);
                            }
                            Ok(answer) => failures.push(format!("answer {answer:?}")),
                            Err(error) => failures.push(error.to_string()),
                        }
                    }
                    failures
                })
            })
            .collect();
        Self {
            stop,
            answered,
            tasks,
        }
    }

    async fn finish(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            assert_eq!(task.await.unwrap(), Vec::<String>::new());
        }
        self.answered.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn nothing_is_lost_while_listeners_change() {
    let (one, two) = (echo("1").await, echo("2").await);
    let (mut proxy, steady, other) = (TestProxy::start(), free_address(), free_address());
    let base = || {
        let mut all = to("one.test", one.address);
        all.extend(to("two.test", two.address));
        all
    };
    let mut first = base();
    first.push(tcp_listener("steady", steady, "one.test"));
    proxy.apply(first).await;
    let load = Load::start(steady, 4);
    for round in 0..60 {
        // The same socket: to another cluster, under another name, with and without a
        // neighbour that comes and goes.
        let mut next = base();
        let host = if round % 2 == 0 {
            "two.test"
        } else {
            "one.test"
        };
        let name = if round % 3 == 0 { "steady" } else { "renamed" };
        next.push(tcp_listener(name, steady, host));
        if round % 4 < 2 {
            next.push(tcp_listener("neighbour", other, host));
        }
        proxy.apply(next).await;
        assert_eq!(
            ask(other, b"x").await.is_ok(),
            round % 4 < 2,
            "round {round}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answered = load.finish().await;
    assert!(answered > 100, "{answered}");
    assert!(one.connections() > 10 && two.connections() > 10);
}

#[tokio::test]
async fn what_is_queued_when_a_listener_leaves_is_served() {
    let server = echo("hi").await;
    let (mut proxy, address) = (TestProxy::start(), free_address());
    for _ in 0..20 {
        let mut with = to("one.test", server.address);
        with.push(tcp_listener("tcp", address, "one.test"));
        proxy.apply(with).await;
        // Completed by the kernel, many of them not yet accepted.
        let clients: Vec<_> = (0..32)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        proxy.apply(to("one.test", server.address)).await;
        for client in clients {
            client.set_nonblocking(true).unwrap();
            let mut client = TcpStream::from_std(client).unwrap();
            let mut banner = [0; 2];
            client.read_exact(&mut banner).await.unwrap();
            assert_eq!(&banner, b"hi");
        }
        assert!(TcpStream::connect(address).await.is_err());
    }
}

#[tokio::test]
async fn a_port_in_use_is_refused_and_changes_nothing() {
    let server = echo("").await;
    let (mut proxy, good) = (TestProxy::start(), free_address());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut first = to("one.test", server.address);
    first.push(tcp_listener("good", good, "one.test"));
    proxy.apply(first.clone()).await;
    let before = proxy.live.load().sequence();

    let fresh = free_address();
    let mut second = first.clone();
    second.push(tcp_listener("bad", taken.local_addr().unwrap(), "one.test"));
    second.push(tcp_listener("fresh", fresh, "one.test"));
    let rejections = proxy.try_apply(second.clone()).await.unwrap_err();
    assert_eq!(rejections.len(), 1);
    let text = rejections[0].to_string();
    assert_eq!(rejections[0].field, "bind");
    assert!(text.contains("listener/bad"), "{text}");
    assert!(
        text.contains(&taken.local_addr().unwrap().to_string()),
        "{text}"
    );
    assert!(
        text.contains(&format!("process {}", std::process::id())),
        "{text}"
    );
    assert_eq!(proxy.live.load().sequence(), before);
    assert_eq!(ask(good, b"still here").await.unwrap(), "still here");
    assert!(
        TcpStream::connect(fresh).await.is_err(),
        "nothing of it took effect"
    );

    drop(taken);
    proxy.apply(second).await;
    assert_eq!(ask(fresh, b"now").await.unwrap(), "now");
}

#[tokio::test]
async fn all_addresses_of_a_port_and_one_of_them_may_be_exchanged() {
    let server = echo("").await;
    let (mut proxy, one) = (TestProxy::start(), free_address());
    let all = SocketAddr::new("0.0.0.0".parse().unwrap(), one.port());
    for address in [all, one, all] {
        let mut next = to("one.test", server.address);
        next.push(tcp_listener("tcp", address, "one.test"));
        proxy.apply(next).await;
        assert_eq!(ask(one, b"x").await.unwrap(), "x", "{address}");
    }
    // A second proxy of the same user must not share the port in silence.
    let mut second = TestProxy::start();
    let mut same = to("one.test", server.address);
    same.push(tcp_listener("tcp", one, "one.test"));
    assert!(second.try_apply(same).await.is_err());
}

/// Set in the child that has few files.
const FEW_FILES: &str = "MESH_TEST_FEW_FILES";

/// The child: a proxy without a cap worth the name, on a port where clients need not speak.
async fn proxy_with_few_files() {
    let settings = proxy::bootstrap::Settings {
        max_connections: 100_000,
        ..mesh::settings()
    };
    let (mut proxy, address) = (TestProxy::with(settings), free_address());
    let http = Outbound::http(RouteSelection::ByAuthorityPort);
    proxy
        .apply(vec![mesh::listener(
            "auto",
            address,
            ListenerKind::Outbound(http),
        )])
        .await;
    println!("ADDRESS {address}");
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()))
        .await
        .unwrap()
        .unwrap();
}

#[test]
fn accepting_pauses_while_there_are_no_files() {
    if std::env::var_os(FEW_FILES).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(proxy_with_few_files());
    }
    let launcher = ["-c", "ulimit -n 64 && exec \"$0\" \"$@\""];
    let mut child = process::Killed::new(
        std::process::Command::new("sh")
            .args(launcher)
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "accepting_pauses_while_there_are_no_files",
                "--nocapture",
            ])
            .env(FEW_FILES, "1"),
    );
    let address = child.line_with("ADDRESS ").parse().unwrap();
    // The kernel completes them all; the proxy has files for about half.
    let clients: Vec<_> = (0..100)
        .map(|_| std::net::TcpStream::connect(address).unwrap())
        .collect();
    process::pause(300);
    let before = process::cpu(child.id());
    process::pause(1500);
    let used = process::cpu(child.id()).saturating_sub(before);
    assert!(
        used < Duration::from_millis(300),
        "{used:?} of CPU while it can do nothing"
    );
    drop(clients);
    process::pause(1500);
    // Now HTTP is answered again.
    let answer = process::fetch(address, "/").unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
