//! What a policy cuts off before it was answered: the record says so, and does not blame the
//! client; a copy that went to a mirror ends with its original.

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

use mesh_api::listener::{GatewayListener, GatewayProtocol, ListenerKind};
use mesh_api::name::{PolicyName, RouteScope};
use mesh_api::policy::PolicyRule;
use mesh_api::resource::Resource;
use mesh_api::route::{Mirror, Rule, Target};
use mesh_api::units::{PartsPerMillion, Port};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use http_support::{Client, Upstream, fetch, get};
use mesh::{free_address, listener, refusal};
use shop::{SHOP, always, cluster, cluster_name, endpoints, forward, inbound, routes};

/// What policy may take to be obeyed.
const PROMISED: Duration = Duration::from_secs(5);
const POLICY: &str = "place";

/// A gateway's port for the routes of these tests, where the policy decides who may come in.
fn gateway(address: SocketAddr) -> Resource {
    let protocol = GatewayProtocol::Http {
        scope: RouteScope::port(Port::new(80).unwrap()),
        https_redirect: Vec::new(),
    };
    let policy = PolicyName(POLICY.into());
    let kind = ListenerKind::Gateway(GatewayListener { policy, protocol });
    listener("gateway", address, kind)
}

/// A service and the rule that leads to it.
fn service(address: SocketAddr, rule: Rule) -> Vec<Resource> {
    vec![
        Resource::from(cluster(SHOP)),
        endpoints(SHOP, &[address]),
        routes(SHOP, vec![rule]),
    ]
}

fn by(rule: PolicyRule, rest: &[Resource]) -> Vec<Resource> {
    [vec![mesh::policy(POLICY, rule)], rest.to_vec()].concat()
}

/// Asks, and waits for an answer that must not come.
fn unanswered(mut client: Client) -> JoinHandle<()> {
    tokio::spawn(async move {
        let answer = client.try_send(get(SHOP, "/")).await;
        assert!(answer.is_err(), "answered: {answer:?}");
    })
}

#[tokio::test]
async fn what_policy_cuts_off_unanswered_is_recorded_as_cut_off_by_policy() {
    let application = Upstream::serve(|_, _| std::future::pending()).await;
    let (mut proxy, log) = log::start(mesh::settings());
    let [sidecar, outside] = [(); 2].map(|()| free_address());
    let mut rest = service(application.address, always(forward(SHOP)));
    rest.push(gateway(outside));
    rest.push(inbound(sidecar, application.address, POLICY));
    proxy.apply(by(PolicyRule::Allow, &rest)).await;

    let waiting = [
        unanswered(Client::http1(sidecar).await),
        unanswered(Client::http1(outside).await),
        unanswered(Client::http2(outside).await),
    ];
    for _ in 0..500 {
        if application.requests() == waiting.len() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(application.requests(), waiting.len(), "all are under way");
    proxy.apply(by(refusal("closed"), &rest)).await;
    for cut in waiting {
        tokio::time::timeout(PROMISED, cut).await.unwrap().unwrap();
    }

    let counted = "istio_requests_total";
    let by_policy = ["response_code=\"0\"", "response_flags=\"NE\""];
    proxy.metric_reaches(counted, &by_policy, 3.0).await;
    for reporter in ["source", "destination"] {
        let reporter = format!("reporter=\"{reporter}\"");
        let labels = [by_policy[0], by_policy[1], reporter.as_str()];
        assert!(proxy.metric(counted, &labels) > 0.0, "{reporter}");
    }
    let all = proxy.metric(counted, &[]);
    assert!((all - 3.0).abs() < 0.1, "{all} in all");
    let lines = log.lines(&proxy).await;
    let said = |line: &&String| line.contains(" 0 NE policy_revoked ");
    assert_eq!(lines.iter().filter(said).count(), 3, "{lines:#?}");
}

/// A server that never answers; told of every request's head, and of every connection's end.
async fn silent() -> (servers::Server, mpsc::UnboundedReceiver<&'static str>) {
    let (says, hears) = mpsc::unbounded_channel();
    let server = servers::serve(move |mut stream| {
        let says = says.clone();
        async move {
            let mut all = Vec::new();
            while !all.ends_with(b"\r\n\r\n") {
                if !matches!(stream.read_buf(&mut all).await, Ok(1..)) {
                    return;
                }
            }
            let _gone = says.send("asked");
            drop(stream.read_to_end(&mut all).await);
            let _gone = says.send("ended");
        }
    })
    .await;
    (server, hears)
}

#[tokio::test]
async fn a_copy_to_a_mirror_ends_when_its_original_may_not_be_there() {
    let application = Upstream::named("original").await;
    let (mirror, mut heard) = silent().await;
    let mut proxy = mesh::TestProxy::start();
    let outside = free_address();
    let mut forward = forward(SHOP);
    forward.mirrors = vec![Mirror {
        target: Target::Cluster(cluster_name("mirror.test", None)),
        share: PartsPerMillion::ALL,
    }];
    let mut rest = service(application.address, always(forward));
    rest.push(gateway(outside));
    rest.push(Resource::from(cluster("mirror.test")));
    rest.push(endpoints("mirror.test", &[mirror.address]));
    proxy.apply(by(PolicyRule::Allow, &rest)).await;

    assert_eq!(fetch(outside, SHOP, "/").await.text(), "original");
    assert_eq!(heard.recv().await, Some("asked"));
    assert!(heard.try_recv().is_err(), "it goes on beside its original");
    proxy.apply(by(refusal("closed"), &rest)).await;
    let ended = tokio::time::timeout(PROMISED, heard.recv()).await;
    assert_eq!(ended, Ok(Some("ended")));
}
