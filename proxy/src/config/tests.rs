//! From one configuration to the next: what is kept, what is built, what is found.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_api::cluster::{
    Cluster, ClusterEndpoints, ConnectionLimits, LoadBalancer, LocalityPolicy, RetryBudget,
    UpstreamProtocol, UpstreamTls,
};
use mesh_api::endpoint::{Endpoint, EndpointAddress, EndpointSet, Health};
use mesh_api::listener::RouteSelection;
use mesh_api::name::{ClusterName, EndpointsName, RouteScope, RoutesName};
use mesh_api::resource::Resource;
use mesh_api::route::{
    Destinations, Domain, Forward, HeaderEdits, RetryPolicy, Rewrite, RouteAction, Rule, Target,
    VirtualHost,
};
use mesh_api::snapshot::Snapshot;
use mesh_api::units::Port;
use mesh_api::workload::{Labels, Locality, Peer, ServiceIdentity};

use super::*;

const OWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn port(port: u16) -> Port {
    Port::new(port).unwrap()
}

fn service() -> ServiceIdentity {
    ServiceIdentity {
        host: "a.test".into(),
        name: "a".into(),
        namespace: "test".into(),
    }
}

fn name(subset: Option<&str>) -> ClusterName {
    ClusterName::Outbound {
        port: port(80),
        subset: subset.map(Into::into),
        host: "a.test".into(),
    }
}

fn set() -> EndpointsName {
    EndpointsName {
        host: "a.test".into(),
        port: port(80),
        claim: None,
    }
}

fn cluster(subset: Option<&str>) -> Cluster {
    let labels = subset.map(|version| ("version".into(), version.into()));
    Cluster {
        name: name(subset),
        service: service(),
        endpoints: ClusterEndpoints::Discovered {
            set: set(),
            subset: labels.into_iter().collect(),
        },
        protocol: UpstreamProtocol::Http1,
        balancer: LoadBalancer::Random,
        locality: LocalityPolicy::Off,
        limits: ConnectionLimits::default(),
        outlier: None,
        tls: UpstreamTls::Plaintext,
        retry_budget: RetryBudget::default(),
        proxy_protocol: None,
        tunnel: None,
    }
}

fn endpoints(list: &[(&str, &str, u32)]) -> Resource {
    let endpoints = list.iter().map(|(address, version, weight)| {
        Arc::new(Endpoint {
            address: EndpointAddress::Socket(address.parse::<SocketAddr>().unwrap()),
            labels: Labels::from([("version".into(), (*version).into())]),
            weight: *weight,
            health: Health::Healthy,
            locality: Locality::default(),
            network: "".into(),
            mesh_tls: false,
            peer: Peer::default(),
        })
    });
    EndpointSet {
        name: set(),
        endpoints: endpoints.collect(),
    }
    .into()
}

fn host(scope: u16, domains: &[&str]) -> Resource {
    let forward = Forward {
        destinations: Destinations::one(Target::Cluster(name(None))),
        timeout: None,
        retry: RetryPolicy::off(),
        rewrite: Rewrite::default(),
        mirrors: Vec::new(),
    };
    VirtualHost {
        name: RoutesName {
            scope: RouteScope::port(port(scope)),
            host: domains[0].into(),
        },
        domains: domains
            .iter()
            .map(|domain| Domain::parse(domain).unwrap())
            .collect(),
        service: Some(service()),
        rules: vec![Arc::new(Rule {
            name: "all".into(),
            matches: Vec::new(),
            fault: None,
            cors: None,
            headers: HeaderEdits::default(),
            action: RouteAction::Forward(Box::new(forward)),
        })],
    }
    .into()
}

fn next(before: Option<&ActiveConfig>, resources: Vec<Resource>) -> ActiveConfig {
    let snapshot = Snapshot::of(resources).unwrap();
    ActiveConfig::next(before, Arc::new(snapshot), OWN)
}

#[test]
fn what_did_not_change_is_kept_and_counts_survive() {
    let all = |weight| {
        vec![
            cluster(None).into(),
            cluster(Some("v1")).into(),
            endpoints(&[("127.0.0.1:1", "v1", 1), ("127.0.0.1:2", "v2", weight)]),
            host(80, &["a.test"]),
        ]
    };
    let first = next(None, all(1));
    let same = next(Some(&first), all(1));
    let changed = next(Some(&same), all(2));
    assert_eq!((first.sequence(), changed.sequence()), (1, 3));
    let of = |config: &ActiveConfig, subset| Arc::clone(config.cluster(&name(subset)).unwrap());
    assert!(Arc::ptr_eq(&of(&first, None), &of(&same, None)));
    // Only the cluster that has the changed endpoint is built again.
    assert!(!Arc::ptr_eq(&of(&same, None), &of(&changed, None)));
    assert!(Arc::ptr_eq(
        &of(&same, Some("v1")),
        &of(&changed, Some("v1"))
    ));
    let (before, after) = (of(&same, None), of(&changed, None));
    assert!(Arc::ptr_eq(before.shared(), after.shared()));
    assert_eq!(before.id(), after.id());
    for (before, after) in before.endpoints().iter().zip(after.endpoints()) {
        assert!(Arc::ptr_eq(before.shared(), after.shared()));
    }
    let routes = |config: &ActiveConfig| {
        let selection = RouteSelection::ByAuthorityPort;
        Arc::clone(config.virtual_host(&selection, "a.test", None).unwrap())
    };
    assert!(Arc::ptr_eq(&routes(&first), &routes(&changed)));
}

#[test]
fn numbers_of_clusters_are_stable_and_used_again_only_later() {
    let first = next(None, vec![cluster(None).into(), endpoints(&[])]);
    let id = first.cluster(&name(None)).unwrap().id();
    let with_subset = next(
        Some(&first),
        vec![
            cluster(Some("a")).into(),
            cluster(None).into(),
            endpoints(&[]),
        ],
    );
    assert_eq!(with_subset.cluster(&name(None)).unwrap().id(), id);
    let without = next(
        Some(&with_subset),
        vec![cluster(Some("a")).into(), endpoints(&[])],
    );
    assert!(without.cluster(&name(None)).is_none());
    assert!(without.cluster_by_id(id).is_none());
    let other = next(
        Some(&without),
        vec![
            cluster(Some("a")).into(),
            cluster(Some("b")).into(),
            endpoints(&[]),
        ],
    );
    assert_eq!(other.cluster(&name(Some("b"))).unwrap().id(), id);
}

#[test]
fn hosts_are_found_exactly_then_by_the_longest_wildcard() {
    let config = next(
        None,
        vec![
            cluster(None).into(),
            endpoints(&[]),
            host(80, &["a.test", "a"]),
            host(80, &["*.a.test"]),
            host(80, &["*.test"]),
            host(81, &["*"]),
            host(81, &["b.test"]),
            host(82, &["c.test"]),
            host(83, &["c.test"]),
        ],
    );
    let by_port = RouteSelection::ByAuthorityPort;
    let found = |host: &str, port: Option<u16>| {
        let routes = config.virtual_host(&by_port, host, port)?;
        Some(routes.host().name.to_string())
    };
    for (host, port, expected) in [
        ("a", None, Some("80/a.test")),
        ("a.test", Some(80), Some("80/a.test")),
        ("x.a.test", None, Some("80/*.a.test")),
        ("x.y.a.test", None, Some("80/*.a.test")),
        ("xa.test", None, Some("80/*.test")),
        ("a.test", Some(81), Some("81/*")),
        // Without a port, a host that stands in one table only is found there.
        ("b.test", None, Some("80/*.test")),
        ("c.test", None, Some("80/*.test")),
        ("other", Some(82), None),
        ("other", Some(0), None),
    ] {
        assert_eq!(found(host, port).as_deref(), expected, "{host} {port:?}");
    }
    let scope = RouteSelection::Scope(RouteScope::port(port(82)));
    assert!(config.virtual_host(&scope, "c.test", Some(9)).is_some());
    assert!(config.virtual_host(&scope, "a.test", None).is_none());
}

#[test]
fn an_authority_without_a_port_finds_its_only_table() {
    let config = next(
        None,
        vec![
            cluster(None).into(),
            endpoints(&[]),
            host(8080, &["one.test"]),
            host(8080, &["two.test"]),
            host(9090, &["two.test"]),
        ],
    );
    let by_port = RouteSelection::ByAuthorityPort;
    assert!(config.virtual_host(&by_port, "one.test", None).is_some());
    assert!(config.virtual_host(&by_port, "two.test", None).is_none());
    assert!(
        config
            .virtual_host(&by_port, "one.test", Some(80))
            .is_none()
    );
}

#[test]
fn draining_endpoints_are_used_only_when_nobody_else_is_there() {
    let with = |healths: &[Health]| {
        let states: Vec<Arc<crate::upstream::EndpointState>> = (1_u16..)
            .zip(healths)
            .map(|(port, health)| {
                let endpoint = Endpoint {
                    address: EndpointAddress::Socket(SocketAddr::new(OWN, port)),
                    labels: Labels::default(),
                    weight: u32::from(port),
                    health: *health,
                    locality: Locality::default(),
                    network: "".into(),
                    mesh_tls: false,
                    peer: Peer::default(),
                };
                Arc::new(crate::upstream::EndpointState::new(Arc::new(endpoint)))
            })
            .collect();
        let state = ClusterState::new(ClusterId::new(0), Arc::new(cluster(None)), states);
        (0..600)
            .filter_map(|draw| state.candidates().at(draw))
            .fold([0_u32; 3], |mut counts, place| {
                counts[place] += 1;
                counts
            })
    };
    let (healthy, draining) = (Health::Healthy, Health::Draining);
    // Shares follow the weights 1, 2, 3.
    assert_eq!(with(&[healthy, healthy, healthy]), [100, 200, 300]);
    assert_eq!(with(&[healthy, draining, healthy]), [150, 0, 450]);
    assert_eq!(with(&[draining, draining]), [200, 400, 0]);
    assert_eq!(with(&[]), [0, 0, 0]);
}
