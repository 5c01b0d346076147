//! Snapshots as a whole: what is rejected, and that differences lead where they should.

use std::collections::BTreeSet;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::arbitrary;
use crate::cluster::{
    ClusterEndpoints, ConnectionLimits, LoadBalancer, LocalityPolicy, RetryBudget,
    UpstreamProtocol, UpstreamTls,
};
use crate::listener::{Bind, Listener, ListenerKind, Outbound, RouteSelection, TcpRoutes, TcpRule};
use crate::policy::PolicyRule;
use crate::route::{
    Destinations, Domain, Forward, HeaderEdits, RetryPolicy, Rewrite, RouteAction, Rule, Target,
};
use crate::units::Port;
use crate::workload::ServiceIdentity;

fn port(port: u16) -> Port {
    Port::new(port).unwrap()
}

fn endpoint_set(host: &str) -> EndpointSet {
    EndpointSet {
        name: format!("{host}:80").parse().unwrap(),
        endpoints: Vec::new(),
    }
}

fn cluster(host: &str) -> Cluster {
    Cluster {
        name: format!("outbound|80||{host}").parse().unwrap(),
        service: ServiceIdentity {
            host: host.into(),
            name: host.into(),
            namespace: "default".into(),
        },
        endpoints: ClusterEndpoints::Discovered {
            set: format!("{host}:80").parse().unwrap(),
            subset: BTreeMap::new(),
        },
        protocol: UpstreamProtocol::Http1,
        balancer: LoadBalancer::default(),
        locality: LocalityPolicy::Off,
        limits: ConnectionLimits::default(),
        outlier: None,
        tls: UpstreamTls::Plaintext,
        retry_budget: RetryBudget::default(),
        proxy_protocol: None,
        tunnel: None,
    }
}

fn virtual_host(name: &str, domains: &[&str], cluster: &str) -> VirtualHost {
    let forward = Forward {
        destinations: Destinations::one(Target::Cluster(
            format!("outbound|80||{cluster}").parse().unwrap(),
        )),
        timeout: None,
        retry: RetryPolicy::off(),
        rewrite: Rewrite::default(),
        mirrors: Vec::new(),
    };
    let rule = Rule {
        name: "default".into(),
        matches: Vec::new(),
        fault: None,
        cors: None,
        headers: HeaderEdits::default(),
        action: RouteAction::Forward(Box::new(forward)),
    };
    VirtualHost {
        name: name.parse().unwrap(),
        domains: domains
            .iter()
            .map(|domain| Domain::parse(domain).unwrap())
            .collect(),
        service: None,
        rules: vec![Arc::new(rule)],
    }
}

fn outbound(name: &str, bind: Bind) -> Listener {
    Listener {
        name: ListenerName(name.into()),
        bind,
        kind: ListenerKind::Outbound(Outbound::http(RouteSelection::ByAuthorityPort)),
    }
}

fn service(host: &str) -> [Resource; 3] {
    [
        endpoint_set(host).into(),
        cluster(host).into(),
        virtual_host(&format!("80/{host}"), &[host], host).into(),
    ]
}

fn set(resource: impl Into<Resource>) -> Delta {
    Delta {
        set: vec![Entry::new(resource.into())],
        removed: Vec::new(),
    }
}

fn remove(name: &str) -> Delta {
    Delta {
        set: Vec::new(),
        removed: vec![name.parse().unwrap()],
    }
}

/// The only rejection, as `NAME FIELD`.
fn only(result: Result<Snapshot, Vec<Rejection>>) -> String {
    let rejections = result.unwrap_err();
    assert_eq!(rejections.len(), 1, "{rejections:?}");
    format!("{} {}", rejections[0].resource, rejections[0].field)
}

#[test]
fn what_is_referred_to_must_be_there() {
    let [endpoints, cluster, routes] = service("a");
    let all = [endpoints.clone(), cluster.clone(), routes.clone()];
    let whole = Snapshot::of(all).unwrap();
    assert_eq!(whole.len(), 3);
    assert_eq!(
        only(Snapshot::of([endpoints, routes])),
        "routes/80/a rules[0].action.forward.destinations[0].target.cluster"
    );
    assert_eq!(
        only(Snapshot::of([cluster])),
        "cluster/outbound|80||a endpoints.discovered.set"
    );
    assert_eq!(
        only(whole.apply(remove("endpoints/a:80"))),
        "cluster/outbound|80||a endpoints.discovered.set"
    );
    assert_eq!(
        only(whole.apply(remove("cluster/outbound|80||a"))),
        "routes/80/a rules[0].action.forward.destinations[0].target.cluster"
    );
    let without_routes = whole.apply(remove("routes/80/a")).unwrap();
    assert_eq!(without_routes.len(), 2);
    assert_eq!(whole.len(), 3, "a snapshot never changes");
    assert!(
        whole.apply(remove("routes/80/b")).is_ok(),
        "it was not there"
    );
}

#[test]
fn references_of_listeners_must_be_there() {
    let tcp = Listener {
        name: ListenerName("tcp".into()),
        bind: Bind::Socket("127.0.0.1:9000".parse().unwrap()),
        kind: ListenerKind::Outbound(Outbound::tcp(TcpRoutes {
            rules: vec![TcpRule {
                destination_subnets: Vec::new(),
                destinations: Destinations::one(Target::Cluster(ClusterName::BlackHole)).into(),
            }],
        })),
    };
    assert_eq!(
        only(Snapshot::of([tcp.into()])),
        "listener/tcp kind.outbound.tcp[0].destinations[0].target.cluster"
    );
}

#[test]
fn a_name_may_come_once() {
    let policy = Policy::uniform(PolicyName("p".into()), PolicyRule::Allow);
    let twice = [policy.clone().into(), policy.clone().into()];
    assert_eq!(only(Snapshot::of(twice)), "policy/p ");
    let mut both = set(policy);
    both.removed.push("policy/p".parse().unwrap());
    assert_eq!(only(Snapshot::default().apply(both)), "policy/p ");
}

#[test]
fn a_domain_stands_in_one_virtual_host_of_a_table() {
    let base = [service("a"), service("b")].concat();
    let whole = Snapshot::of(base).unwrap();
    // The earlier by name changes, so it is the one at fault.
    let greedy = virtual_host("80/a", &["a", "b"], "a");
    assert_eq!(only(whole.apply(set(greedy))), "routes/80/a domains[1]");
    let repeated = virtual_host("80/a", &["a", "a"], "a");
    assert_eq!(only(whole.apply(set(repeated))), "routes/80/a domains[1]");
    let elsewhere = virtual_host("81/a", &["a", "b"], "a");
    assert!(whole.apply(set(elsewhere)).is_ok());
    // A domain may move in one step.
    let moved = Delta {
        set: vec![
            Entry::new(virtual_host("80/a", &["b"], "a").into()),
            Entry::new(virtual_host("80/b", &["a"], "a").into()),
        ],
        removed: Vec::new(),
    };
    assert!(whole.apply(moved).is_ok());
}

#[test]
fn listeners_do_not_share_connections() {
    let socket = Bind::Socket("127.0.0.1:80".parse().unwrap());
    let destination = Bind::OriginalDestination {
        address: None,
        port: port(80),
    };
    let base = [
        outbound("b", socket.clone()).into(),
        outbound("c", destination.clone()).into(),
    ];
    let whole = Snapshot::of(base).unwrap();
    assert_eq!(whole.listeners().count(), 2);
    for bind in [socket, destination.clone()] {
        assert_eq!(
            only(whole.apply(set(outbound("a", bind)))),
            "listener/a bind"
        );
    }
    let mut inbound = outbound("d", destination);
    let policy = Policy::uniform(PolicyName("p".into()), PolicyRule::Allow);
    inbound.kind = ListenerKind::InboundCapture {
        policy: policy.name.clone(),
    };
    let mut change = set(policy);
    change.set.push(Entry::new(inbound.into()));
    assert!(
        whole.apply(change).is_ok(),
        "the two directions do not meet"
    );
    let specific = Bind::OriginalDestination {
        address: Some("10.0.0.1/32".parse().unwrap()),
        port: port(80),
    };
    assert!(whole.apply(set(outbound("e", specific))).is_ok());
}

#[test]
fn typed_views_see_their_kind() {
    let resources = [service("a"), service("b"), service("c")].concat();
    let whole = Snapshot::of(resources).unwrap();
    let hosts: Vec<_> = whole.virtual_hosts().map(|host| &*host.name.host).collect();
    assert_eq!(hosts, ["a", "b", "c"]);
    assert_eq!(whole.clusters().count(), 3);
    assert_eq!(whole.endpoint_sets().count(), 3);
    assert_eq!(whole.listeners().count(), 0);
    assert_eq!(whole.policies().count(), 0);
    let name = "outbound|80||b".parse().unwrap();
    assert_eq!(whole.cluster(&name).unwrap().name, name);
    assert_eq!(whole.table(&RouteScope::port(port(80))).count(), 3);
    assert_eq!(whole.table(&RouteScope::port(port(81))).count(), 0);
}

/// Ten thousand resources and one changed endpoint set: validated and compared by what changed.
#[test]
fn a_small_change_of_a_large_snapshot_is_small_work() {
    let services = (0..3_334).flat_map(|number| service(&format!("svc-{number}")));
    let resources: Vec<Entry> = services.map(Entry::new).collect();
    let started = Instant::now();
    let all = Delta {
        set: resources,
        removed: Vec::new(),
    };
    let whole = Snapshot::default().apply(all).unwrap();
    let everything = started.elapsed();
    let changed = |weight| {
        let mut set = endpoint_set("svc-1000");
        set.endpoints.push(Arc::new(crate::endpoint::Endpoint {
            address: crate::endpoint::EndpointAddress::Socket("10.0.0.1:80".parse().unwrap()),
            labels: BTreeMap::new(),
            weight,
            health: crate::endpoint::Health::Healthy,
            locality: crate::workload::Locality::default(),
            network: "".into(),
            mesh_tls: false,
            peer: crate::workload::Peer::default(),
        }));
        set
    };
    let steps: u32 = 200;
    let before = Instant::now();
    let mut current = whole.clone();
    for weight in 1..=steps {
        let next = current.apply(set(changed(weight))).unwrap();
        assert_eq!(current.diff(&next).set.len(), 1);
        current = next;
    }
    let each = before.elapsed() / steps;
    println!("one change: {each:?}; building everything: {everything:?}");
    // Both on this machine, a moment apart: a change must not cost what a whole build costs.
    assert!(each * 50 < everything, "{each:?} against {everything:?}");
}

/// Leaves out whatever refers to nothing or conflicts.
fn consistent(resources: Vec<Resource>) -> Snapshot {
    let mut kept: BTreeMap<ResourceName, Resource> = BTreeMap::new();
    for resource in resources {
        kept.insert(resource.name(), resource);
    }
    loop {
        let Err(rejections) = Snapshot::of(kept.values().cloned()) else {
            return Snapshot::of(kept.into_values()).unwrap();
        };
        let blamed: BTreeSet<_> = rejections
            .iter()
            .filter_map(|rejection| rejection.resource.known())
            .collect();
        assert!(!blamed.is_empty(), "a rejection names a resource");
        kept.retain(|name, _| !blamed.contains(name));
    }
}

/// Resources of which many refer to each other.
fn related() -> impl Strategy<Value = Vec<Resource>> {
    let one = prop_oneof![
        arbitrary::resource().prop_map(|resource| vec![resource]),
        "[a-e]".prop_map(|host| service(&host).to_vec()),
        ("[a-e]", "[a-e]").prop_map(|(host, other)| {
            vec![virtual_host(&format!("80/{host}"), &[&other], &other).into()]
        }),
        ("[a-e]", any::<u32>()).prop_map(|(host, max)| {
            let mut cluster = cluster(&host);
            cluster.limits.max_connections = Some(max);
            vec![cluster.into()]
        }),
    ];
    prop::collection::vec(one, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn a_difference_leads_from_old_to_new(old in related(), new in related()) {
        let (old, new) = (consistent(old), consistent(new));
        let delta = old.diff(&new);
        let reached = old.apply(delta).map_err(|rejections| {
            TestCaseError::fail(format!("{rejections:?}"))
        })?;
        prop_assert_eq!(&reached, &new);
        prop_assert_eq!(reached.version(), new.version());
        prop_assert!(reached.diff(&new).is_empty());
        prop_assert_eq!(
            SnapshotVersion::of(new.versions().iter().map(|(name, version)| (name, *version))),
            new.version()
        );
    }

    /// Validating only what changed must find what validating everything finds.
    #[test]
    fn a_change_is_taken_exactly_if_the_whole_is_sound(
        old in related(),
        new in related(),
        dropped in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let old = consistent(old);
        let mut target: BTreeMap<ResourceName, Resource> =
            old.iter().map(|(name, entry)| (name.clone(), entry.resource.clone())).collect();
        let mut delta = Delta::default();
        for resource in new {
            if target.insert(resource.name(), resource.clone()) != Some(resource.clone()) {
                delta.set.retain(|entry| entry.resource.name() != resource.name());
                delta.set.push(Entry::new(resource));
            }
        }
        for index in dropped {
            let names: Vec<_> = target.keys().cloned().collect();
            if names.is_empty() {
                continue;
            }
            let name = index.get(&names);
            target.remove(name);
            delta.set.retain(|entry| entry.resource.name() != *name);
            delta.removed.push(name.clone());
        }
        let by_parts = old.apply(delta);
        let whole = Snapshot::of(target.into_values());
        prop_assert_eq!(by_parts.is_ok(), whole.is_ok(), "{:?} {:?}", by_parts, whole);
        if let (Ok(by_parts), Ok(whole)) = (by_parts, whole) {
            prop_assert_eq!(by_parts, whole);
        }
    }
}
