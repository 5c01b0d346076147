//! Original-destination mode: connections the kernel redirects, in network namespaces.
//!
//! A workload with a proxy on one side of a cable, its peer on the other. The rules are those a
//! pod gets from `proxy init`: the application's connections go to 15001, what comes from
//! outside to 15006, and the proxy's own (user 1337) are left alone.

#![cfg(test)]

#[path = "support/client_hello.rs"]
mod client_hello;
#[path = "support/mesh.rs"]
mod mesh;
#[path = "support/namespaces.rs"]
mod namespaces;
#[path = "support/process.rs"]
mod process;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use mesh_api::cluster::{Cluster, ClusterEndpoints, ConnectionLimits, LoadBalancer};
use mesh_api::listener::{
    Bind, InboundListener, InboundProtocol, InboundTarget, Listener, ListenerKind, Outbound,
    RouteSelection, Silence, TcpRoutes, TcpRule, TlsRoutes, TlsRule, UnmatchedTraffic,
};
use mesh_api::name::{ClusterName, ListenerName, RouteScope};
use mesh_api::proxy::CaptureMode;
use mesh_api::resource::Resource;
use mesh_api::route::{Destinations, Domain, Target};
use mesh_api::settings::ProxySettings;
use mesh_api::units::Port;

use client_hello::client_hello;
use mesh::{cluster, destinations, listener, routes};
use namespaces::{Namespaces, inside, missing, skipped};
use process::{Process, pause};

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn captured(name: &str, address: Option<&str>, port: u16, kind: ListenerKind) -> Resource {
    Resource::Listener(Arc::new(Listener {
        name: ListenerName(name.into()),
        bind: Bind::OriginalDestination {
            address: address.map(|block| {
                let single = |_| IpNet::from(block.parse::<IpAddr>().unwrap());
                block.parse().unwrap_or_else(single)
            }),
            port: Port::new(port).unwrap(),
        },
        kind,
    }))
}

fn configuration(unmatched: UnmatchedTraffic) -> Vec<Resource> {
    let outbound = |host| ListenerKind::Outbound(Outbound::tcp(routes(&[(host, 1)])));
    let inbound = ListenerKind::Inbound(Box::new(InboundListener {
        port: Port::new(9080).unwrap(),
        protocol: InboundProtocol::Tcp,
        target: InboundTarget::OriginalDestination,
        service: None,
        policy: mesh::open(),
        limits: ConnectionLimits::default(),
    }));
    let mut all = cluster(
        "vip.test",
        &[at("10.77.0.2:8080")],
        ConnectionLimits::default(),
    );
    all.extend(cluster(
        "any.test",
        &[at("10.77.0.2:8082")],
        ConnectionLimits::default(),
    ));
    all.extend(cluster(
        "own.test",
        &[at("10.77.0.1:9080")],
        ConnectionLimits::default(),
    ));
    // The proxy serves the same ports over IPv6.
    let capture = ListenerKind::OutboundCapture { unmatched };
    all.push(listener("outbound", at("0.0.0.0:15001"), capture));
    let capture = ListenerKind::InboundCapture {
        policy: mesh::open(),
    };
    all.push(listener("inbound", at("0.0.0.0:15006"), capture));
    all.push(captured(
        "own",
        Some("10.96.0.11"),
        80,
        outbound("own.test"),
    ));
    all.push(captured(
        "vip",
        Some("10.96.0.10"),
        80,
        outbound("vip.test"),
    ));
    all.push(captured("any", None, 8081, outbound("any.test")));
    // A port of the application that is also a port of a service it calls.
    all.push(captured("same", None, 9080, outbound("any.test")));
    all.push(captured("application", None, 9080, inbound));
    all
}

/// Says its name and who called, then echoes.
fn serve(namespace: &str, name: &'static str, address: &str) {
    let address = at(address);
    inside(namespace, move || {
        let listener = TcpListener::bind(address).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let caller = stream.peer_addr().unwrap().ip();
                    if write!(stream, "{name} called by {caller}: ").is_ok() {
                        let mut reader = stream.try_clone().unwrap();
                        drop(std::io::copy(&mut reader, &mut stream));
                        drop(stream.shutdown(Shutdown::Write));
                    }
                });
            }
        });
    });
}

/// What a client in a namespace hears when it says `question`.
fn ask(namespace: &str, address: &str, question: &'static str) -> std::io::Result<String> {
    let address = at(address);
    inside(namespace, move || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(question.as_bytes())?;
        // A web server takes a closed side for a client that has lost interest.
        if !question.starts_with("GET ") {
            stream.shutdown(Shutdown::Write)?;
        }
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

/// The proxy inside the workload's namespace, in its own group.
fn start(namespaces: &Namespaces, resources: Vec<Resource>, options: &[&str]) -> Process {
    let data = Process::data(CaptureMode::OriginalDestination, resources);
    let launcher = [
        "ip",
        "netns",
        "exec",
        &namespaces.workload,
        "setpriv",
        "--reuid",
        "1337",
        "--regid",
        "1337",
        "--clear-groups",
        // For the files of this test, which are root's.
        "--inh-caps",
        "+dac_override",
        "--ambient-caps",
        "+dac_override",
    ];
    let options = [&["--mode", "capture"], options].concat();
    let proxy = Process::start(&launcher, "10.77.0.1", data, &options);
    let deadline = Instant::now() + Duration::from_secs(20);
    // From the other side of the cable, as a probe would.
    let ready = |namespace: &str| {
        let probe = "GET /healthz/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        ask(namespace, "10.77.0.1:15021", probe).is_ok_and(|answer| answer.contains("200 OK"))
    };
    while !ready(&namespaces.peer) {
        assert!(Instant::now() < deadline, "the proxy is not ready");
        pause(50);
    }
    proxy
}

fn metrics(namespaces: &Namespaces) -> String {
    let request = "GET /stats/prometheus HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    ask(&namespaces.peer, "10.77.0.1:15090", request).unwrap()
}

#[test]
fn connections_go_where_they_were_going() {
    if let Some(reason) = missing() {
        return skipped("capture::connections_go_where_they_were_going", &reason);
    }
    let namespaces = Namespaces::new("go");
    let (workload, peer) = (namespaces.workload.as_str(), namespaces.peer.as_str());
    namespaces.init();
    for (name, address) in [
        ("vip", "10.77.0.2:8080"),
        ("any", "10.77.0.2:8082"),
        ("stranger", "10.77.0.2:7000"),
        ("stranger6", "[fd77::2]:7000"),
    ] {
        serve(peer, name, address);
    }
    for (name, address) in [
        ("declared", "10.77.0.1:9080"),
        ("undeclared", "10.77.0.1:9999"),
        ("declared6", "[fd77::1]:9080"),
        ("undeclared6", "[fd77::1]:9999"),
    ] {
        serve(workload, name, address);
    }
    let proxy = start(
        &namespaces,
        configuration(UnmatchedTraffic::Passthrough),
        &[],
    );

    for (from, to, expected) in [
        // A service address, found exactly.
        (workload, "10.96.0.10:80", "vip called by 10.77.0.1: hi"),
        // A pod address, found by its port.
        (workload, "10.77.0.2:8081", "any called by 10.77.0.1: hi"),
        (workload, "10.77.0.2:9080", "any called by 10.77.0.1: hi"),
        // What the mesh does not know.
        (
            workload,
            "10.77.0.2:7000",
            "stranger called by 10.77.0.1: hi",
        ),
        (
            workload,
            "[fd77::2]:7000",
            "stranger6 called by fd77::1: hi",
        ),
        // Inbound, to a port of a service and to one of none.
        (peer, "10.77.0.1:9080", "declared called by 127.0.0.6: hi"),
        (peer, "10.77.0.1:9999", "undeclared called by 127.0.0.6: hi"),
        (peer, "[fd77::1]:9080", "declared6 called by ::6: hi"),
        (peer, "[fd77::1]:9999", "undeclared6 called by ::6: hi"),
        // The workload as one of its own service's endpoints: out by one listener and in again
        // by the other.
        (
            workload,
            "10.96.0.11:80",
            "declared called by 127.0.0.6: hi",
        ),
        // By its own address it talks to itself.
        (
            workload,
            "10.77.0.1:9080",
            "declared called by 10.77.0.1: hi",
        ),
    ] {
        let answer = ask(from, to, "hi");
        assert_eq!(
            answer.as_deref().unwrap_or("nothing"),
            expected,
            "{to}: {answer:?}"
        );
    }

    nothing_leads_back(&namespaces, &proxy);
    passthrough_is_counted(&namespaces);
    // Admin pages are for the workload itself only.
    assert!(ask(peer, "10.77.0.1:15000", "GET / HTTP/1.1\r\n\r\n").map_or(true, |a| a.is_empty()));
    let own: IpAddr = "127.0.0.1".parse().unwrap();
    let reached = inside(workload, move || {
        TcpStream::connect(SocketAddr::new(own, 15000)).is_ok()
    });
    assert!(reached);
}

/// The proxy's own ports lead nowhere, from either side and redirected or not.
fn nothing_leads_back(namespaces: &Namespaces, proxy: &Process) {
    let (workload, peer) = (namespaces.workload.as_str(), namespaces.peer.as_str());
    let before = proxy.cpu();
    for (from, to) in [
        (peer, "10.77.0.1:15001"),
        (peer, "10.77.0.1:15006"),
        (peer, "[fd77::1]:15001"),
        (peer, "[fd77::1]:15006"),
        // An address of the workload that its proxy was not told.
        (peer, "10.77.0.3:15001"),
        (peer, "10.77.0.3:15006"),
        (workload, "10.77.0.1:15001"),
        (workload, "10.77.0.1:15006"),
        (workload, "127.0.0.1:15001"),
        (workload, "127.0.0.1:15006"),
        (workload, "[::1]:15001"),
        (workload, "[fd77::1]:15006"),
    ] {
        let answer = ask(from, to, "hi");
        assert!(
            answer.as_ref().map_or(true, String::is_empty),
            "{to}: {answer:?}"
        );
    }
    // An address nobody answers at.
    assert!(ask(workload, "10.77.0.2:7999", "hi").map_or(true, |answer| answer.is_empty()));
    assert!(
        proxy.cpu().saturating_sub(before) < Duration::from_secs(1),
        "something loops"
    );
}

/// What is only passed through is counted under names of its own.
fn passthrough_is_counted(namespaces: &Namespaces) {
    let page = metrics(namespaces);
    for (service, reporter) in [
        ("PassthroughCluster", "source"),
        ("InboundPassthroughCluster", "destination"),
    ] {
        let found = page.lines().any(|line| {
            line.starts_with("istio_tcp_connections_opened_total")
                && line.contains(&format!("destination_service_name=\"{service}\""))
                && line.contains(&format!("reporter=\"{reporter}\""))
        });
        assert!(found, "{service} is not in:\n{page}");
    }
}

#[test]
fn what_is_not_in_the_registry_is_refused() {
    if let Some(reason) = missing() {
        return skipped("capture::what_is_not_in_the_registry_is_refused", &reason);
    }
    let namespaces = Namespaces::new("refuse");
    let (workload, peer) = (namespaces.workload.as_str(), namespaces.peer.as_str());
    namespaces.init();
    serve(peer, "vip", "10.77.0.2:8080");
    serve(peer, "stranger", "10.77.0.2:7000");
    let _proxy = start(&namespaces, configuration(UnmatchedTraffic::Refuse), &[]);

    assert_eq!(
        ask(workload, "10.96.0.10:80", "hi").unwrap(),
        "vip called by 10.77.0.1: hi"
    );
    let request = "GET / HTTP/1.1\r\nHost: stranger\r\n\r\n";
    let answer = ask(workload, "10.77.0.2:7000", request).unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let answer = ask(workload, "10.77.0.2:7000", "not HTTP");
    assert!(answer.as_ref().map_or(true, String::is_empty), "{answer:?}");
    let page = metrics(&namespaces);
    assert!(
        page.contains("destination_service_name=\"BlackHoleCluster\""),
        "{page}"
    );
}

/// The cluster that sends connections where they were going, made from one of another kind.
fn through(of: &[Resource]) -> Resource {
    let mut clusters = of.iter().filter_map(|resource| match resource {
        Resource::Cluster(cluster) => Some(Cluster::clone(cluster)),
        Resource::Settings(_)
        | Resource::Workload(_)
        | Resource::Policy(_)
        | Resource::Endpoints(_)
        | Resource::Routes(_)
        | Resource::Listener(_) => None,
    });
    let cluster = Cluster {
        name: ClusterName::Passthrough,
        endpoints: ClusterEndpoints::OriginalDestination,
        balancer: LoadBalancer::Passthrough,
        ..clusters.next().unwrap()
    };
    Resource::Cluster(Arc::new(cluster))
}

/// What the compiler makes of services that share their ports with what the mesh does not know.
fn shared_ports(unmatched: UnmatchedTraffic) -> Vec<Resource> {
    let endpoint = at("10.77.0.2:8080");
    let mut all = cluster("vip.test", &[endpoint], ConnectionLimits::default());
    all.push(through(&all));
    let capture = ListenerKind::OutboundCapture { unmatched };
    all.push(listener("outbound", at("0.0.0.0:15001"), capture));
    let table = |port| RouteSelection::Scope(RouteScope::port(Port::new(port).unwrap()));
    let anywhere = |outbound: Outbound| {
        ListenerKind::Outbound(Outbound {
            silence: Silence::Bytes,
            ..outbound
        })
    };
    // HTTP with a Host header and TLS with a server name, of entries without an address.
    let http = anywhere(Outbound::http(table(443)));
    all.push(captured("http", None, 443, http));
    let api = TlsRule {
        sni_hosts: vec![Domain::parse("api.example.com").unwrap()],
        destination_subnets: Vec::new(),
        destinations: destinations(&[("vip.test", 1)]).into(),
    };
    let tls = anywhere(Outbound::tls(TlsRoutes { rules: vec![api] }));
    all.push(captured("tls", None, 8443, tls));
    // Bytes to a block.
    let block = ListenerKind::Outbound(Outbound::tcp(routes(&[("vip.test", 1)])));
    all.push(captured("block", Some("10.99.0.0/16"), 5432, block));
    // A port that does not say what it speaks.
    let undeclared = ListenerKind::Outbound(Outbound {
        http: Some(table(9300)),
        ..Outbound::tcp(routes(&[("vip.test", 1)]))
    });
    all.push(captured("auto", Some("10.96.0.12"), 9300, undeclared));
    // One that says HTTP where there is something else, at an address of a Service.
    let original = TcpRule {
        destination_subnets: Vec::new(),
        destinations: Arc::new(Destinations::one(Target::Cluster(ClusterName::Passthrough))),
    };
    let misnamed = ListenerKind::Outbound(Outbound {
        tcp: TcpRoutes {
            rules: vec![original],
        },
        ..Outbound::http(table(8444))
    });
    all.push(captured("misnamed", Some("10.77.0.2"), 8444, misnamed));
    all
}

/// The greeting or status line a client hears that says `first`, or waits for the server's first
/// word if that is empty.
fn hear(namespace: &str, address: &str, first: &[u8]) -> String {
    let (address, first) = (at(address), first.to_vec());
    inside(namespace, move || {
        let timeout = Duration::from_secs(5);
        let Ok(mut stream) = TcpStream::connect_timeout(&address, timeout) else {
            return "no connection".to_owned();
        };
        stream.set_read_timeout(Some(timeout)).unwrap();
        stream.write_all(&first).unwrap();
        // A greeting ends in a colon and a blank, and may come in pieces.
        let mut heard = Vec::new();
        let mut piece = [0; 1024];
        let is_whole = |heard: &[u8]| heard.windows(2).any(|two| two == b": " || two == b"\r\n");
        while !is_whole(&heard) {
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => heard.extend_from_slice(&piece[..read]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return format!("silence after {heard:?}");
                }
                Err(_reset) => break,
            }
        }
        if heard.is_empty() {
            return "nothing".to_owned();
        }
        String::from_utf8_lossy(&heard).into_owned()
    })
}

/// Servers at every port of [`shared_ports`], at the peer's own address.
fn strangers(peer: &str) {
    serve(peer, "vip", "10.77.0.2:8080");
    for address in [
        "10.77.0.2:443",
        "10.77.0.2:8443",
        "10.77.0.2:5432",
        "10.77.0.2:8444",
    ] {
        serve(peer, "stranger", address);
    }
}

/// Answers every connection's request with 204.
fn serve_http(namespace: &str, address: &str) {
    let address = at(address);
    inside(namespace, move || {
        let listener = TcpListener::bind(address).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0) {
                    drop(stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n"));
                }
            }
        });
    });
}

#[test]
fn a_declared_port_leaves_strangers_on_it_alone() {
    if let Some(reason) = missing() {
        return skipped(
            "capture::a_declared_port_leaves_strangers_on_it_alone",
            &reason,
        );
    }
    let namespaces = Namespaces::new("alone");
    let workload = namespaces.workload.as_str();
    namespaces.init();
    strangers(&namespaces.peer);
    let resources = shared_ports(UnmatchedTraffic::Passthrough);
    let _proxy = start(&namespaces, resources, &["--detect-timeout", "1s"]);

    let (api, other) = (client_hello("api.example.com"), client_hello("other.test"));
    let request = b"GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n";
    for (to, first, expected) in [
        // Where a port is HTTP by its Host: TLS, bytes, a server that speaks first, and a host
        // nobody has.
        ("10.77.0.2:443", &other[..], "stranger called by 10.77.0.1"),
        (
            "10.77.0.2:443",
            b"*1\r\n$4\r\nPING\r\n",
            "stranger called by 10.77.0.1",
        ),
        ("10.77.0.2:443", b"", "stranger called by 10.77.0.1"),
        // Where a port is TLS by its name.
        ("10.99.1.1:8443", &api, "vip called by 10.77.0.1"),
        ("10.77.0.2:8443", &other, "stranger called by 10.77.0.1"),
        ("10.77.0.2:8443", request, "stranger called by 10.77.0.1"),
        ("10.77.0.2:8443", b"", "stranger called by 10.77.0.1"),
        // Where a block is taken.
        ("10.99.1.1:5432", b"", "vip called by 10.77.0.1"),
        ("10.77.0.2:5432", b"", "stranger called by 10.77.0.1"),
        // Where a Service is not what its port is called.
        ("10.77.0.2:8444", &other, "stranger called by 10.77.0.1"),
    ] {
        let heard = hear(workload, to, first);
        assert!(heard.starts_with(expected), "{to} {first:?}: {heard}");
    }
    // A host nobody has: request by request, to where it was going.
    serve_http(&namespaces.peer, "[fd77::2]:443");
    let heard = hear(workload, "[fd77::2]:443", request);
    assert!(heard.starts_with("HTTP/1.1 204 "), "{heard}");
    let page = metrics(&namespaces);
    assert!(
        page.contains("destination_service_name=\"PassthroughCluster\""),
        "{page}"
    );
}

#[test]
fn strangers_on_a_declared_port_stay_closed_where_only_the_registry_is_open() {
    if let Some(reason) = missing() {
        let name =
            "capture::strangers_on_a_declared_port_stay_closed_where_only_the_registry_is_open";
        return skipped(name, &reason);
    }
    let namespaces = Namespaces::new("closed");
    let workload = namespaces.workload.as_str();
    namespaces.init();
    strangers(&namespaces.peer);
    let resources = shared_ports(UnmatchedTraffic::Refuse);
    let _proxy = start(&namespaces, resources, &["--detect-timeout", "1s"]);

    let (api, other) = (client_hello("api.example.com"), client_hello("other.test"));
    let request = b"GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n";
    for (to, first, expected) in [
        ("10.77.0.2:443", &other[..], "nothing"),
        ("10.77.0.2:443", b"", "nothing"),
        ("10.77.0.2:443", request, "HTTP/1.1 502 "),
        ("10.99.1.1:8443", &api, "vip called by"),
        ("10.77.0.2:8443", &other, "nothing"),
        ("10.77.0.2:8443", request, "HTTP/1.1 502 "),
        ("10.99.1.1:5432", b"", "vip called by"),
        ("10.77.0.2:5432", b"x", "nothing"),
        // The address is a Service's own, and that is in the registry.
        ("10.77.0.2:8444", &other, "stranger called by"),
    ] {
        let heard = hear(workload, to, first);
        assert!(heard.starts_with(expected), "{to} {first:?}: {heard}");
    }
}

#[test]
fn a_server_that_speaks_first_is_heard_after_a_while_and_counted() {
    if let Some(reason) = missing() {
        let name = "capture::a_server_that_speaks_first_is_heard_after_a_while_and_counted";
        return skipped(name, &reason);
    }
    let namespaces = Namespaces::new("first");
    let workload = namespaces.workload.as_str();
    namespaces.init();
    strangers(&namespaces.peer);
    // What the mesh says counts, not what the proxy was started with.
    for (started_with, said) in [("1s", None), ("0s", Some(Duration::from_secs(1)))] {
        let mut resources = shared_ports(UnmatchedTraffic::Passthrough);
        resources.push(Resource::from(ProxySettings {
            detection_timeout: said,
            ..ProxySettings::default()
        }));
        let _proxy = start(&namespaces, resources, &["--detect-timeout", started_with]);
        for _ in 0..2 {
            let begun = Instant::now();
            let heard = hear(workload, "10.96.0.12:9300", b"");
            assert!(heard.starts_with("vip called by"), "{heard}");
            assert!(begun.elapsed() >= Duration::from_millis(900));
        }
        // Who speaks is not made to wait, and is not counted.
        let heard = hear(workload, "10.96.0.12:9300", b"*1\r\n$4\r\nPING\r\n");
        assert!(heard.starts_with("vip called by"), "{heard}");
        let page = metrics(&namespaces);
        let counted = page.lines().any(|line| {
            line.starts_with("proxy_protocol_detection_timeouts_total")
                && line.contains("port=\"9300\"")
                && line.ends_with(" 2")
        });
        assert!(counted, "{page}");
    }
}
