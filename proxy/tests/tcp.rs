//! Bytes through the proxy: both ways, by weight, by server name, within limits, and counted.

#![cfg(test)]

#[path = "support/client_hello.rs"]
mod client_hello;
#[path = "support/mesh.rs"]
mod mesh;
#[path = "support/servers.rs"]
mod servers;

use std::time::Duration;

use mesh_api::cluster::ConnectionLimits;
use mesh_api::listener::{
    Bind, GatewayProtocol, InboundListener, InboundProtocol, InboundTarget, Listener, ListenerKind,
    Outbound, Silence, TlsRoutes, TlsRule,
};
use mesh_api::name::{ListenerName, PolicyName};
use mesh_api::policy::PolicyRule;
use mesh_api::resource::Resource;
use mesh_api::route::Domain;
use mesh_api::units::Port;
use mesh_api::workload::ServiceIdentity;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use client_hello::client_hello;
use mesh::{TestProxy, cluster, destinations, free_address, listener, routes, tcp_listener};
use servers::{ask, count, echo};

fn plain() -> ConnectionLimits {
    ConnectionLimits::default()
}

#[tokio::test]
async fn bytes_go_both_ways_and_are_counted() {
    let server = count().await;
    let (mut proxy, address) = (TestProxy::start(), free_address());
    let mut all = cluster("store.test", &[server.address], plain());
    all.push(tcp_listener("store", address, "store.test"));
    proxy.apply(all).await;

    // The answer comes after the client has closed its side.
    assert_eq!(ask(address, &vec![7; 100_000]).await.unwrap(), "100000");
    let labels = [
        "reporter=\"source\"",
        "destination_service=\"store.test\"",
        "response_flags=\"-\"",
    ];
    proxy
        .metric_reaches("istio_tcp_connections_closed_total", &labels, 1.0)
        .await;
    assert!((proxy.metric("istio_tcp_connections_opened_total", &labels[..2]) - 1.0).abs() < 0.1);
    assert!((proxy.metric("istio_tcp_received_bytes_total", &labels[..2]) - 100_000.0).abs() < 0.1);
    assert!((proxy.metric("istio_tcp_sent_bytes_total", &labels[..2]) - 6.0).abs() < 0.1);
}

#[tokio::test]
async fn weights_share_connections() {
    let (one, two, none) = (echo("1").await, echo("2").await, echo("0").await);
    let (mut proxy, address) = (TestProxy::start(), free_address());
    let mut all = cluster("one.test", &[one.address], plain());
    all.extend(cluster("two.test", &[two.address], plain()));
    all.extend(cluster("none.test", &[none.address], plain()));
    let weighted = routes(&[("one.test", 75), ("two.test", 25), ("none.test", 0)]);
    all.push(listener(
        "tcp",
        address,
        ListenerKind::Outbound(Outbound::tcp(weighted)),
    ));
    proxy.apply(all).await;
    for _ in 0..400 {
        ask(address, b"").await.unwrap();
    }
    assert_eq!(one.connections() + two.connections(), 400);
    assert_eq!(none.connections(), 0);
    assert!(
        (250..350).contains(&one.connections()),
        "{}",
        one.connections()
    );
}

#[tokio::test]
async fn refusals_close_and_are_flagged() {
    let (mut proxy, unreachable) = (TestProxy::start(), free_address());
    let (refused, empty, busy, unrouted) = (
        free_address(),
        free_address(),
        free_address(),
        free_address(),
    );
    let server = echo("hi").await;
    let mut all = cluster("down.test", &[unreachable], plain());
    all.extend(cluster("empty.test", &[], plain()));
    let one = ConnectionLimits {
        max_connections: Some(1),
        ..plain()
    };
    all.extend(cluster("busy.test", &[server.address], one));
    all.push(tcp_listener("down", refused, "down.test"));
    all.push(tcp_listener("empty", empty, "empty.test"));
    all.push(tcp_listener("busy", busy, "busy.test"));
    let nothing = Outbound::tcp(mesh_api::listener::TcpRoutes::default());
    all.push(listener(
        "unrouted",
        unrouted,
        ListenerKind::Outbound(nothing),
    ));
    proxy.apply(all).await;

    let mut holds = TcpStream::connect(busy).await.unwrap();
    holds.read_exact(&mut [0; 2]).await.unwrap();
    for (address, flag) in [
        (refused, "UF"),
        (empty, "UH"),
        (busy, "UO"),
        (unrouted, "NR"),
    ] {
        assert!(
            ask(address, b"x").await.is_err(),
            "{flag}: the connection is reset"
        );
        let label = format!("response_flags=\"{flag}\"");
        proxy
            .metric_reaches("istio_tcp_connections_closed_total", &[&label], 1.0)
            .await;
    }
    drop(holds);
}

#[tokio::test]
async fn a_broken_upstream_does_not_look_complete() {
    let server = servers::serve(|mut stream| async move {
        stream.write_all(b"half of").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    })
    .await;
    let (mut proxy, address) = (TestProxy::start(), free_address());
    let mut all = cluster("store.test", &[server.address], plain());
    all.push(tcp_listener("store", address, "store.test"));
    proxy.apply(all).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.read_exact(&mut [0; 7]).await.unwrap();
    client.write_all(b"x").await.unwrap();
    assert!(client.read(&mut [0; 8]).await.is_err(), "reset, not closed");
    proxy
        .metric_reaches(
            "istio_tcp_connections_closed_total",
            &["response_flags=\"UC\""],
            1.0,
        )
        .await;
}

#[tokio::test]
async fn idle_connections_end_at_the_configured_time() {
    let server = echo("").await;
    let (mut proxy, address) = (TestProxy::start(), free_address());
    let idle = Some(Duration::from_millis(200));
    let limits = ConnectionLimits {
        tcp_idle_timeout: idle,
        ..plain()
    };
    let mut all = cluster("store.test", &[server.address], limits);
    all.push(tcp_listener("store", address, "store.test"));
    proxy.apply(all).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"x").await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();
    let begun = std::time::Instant::now();
    assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
    assert!(
        begun.elapsed() >= Duration::from_millis(150),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn tls_passes_by_server_name() {
    let (one, any) = (count().await, count().await);
    let (mut proxy, sidecar, gateway) = (TestProxy::start(), free_address(), free_address());
    let mut all = cluster("one.test", &[one.address], plain());
    all.extend(cluster("any.test", &[any.address], plain()));
    let rule = |host: &str, to: &str| TlsRule {
        sni_hosts: vec![Domain::parse(host).unwrap()],
        destination_subnets: Vec::new(),
        destinations: destinations(&[(to, 1)]).into(),
    };
    let tls = TlsRoutes {
        rules: vec![
            rule("*.example", "any.test"),
            rule("one.example", "one.test"),
        ],
    };
    let outbound = Outbound::tls(tls.clone());
    all.push(listener("tls", sidecar, ListenerKind::Outbound(outbound)));
    let passthrough = GatewayProtocol::TlsPassthrough(tls);
    all.push(listener("gateway", gateway, mesh::gateway(passthrough)));
    proxy.apply(all).await;

    for address in [sidecar, gateway] {
        let hello = client_hello("One.example");
        assert_eq!(ask(address, &hello).await.unwrap(), hello.len().to_string());
        let hello = client_hello("two.example");
        assert_eq!(ask(address, &hello).await.unwrap(), hello.len().to_string());
        assert!(ask(address, &client_hello("example")).await.is_err());
        assert!(ask(address, b"GET / HTTP/1.1\r\n\r\n").await.is_err());
    }
    assert_eq!((one.connections(), any.connections()), (2, 2));
}

#[tokio::test]
async fn detected_bytes_go_to_the_tcp_routes() {
    let server = count().await;
    let (mut proxy, address) = (TestProxy::start(), free_address());
    let mut all = cluster("store.test", &[server.address], plain());
    let detect = Outbound {
        http: Some(mesh_api::listener::RouteSelection::ByAuthorityPort),
        tls: TlsRoutes::default(),
        tcp: routes(&[("store.test", 1)]),
        silence: Silence::Bytes,
    };
    all.push(listener("auto", address, ListenerKind::Outbound(detect)));
    proxy.apply(all).await;
    assert_eq!(ask(address, b"*1\r\n$4\r\nPING\r\n").await.unwrap(), "14");
    let hello = client_hello("a.example");
    assert_eq!(ask(address, &hello).await.unwrap(), hello.len().to_string());
    // HTTP does not reach the TCP routes.
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: nowhere\r\nConnection: close\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    assert_eq!(server.connections(), 2);
}

fn inbound(name: &str, bind: std::net::SocketAddr, to: std::net::SocketAddr) -> Resource {
    inbound_as(InboundProtocol::Tcp, name, bind, to)
}

fn inbound_as(
    protocol: InboundProtocol,
    name: &str,
    bind: std::net::SocketAddr,
    to: std::net::SocketAddr,
) -> Resource {
    Resource::Listener(std::sync::Arc::new(Listener {
        name: ListenerName(name.into()),
        bind: Bind::Socket(bind),
        kind: ListenerKind::Inbound(Box::new(InboundListener {
            port: Port::new(bind.port()).unwrap(),
            protocol,
            target: InboundTarget::Address(to),
            service: Some(ServiceIdentity {
                host: "store.test".into(),
                name: "store".into(),
                namespace: "test".into(),
            }),
            policy: PolicyName("store".into()),
            limits: plain(),
        })),
    }))
}

fn policy(rule: PolicyRule) -> Resource {
    mesh::policy("store", rule)
}

#[tokio::test]
async fn inbound_bytes_obey_the_policy_even_when_it_changes() {
    let application = echo("").await;
    let (mut proxy, address) = (TestProxy::start(), free_address());
    let port = inbound("in", address, application.address);
    proxy
        .apply(vec![policy(PolicyRule::Allow), port.clone()])
        .await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    client.read_exact(&mut [0; 5]).await.unwrap();
    let labels = [
        "reporter=\"destination\"",
        "destination_service=\"store.test\"",
    ];
    proxy
        .metric_reaches("istio_tcp_sent_bytes_total", &labels, 5.0)
        .await;

    let refuse = PolicyRule::Refuse {
        reason: "STRICT is not enforceable".into(),
    };
    proxy.apply(vec![policy(refuse), port.clone()]).await;
    // The connection that was let in is ended, and no new one is let in.
    let ended = tokio::time::timeout(Duration::from_secs(5), client.read(&mut [0; 8])).await;
    assert_eq!(ended.unwrap().unwrap_or(0), 0);
    assert!(ask(address, b"x").await.is_err());
    assert_eq!(application.connections(), 1);
    proxy
        .metric_reaches(
            "istio_tcp_connections_closed_total",
            &["response_flags=\"NE\""],
            2.0,
        )
        .await;

    proxy.apply(vec![policy(PolicyRule::Allow), port]).await;
    assert_eq!(ask(address, b"again").await.unwrap(), "again");
}

#[tokio::test]
async fn a_port_that_is_called_http_leads_tls_to_the_application_as_it_is() {
    let application = echo("").await;
    let (mut proxy, address) = (TestProxy::start(), free_address());
    let port = inbound_as(InboundProtocol::Http1, "in", address, application.address);
    proxy
        .apply(vec![policy(PolicyRule::Allow), port.clone()])
        .await;
    let hello = client_hello("own.example");
    let answer = ask(address, &hello).await.unwrap();
    assert_eq!(answer.as_bytes(), hello);
    let labels = [
        "reporter=\"destination\"",
        "destination_service=\"store.test\"",
    ];
    proxy
        .metric_reaches("istio_tcp_connections_closed_total", &labels, 1.0)
        .await;
    // What is kept out as HTTP is kept out as bytes.
    let reason = "STRICT is not enforceable".into();
    let refuse = PolicyRule::Refuse { reason };
    proxy.apply(vec![policy(refuse), port]).await;
    assert!(ask(address, &hello).await.is_err());
    assert_eq!(application.connections(), 1);
}
