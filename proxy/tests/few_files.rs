//! A process that may open few files, and clients that hold hundreds of connections open: whoever has
//! something to ask is answered, and so are probes and scrapes.

#![cfg(test)]

#[path = "support/mesh.rs"]
mod mesh;
#[path = "support/process.rs"]
mod process;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use mesh_api::cluster::ConnectionLimits;
use mesh_api::listener::{
    Bind, InboundListener, InboundProtocol, InboundTarget, Listener, ListenerKind,
};
use mesh_api::name::ListenerName;
use mesh_api::proxy::CaptureMode;
use mesh_api::resource::Resource;
use mesh_api::units::Port;
use process::Process;

/// Connections that say nothing, or only half of something.
const HELD: usize = 300;

fn inbound(bind: SocketAddr, to: SocketAddr) -> Resource {
    Resource::Listener(Arc::new(Listener {
        name: ListenerName("inbound".into()),
        bind: Bind::Socket(bind),
        kind: ListenerKind::Inbound(Box::new(InboundListener {
            port: Port::new(bind.port()).unwrap(),
            protocol: InboundProtocol::Http1,
            target: InboundTarget::Address(to),
            service: None,
            policy: mesh::open(),
            limits: ConnectionLimits::default(),
        })),
    }))
}

/// An application that answers one request at a time on each connection.
fn application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                while matches!(stream.read(&mut buffer), Ok(1..)) {
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Whether one more request is answered on a connection.
fn asks(stream: &mut TcpStream) -> bool {
    let limit = Some(Duration::from_secs(5));
    stream.set_read_timeout(limit).unwrap();
    let mut answer = [0; 12];
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        .is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"HTTP/1.1 200"
}

fn survives(files: u32, place: &str) {
    let address: SocketAddr = format!("{place}:9080").parse().unwrap();
    let data = Process::data(CaptureMode::Explicit, vec![inbound(address, application())]);
    let command = format!("ulimit -n {files} && exec \"$0\" \"$@\"");
    let mut proxy = Process::start(
        &["sh", "-c", &command],
        place,
        data,
        &["--concurrency", "1"],
    );
    proxy.wait_ready();
    let mut held = Vec::new();
    for number in 0..HELD {
        let mut stream = TcpStream::connect(address).unwrap();
        if number % 2 == 0 {
            // Evicted already, perhaps.
            let _sent = stream.write_all(b"GET / HTTP/1.1\r\nhos");
        }
        held.push(stream);
        if number % 10 == 0 {
            let mut stream = TcpStream::connect(address).unwrap();
            assert!(asks(&mut stream), "{files} files, {number} held");
            assert_eq!(proxy.status(15021, "GET", "/healthz/ready"), Some(200));
            let page = proxy.page(15090, "GET", "/stats/prometheus").unwrap();
            assert!(page.contains("proxy_downstream_connections"), "{page}");
        }
    }
    let page = proxy.page(15090, "GET", "/stats/prometheus").unwrap();
    assert!(page.contains("\nproxy_connections_evicted_total"), "{page}");
    drop(held);
}

#[test]
fn two_hundred_files_are_enough_for_whoever_asks() {
    survives(200, "127.77.2.1");
}

#[test]
fn a_thousand_files_are_enough_for_whoever_asks() {
    survives(1_000, "127.77.2.2");
}
