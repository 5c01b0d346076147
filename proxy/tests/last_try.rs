//! What is recorded of a request or a connection that got no answer: the endpoint that was tried
//! last, in the log line and in the metrics, and why, in a word and in a sentence.

#![cfg(test)]

#[path = "support/http.rs"]
mod http_support;
#[path = "support/log.rs"]
mod log;
#[path = "support/mesh.rs"]
mod mesh;
#[path = "support/servers.rs"]
mod servers;
#[path = "support/shop.rs"]
mod shop;

use std::net::SocketAddr;
use std::time::Duration;

use mesh_api::cluster::ConnectionLimits;
use mesh_api::listener::{GatewayListener, GatewayProtocol, ListenerKind};
use mesh_api::name::RouteScope;
use mesh_api::resource::Resource;
use mesh_api::route::{
    Destination, Destinations, Failure, FailureFlag, Forward, RetryPolicy, Rule, Target,
};
use mesh_api::units::Port;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use http_support::{Client, Upstream, fetch, get};
use log::Written;
use mesh::{TestProxy, free_address, listener, open, tcp_listener};
use shop::{SHOP, always, cluster, endpoints, forward, inbound, routes};

/// A gateway with one rule, and what its proxy logs.
async fn with(rule: Rule, endpoint: SocketAddr) -> (TestProxy, Written, SocketAddr) {
    let (mut proxy, log) = log::start(mesh::settings());
    let outside = free_address();
    let protocol = GatewayProtocol::Http {
        scope: RouteScope::port(Port::new(80).unwrap()),
        https_redirect: Vec::new(),
    };
    let policy = open();
    let kind = ListenerKind::Gateway(GatewayListener { policy, protocol });
    let resources = vec![
        Resource::from(cluster(SHOP)),
        endpoints(SHOP, &[endpoint]),
        routes(SHOP, vec![rule]),
        listener("gateway", outside, kind),
    ];
    proxy.apply(resources).await;
    (proxy, log, outside)
}

/// The one line with this flag.
async fn line(log: &Written, proxy: &TestProxy, flag: &str) -> String {
    for _ in 0..200 {
        let lines = log.lines(proxy).await;
        let found = lines.iter().find(|line| line.contains(flag));
        if let Some(found) = found {
            return found.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no line with {flag}: {:#?}", log.lines(proxy).await);
}

fn once(timeout: Option<Duration>) -> Forward {
    Forward {
        retry: RetryPolicy::off(),
        timeout,
        ..forward(SHOP)
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_is_named() {
    let dead = free_address();
    let (proxy, log, gateway) = with(always(once(None)), dead).await;
    assert_eq!(fetch(gateway, SHOP, "/").await.status, 503);
    let line = line(&log, &proxy, " 503 UF ").await;
    assert!(line.contains(&format!("\"{dead}\"")), "{line}");
}

#[tokio::test]
async fn an_endpoint_that_takes_too_long_is_named() {
    let slow = Upstream::serve(|_, _| std::future::pending()).await;
    let limit = Some(Duration::from_millis(200));
    let (proxy, log, gateway) = with(always(once(limit)), slow.address).await;
    assert_eq!(fetch(gateway, SHOP, "/").await.status, 504);
    let line = line(&log, &proxy, " 504 UT ").await;
    assert!(line.contains(&format!("\"{}\"", slow.address)), "{line}");
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_for_the_endpoint_it_waited_for() {
    let slow = Upstream::serve(|_, _| std::future::pending()).await;
    let (proxy, log, gateway) = with(always(once(None)), slow.address).await;
    let mut client = Client::http1(gateway).await;
    let asking = client.try_send(get(SHOP, "/"));
    let patience = Duration::from_millis(500);
    tokio::time::timeout(patience, asking).await.unwrap_err();
    drop(client);
    let line = line(&log, &proxy, " 0 DC ").await;
    assert!(line.contains(&format!("\"{}\"", slow.address)), "{line}");
    let labels = ["response_flags=\"DC\"", "destination_workload=\"backend\""];
    proxy
        .metric_reaches("istio_requests_total", &labels, 1.0)
        .await;
}

#[tokio::test]
async fn what_the_configuration_refuses_has_a_word_and_its_sentence() {
    let failure = Failure {
        status: http::StatusCode::SERVICE_UNAVAILABLE,
        flag: FailureFlag::NoCluster,
        reason: "subset v9 is of no DestinationRule".into(),
    };
    let refused = Destination {
        target: Target::Fail(failure),
        weight: 1,
        headers: mesh_api::route::HeaderEdits::default(),
    };
    let forward = Forward {
        destinations: Destinations::new(vec![refused]).unwrap(),
        ..once(None)
    };
    let (proxy, log, gateway) = with(always(forward), free_address()).await;
    assert_eq!(fetch(gateway, SHOP, "/").await.status, 503);
    let line = line(&log, &proxy, " 503 NC ").await;
    assert!(line.contains(" 503 NC cluster_not_found "), "{line}");
    let sentence = " reason=\"subset v9 is of no DestinationRule\"";
    assert!(line.ends_with(sentence), "{line}");
}

#[tokio::test]
async fn what_comes_in_goes_by_the_default_route_and_without_others_metadata() {
    let application = Upstream::serve(|request, _number| async move {
        let found = request
            .headers()
            .keys()
            .any(|name| name.as_str().starts_with("x-envoy-peer-metadata"));
        http_support::plain(if found { 500 } else { 200 }, "seen")
    })
    .await;
    let (mut proxy, log) = log::start(mesh::settings());
    let sidecar = free_address();
    let resource = inbound(sidecar, application.address, mesh::OPEN);
    proxy.apply(vec![resource]).await;
    let mut client = Client::http1(sidecar).await;
    let mut request = get(SHOP, "/");
    for name in ["x-envoy-peer-metadata", "x-envoy-peer-metadata-id"] {
        request
            .headers_mut()
            .insert(name, "sidecar~".parse().unwrap());
    }
    assert_eq!(client.send(request).await.status, 200);
    let line = line(&log, &proxy, " 200 - via_upstream ").await;
    assert!(line.ends_with(" default"), "{line}");
}

#[tokio::test]
async fn a_connection_to_an_endpoint_that_is_not_there_names_it() {
    let (mut proxy, log) = log::start(mesh::settings());
    let (dead, here) = (free_address(), free_address());
    let mut resources = mesh::cluster(SHOP, &[dead], ConnectionLimits::default());
    resources.push(tcp_listener("tcp", here, SHOP));
    proxy.apply(resources).await;
    // An end or a reset, which may come before the client has seen its own connection succeed.
    let _ended = async {
        let mut client = TcpStream::connect(here).await?;
        client.read_to_end(&mut Vec::new()).await
    }
    .await;
    let line = line(&log, &proxy, " UF ").await;
    assert!(line.contains(&format!("\"{dead}\"")), "{line}");
    let workload = format!("destination_workload=\"w{}\"", dead.port());
    let labels = ["response_flags=\"UF\"", workload.as_str()];
    let closed = "istio_tcp_connections_closed_total";
    proxy.metric_reaches(closed, &labels, 1.0).await;
}
