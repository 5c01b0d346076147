//! Clusters, routes and listeners of HTTP tests, and a proxy that has them.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "every test binary has its own copy and uses a part of it"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::cluster::{
    Cluster, ClusterEndpoints, ConnectionLimits, LoadBalancer, LocalityPolicy, RetryBudget,
    UpstreamProtocol, UpstreamTls,
};
use mesh_api::endpoint::{Endpoint, EndpointAddress, EndpointSet, Health};
use mesh_api::listener::{
    InboundListener, InboundProtocol, InboundTarget, ListenerKind, Outbound, RouteSelection,
};
use mesh_api::name::{ClusterName, EndpointsName, PolicyName, RouteScope, RoutesName};
use mesh_api::resource::Resource;
use mesh_api::route::{
    Destination, Destinations, Domain, Forward, HeaderEdits, PathMatch, RequestMatch, RetryPolicy,
    Rewrite, RouteAction, Rule, StringMatch, Target, VirtualHost,
};
use mesh_api::units::Port;
use mesh_api::workload::{Labels, Locality, Peer, ServiceIdentity};

use crate::http_support::{Answer, fetch};
use crate::mesh::{TestProxy, free_address, listener};

/// The port of every service in these tests.
pub const PORT: u16 = 80;

fn port() -> Port {
    Port::new(PORT).unwrap()
}

pub fn service(host: &str) -> ServiceIdentity {
    ServiceIdentity {
        host: host.into(),
        name: host.split('.').next().unwrap().into(),
        namespace: "test".into(),
    }
}

pub fn cluster_name(host: &str, subset: Option<&str>) -> ClusterName {
    ClusterName::Outbound {
        port: port(),
        subset: subset.map(Into::into),
        host: host.into(),
    }
}

/// A cluster with every default.
pub fn cluster(host: &str) -> Cluster {
    subset(host, None)
}

/// A cluster of the endpoints labelled `version: subset`.
pub fn subset(host: &str, subset: Option<&str>) -> Cluster {
    let set = EndpointsName {
        host: host.into(),
        port: port(),
        claim: None,
    };
    let labels = subset.map(|version| ("version".into(), version.into()));
    Cluster {
        name: cluster_name(host, subset),
        service: service(host),
        endpoints: ClusterEndpoints::Discovered {
            set,
            subset: labels.into_iter().collect(),
        },
        protocol: UpstreamProtocol::Http1,
        balancer: LoadBalancer::RoundRobin { warmup: None },
        locality: LocalityPolicy::Off,
        limits: ConnectionLimits {
            connect_timeout: Duration::from_secs(2),
            ..ConnectionLimits::default()
        },
        outlier: None,
        tls: UpstreamTls::Plaintext,
        retry_budget: RetryBudget::default(),
        proxy_protocol: None,
        tunnel: None,
    }
}

/// Endpoints without labels.
pub fn endpoints(host: &str, addresses: &[SocketAddr]) -> Resource {
    let all: Vec<(SocketAddr, &str)> = addresses.iter().map(|address| (*address, "")).collect();
    labelled(host, &all)
}

/// Endpoints with a `version` label.
pub fn labelled(host: &str, addresses: &[(SocketAddr, &str)]) -> Resource {
    let mut addresses = addresses.to_vec();
    addresses.sort_unstable();
    let endpoints = addresses
        .into_iter()
        .map(|(address, version)| {
            Arc::new(Endpoint {
                address: EndpointAddress::Socket(address),
                labels: Labels::from([("version".into(), version.into())]),
                weight: 1,
                health: Health::Healthy,
                locality: Locality::default(),
                network: "".into(),
                mesh_tls: false,
                peer: Peer {
                    workload: "backend".into(),
                    version: version.into(),
                    ..Peer::default()
                },
            })
        })
        .collect();
    let name = EndpointsName {
        host: host.into(),
        port: port(),
        claim: None,
    };
    Resource::Endpoints(Arc::new(EndpointSet { name, endpoints }))
}

pub fn forward_to(destinations: Destinations) -> Forward {
    Forward {
        destinations,
        timeout: None,
        retry: RetryPolicy::off(),
        rewrite: Rewrite::default(),
        mirrors: Vec::new(),
    }
}

/// Forwarding to the whole service.
pub fn forward(host: &str) -> Forward {
    forward_to(Destinations::one(Target::Cluster(cluster_name(host, None))))
}

/// Forwarding by weight to subsets of the service.
pub fn weighted(host: &str, subsets: &[(&str, u32)]) -> Forward {
    let list = subsets.iter().map(|(subset, weight)| Destination {
        target: Target::Cluster(cluster_name(host, Some(subset))),
        weight: *weight,
        headers: HeaderEdits::default(),
    });
    forward_to(Destinations::new(list.collect()).unwrap())
}

pub fn rule(name: &str, matches: Vec<RequestMatch>, action: RouteAction) -> Rule {
    Rule {
        name: name.into(),
        matches,
        fault: None,
        cors: None,
        headers: HeaderEdits::default(),
        action,
    }
}

/// A rule for everything.
pub fn always(forward: Forward) -> Rule {
    rule(
        "always",
        Vec::new(),
        RouteAction::Forward(Box::new(forward)),
    )
}

pub fn path(text: StringMatch) -> RequestMatch {
    RequestMatch {
        path: Some(PathMatch {
            text,
            ignore_case: false,
        }),
        ..RequestMatch::default()
    }
}

pub fn prefix(text: &str) -> RequestMatch {
    path(StringMatch::Prefix(text.into()))
}

pub fn routes(host: &str, rules: Vec<Rule>) -> Resource {
    Resource::Routes(Arc::new(VirtualHost {
        name: RoutesName {
            scope: RouteScope::port(port()),
            host: host.into(),
        },
        domains: vec![Domain::parse(host).unwrap()],
        service: Some(service(host)),
        rules: rules.into_iter().map(Arc::new).collect(),
    }))
}

pub fn http_listener(address: SocketAddr) -> Resource {
    let protocol = Outbound::http(RouteSelection::ByAuthorityPort);
    listener("outbound-http", address, ListenerKind::Outbound(protocol))
}

/// An inbound port that leads to an application.
pub fn inbound(address: SocketAddr, application: SocketAddr, policy: &str) -> Resource {
    inbound_as(InboundProtocol::Http1, address, application, policy)
}

pub fn inbound_as(
    protocol: InboundProtocol,
    address: SocketAddr,
    application: SocketAddr,
    policy: &str,
) -> Resource {
    let inbound = InboundListener {
        port: Port::new(8080).unwrap(),
        protocol,
        target: InboundTarget::Address(application),
        service: Some(service("shop.test")),
        policy: PolicyName(policy.into()),
        limits: ConnectionLimits::default(),
    };
    listener("inbound", address, ListenerKind::Inbound(Box::new(inbound)))
}

/// A proxy with one outbound HTTP listener and one service, `shop.test`.
pub struct Shop {
    pub proxy: TestProxy,
    pub address: SocketAddr,
}

pub const SHOP: &str = "shop.test";

impl Shop {
    pub async fn with(cluster: Cluster, upstreams: &[SocketAddr], rules: Vec<Rule>) -> Self {
        Self::on(TestProxy::start(), cluster, upstreams, rules).await
    }

    pub async fn on(
        proxy: TestProxy,
        cluster: Cluster,
        upstreams: &[SocketAddr],
        rules: Vec<Rule>,
    ) -> Self {
        let mut shop = Self {
            proxy,
            address: free_address(),
        };
        let resources = vec![
            Resource::Cluster(Arc::new(cluster)),
            endpoints(SHOP, upstreams),
            routes(SHOP, rules),
        ];
        shop.apply(resources).await;
        shop
    }

    /// Forwards everything to `upstreams`.
    pub async fn new(upstreams: &[SocketAddr], forward: Forward) -> Self {
        Self::with(cluster(SHOP), upstreams, vec![always(forward)]).await
    }

    pub async fn apply(&mut self, mut resources: Vec<Resource>) {
        resources.push(http_listener(self.address));
        self.proxy.apply(resources).await;
    }

    pub async fn get(&self, path: &str) -> Answer {
        fetch(self.address, SHOP, path).await
    }

    /// Whether some request was counted with this status and these flags.
    pub async fn counted(&self, code: u16, flags: &str) {
        let code = format!("response_code=\"{code}\"");
        let flags = format!("response_flags=\"{flags}\"");
        let labels = [code.as_str(), flags.as_str()];
        self.proxy
            .metric_reaches("istio_requests_total", &labels, 1.0)
            .await;
    }
}
