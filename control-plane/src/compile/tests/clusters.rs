//! DestinationRules: joined, overlaid, selected, and what becomes of their settings.

use super::*;

use std::time::Duration;

use mesh_api::cluster::{Affinity, Cluster, ClusterEndpoints, LoadBalancer, UpstreamProtocol};
use mesh_api::name::ClusterName;

fn rule(name: &str, spec: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: shop}}
spec:
  host: backend
{spec}
---
"
    )
}

fn route_to(subset: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: to-{subset}, namespace: shop}}
spec:
  hosts: [backend]
  http: [{{match: [{{uri: {{prefix: /{subset}}}}}], route: [{{destination: {{host: backend, subset: {subset}}}}}]}}]
---
"
    )
}

fn cluster(snapshot: &Snapshot, name: &str) -> Arc<Cluster> {
    let name: ClusterName = name.parse().unwrap();
    Arc::clone(
        snapshot
            .cluster(&name)
            .unwrap_or_else(|| panic!("no {name}")),
    )
}

#[test]
fn rules_of_one_namespace_are_joined() {
    let yaml = format!(
        "{}{}{}{}",
        rule(
            "a",
            "  trafficPolicy: {loadBalancer: {simple: RANDOM}}
  subsets: [{name: v1, labels: {version: v1}}]"
        ),
        rule(
            "b",
            "  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}, outlierDetection: {consecutive5xxErrors: 3}}
  subsets: [{name: v1, labels: {version: other}}, {name: v2, labels: {version: v2}}]"
        ),
        route_to("v1"),
        route_to("v2"),
    );
    let (snapshot, diagnostics) = explicit(&yaml);
    for subset in ["v1", "v2"] {
        let cluster = cluster(
            &snapshot,
            &format!("outbound|8080|{subset}|backend.shop.svc.cluster.local"),
        );
        assert_eq!(cluster.balancer, LoadBalancer::Random);
        assert_eq!(cluster.outlier.as_ref().unwrap().consecutive_5xx, 3);
        let ClusterEndpoints::Discovered { subset: labels, .. } = &cluster.endpoints else {
            panic!("{cluster:?}");
        };
        assert_eq!(&*labels["version"], subset);
    }
    assert!(has(
        &diagnostics,
        &["MESH0201", "shop/b", "subset v1", "shop/a"]
    ));
    assert!(has(
        &diagnostics,
        &[
            "MESH0202",
            "shop/b",
            "spec.trafficPolicy.loadBalancer",
            "shop/a"
        ]
    ));
    assert!(has(
        &diagnostics,
        &["MESH0901", "outlierDetection", "not acted on yet"]
    ));
}

/// What the client gets where there is a Service named `c` with these settings.
fn with_service(settings: &str) -> (Snapshot, Vec<String>) {
    explicit(&format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: c, namespace: shop}}\nspec: {{selector: \
         {{app: c}}, ports: [{{name: http, port: 80}}], {settings}}}\n---\n"
    ))
}

#[test]
fn a_service_keeps_clients_at_one_endpoint_by_their_address() {
    let balancer = |settings: &str| {
        let (snapshot, said) = with_service(settings);
        assert!(!has(&said, &["MESH0901"]), "{said:?}");
        let cluster = cluster(&snapshot, "outbound|80||c.shop.svc.cluster.local");
        cluster.balancer.clone()
    };
    let sticky = balancer("sessionAffinity: ClientIP");
    let LoadBalancer::ConsistentHash(hash) = &sticky else {
        panic!("{sticky:?}");
    };
    assert_eq!(hash.affinity, Affinity::SourceIp);
    assert_eq!(balancer("sessionAffinity: None"), LoadBalancer::default());
}

#[test]
fn a_service_for_its_own_node_is_named() {
    let (_, said) = with_service("internalTrafficPolicy: Local");
    let named = [
        "MESH0901",
        "shop/c",
        "spec.internalTrafficPolicy",
        "endpoints of every node are used",
    ];
    assert!(has(&said, &named), "{said:?}");
    let (_, said) = with_service("internalTrafficPolicy: Cluster");
    assert!(!has(&said, &["MESH0901"]), "{said:?}");
}

#[test]
fn port_entries_replace_and_subsets_overlay() {
    let yaml = format!(
        "{}{}",
        rule(
            "a",
            "  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    connectionPool: {tcp: {maxConnections: 7}}
    portLevelSettings: [{port: {number: 8080}, connectionPool: {tcp: {connectTimeout: 3s}}}]
  subsets: [{name: v1, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]"
        ),
        route_to("v1"),
    );
    let (snapshot, _) = explicit(&yaml);
    let one = cluster(&snapshot, "outbound|8080|v1|backend.shop.svc.cluster.local");
    assert_eq!(one.limits.max_connections, None);
    assert_eq!(one.limits.connect_timeout, Duration::from_secs(3));
    assert_eq!(one.balancer, LoadBalancer::RoundRobin { warmup: None });
}

#[test]
fn encryption_that_cannot_be_done_is_refused_not_dropped() {
    for (mode, refused) in [("DISABLE", false), ("SIMPLE", true), ("ISTIO_MUTUAL", true)] {
        let yaml = rule("a", &format!("  trafficPolicy: {{tls: {{mode: {mode}}}}}"));
        let (snapshot, diagnostics) = explicit(&yaml);
        let one = cluster(&snapshot, "outbound|8080||backend.shop.svc.cluster.local");
        assert_eq!(
            matches!(one.endpoints, ClusterEndpoints::Refused(_)),
            refused,
            "{mode}"
        );
        assert_eq!(has(&diagnostics, &["MESH0602", mode]), refused, "{mode}");
    }
}

#[test]
fn the_clients_namespace_is_asked_first_for_rules() {
    let elsewhere = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: root, namespace: istio-system}
spec: {host: '*.shop.svc.cluster.local', trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}
---
";
    let name = "outbound|8080||backend.shop.svc.cluster.local";
    let (snapshot, _) = explicit(elsewhere);
    assert_eq!(
        cluster(&snapshot, name).balancer,
        LoadBalancer::RoundRobin { warmup: None }
    );
    let near = rule("near", "  trafficPolicy: {loadBalancer: {simple: RANDOM}}");
    let (snapshot, _) = explicit(&format!("{elsewhere}{near}"));
    assert_eq!(cluster(&snapshot, name).balancer, LoadBalancer::Random);
}

#[test]
fn headless_services_go_where_the_connection_was_going() {
    let yaml = "
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: http, port: 5000}]}
---
apiVersion: v1
kind: Service
metadata: {name: grpc, namespace: shop}
spec: {clusterIP: 10.96.0.20, selector: {app: db}, ports: [{name: grpc, port: 7000}]}
";
    let name = "outbound|5000||db.shop.svc.cluster.local";
    let (snapshot, _) = captured(yaml);
    assert_eq!(
        cluster(&snapshot, name).endpoints,
        ClusterEndpoints::OriginalDestination
    );
    let host = virtual_host(&snapshot, "5000/db.shop.svc.cluster.local");
    assert!(
        host.domains
            .iter()
            .any(|one| one.to_string() == "*.db.shop.svc.cluster.local")
    );
    let grpc = cluster(&snapshot, "outbound|7000||grpc.shop.svc.cluster.local");
    assert_eq!(grpc.protocol, UpstreamProtocol::Http2);
    let (snapshot, _) = explicit(yaml);
    assert!(matches!(
        cluster(&snapshot, name).endpoints,
        ClusterEndpoints::Discovered { .. }
    ));
}
