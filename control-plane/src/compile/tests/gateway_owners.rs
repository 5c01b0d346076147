//! Who may do what at a gateway that several tenants share.

use super::*;

use mesh_api::listener::{GatewayProtocol, ListenerKind};

use crate::analyze::analyze;
use crate::model::World;

const EDGE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: edge, namespace: istio-system, labels: {istio: ingressgateway}}
status: {podIP: 10.0.0.9}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  ports: [{name: http2, port: 80, targetPort: 8080}, {name: tls, port: 443, targetPort: 8443}]
---
";

fn edge(yaml: &str) -> World {
    world(&shop(&format!("{EDGE}{yaml}")))
}

fn object(kind: &str, namespace: &str, name: &str, year: u32, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: \
         {namespace}, creationTimestamp: '{year}-01-01T00:00:00Z'}}\nspec: {spec}\n---\n"
    )
}

fn gateway(namespace: &str, year: u32, protocol: &str, hosts: &str, more: &str) -> String {
    let (number, name) = match protocol {
        "TLS" => (443, "tls"),
        _ => (80, "http"),
    };
    let spec = format!(
        "{{selector: {{istio: ingressgateway}}, servers: [{{port: {{number: {number}, name: \
         {name}, protocol: {protocol}}}, hosts: [{hosts}] {more}}}]}}"
    );
    object("Gateway", namespace, "gw", year, &spec)
}

fn route(namespace: &str, name: &str, year: u32, gateway: &str, hosts: &str) -> String {
    let spec = format!(
        "{{hosts: [{hosts}], gateways: [{gateway}], http: [{{name: {name}, match: [{{uri: \
         {{regex: '/.*'}}}}], route: [{{destination: {{host: \
         backend.shop.svc.cluster.local}}}}]}}]}}"
    );
    object("VirtualService", namespace, name, year, &spec)
}

fn seen(world: &World) -> Snapshot {
    let capture = CaptureMode::OriginalDestination;
    snapshot(&compiled(
        world,
        "istio-system/edge",
        ProxyRole::Gateway,
        capture,
    ))
}

/// The names of the rules of a host on the HTTP port.
fn rules(world: &World, host: &str) -> Vec<String> {
    let snapshot = seen(world);
    let host = virtual_host(&snapshot, &format!("8080/{host}"));
    names(&host.rules).into_iter().map(str::to_owned).collect()
}

fn protocol(world: &World, port: u16) -> GatewayProtocol {
    let name = format!("listener/gateway/{port}").parse().unwrap();
    let snapshot = seen(world);
    let Resource::Listener(listener) = &snapshot.get(&name).unwrap().resource else {
        panic!("{name}");
    };
    let ListenerKind::Gateway(protocol) = &listener.kind else {
        panic!("{listener:?}");
    };
    protocol.protocol.clone()
}

fn found(world: &World) -> Vec<String> {
    analyze(world).iter().map(ToString::to_string).collect()
}

const SHARED: &str = "istio-system/gw";

#[test]
fn a_host_is_the_oldest_routes() {
    let world = edge(&format!(
        "{}{}{}",
        gateway("istio-system", 2019, "HTTP", "'*'", ""),
        route("shop", "mine", 2020, SHARED, "shop.example.com"),
        route(
            "evil",
            "aaa",
            2021,
            SHARED,
            "shop.example.com, evil.example.com"
        ),
    ));
    assert_eq!(rules(&world, "shop.example.com"), ["mine"]);
    assert_eq!(rules(&world, "evil.example.com"), ["aaa"]);
    assert!(has(
        &found(&world),
        &["MESH0106", "evil/aaa", "shop.example.com", "shop/mine"]
    ));
}

#[test]
fn an_older_wildcard_does_not_keep_names_from_others() {
    let world = edge(&format!(
        "{}{}{}",
        gateway(
            "istio-system",
            2019,
            "HTTP",
            "shop.example.com, '*.example.com'",
            ""
        ),
        route("evil", "aaa", 2018, SHARED, "'*'"),
        route("shop", "mine", 2024, SHARED, "shop.example.com"),
    ));
    assert_eq!(rules(&world, "shop.example.com"), ["mine"]);
    assert_eq!(rules(&world, "*.example.com"), ["aaa"]);
}

#[test]
fn what_the_gateways_operators_keep_for_a_namespace_is_its_alone() {
    // The tenant brings a gateway of its own, for the same workload and port.
    let world = edge(&format!(
        "{}{}{}{}",
        gateway(
            "istio-system",
            2020,
            "HTTP",
            "shop/shop.example.com, '*/*'",
            ""
        ),
        gateway("evil", 2018, "HTTP", "'*'", ""),
        route(
            "evil",
            "aaa",
            2018,
            "gw",
            "shop.example.com, evil.example.com"
        ),
        route("shop", "mine", 2024, SHARED, "shop.example.com"),
    ));
    assert_eq!(rules(&world, "shop.example.com"), ["mine"]);
    assert_eq!(rules(&world, "evil.example.com"), ["aaa"]);
    assert!(has(
        &found(&world),
        &[
            "MESH0405",
            "evil/aaa",
            "istio-system/gw keeps shop.example.com for namespace shop"
        ]
    ));
}

#[test]
fn the_routes_of_who_runs_the_gateway_are_joined() {
    let world = edge(&format!(
        "{}{}{}{}",
        gateway("istio-system", 2019, "HTTP", "'*'", ""),
        route("shop", "mine", 2020, SHARED, "shop.example.com"),
        route("istio-system", "root", 2021, SHARED, "shop.example.com"),
        route("evil", "aaa", 2021, SHARED, "shop.example.com"),
    ));
    assert_eq!(rules(&world, "shop.example.com"), ["root", "mine"]);
}

#[test]
fn a_name_of_a_service_is_its_namespaces_here_too() {
    let host = "backend.shop.svc.cluster.local";
    let world = edge(&format!(
        "{}{}{}",
        gateway("istio-system", 2019, "HTTP", "'*'", ""),
        route("evil", "aaa", 2018, SHARED, host),
        route("shop", "mine", 2024, SHARED, host),
    ));
    assert_eq!(rules(&world, host), ["mine"]);
}

#[test]
fn a_tenants_older_server_does_not_take_a_port() {
    let world = edge(&format!(
        "{}{}",
        gateway("evil", 2018, "TCP", "'*'", ""),
        gateway("istio-system", 2024, "HTTP", "'*'", ""),
    ));
    assert!(matches!(
        protocol(&world, 8080),
        GatewayProtocol::Http { .. }
    ));
    assert!(has(
        &found(&world),
        &["MESH0402", "evil/gw", "istio-system/gw", "comes first"]
    ));
}

#[test]
fn a_redirect_holds_for_those_who_asked_for_it() {
    let redirect = ", tls: {httpsRedirect: true}";
    let list = |world: &World| {
        let GatewayProtocol::Http { https_redirect, .. } = protocol(world, 8080) else {
            panic!("not HTTP");
        };
        let names = https_redirect.iter().map(ToString::to_string);
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    };
    let evil = gateway("evil", 2018, "HTTP", "'*'", redirect);
    let evils = route("evil", "aaa", 2018, "gw", "evil.example.com");
    let alone = edge(&format!("{evil}{evils}"));
    assert_eq!(list(&alone), ["*"]);
    let shared = edge(&format!(
        "{evil}{evils}{}{}",
        gateway("shop", 2024, "HTTP", "shop.example.com", ""),
        route("shop", "mine", 2024, "gw", "shop.example.com"),
    ));
    assert_eq!(list(&shared), ["evil.example.com"]);
    assert!(has(
        &found(&shared),
        &["MESH0402", "evil/gw", "httpsRedirect", "shop.example.com"]
    ));
}

#[test]
fn server_names_have_owners_too() {
    let tls = |namespace: &str, name: &str, year: u32, more: &str, to: &str| {
        let spec = format!(
            "{{hosts: [a.example.com, {name}.example.com], gateways: [{SHARED}], tls: [{{match: \
             [{{sniHosts: [a.example.com] {more}}}], route: [{{destination: {{host: \
             {to}.shop.svc.cluster.local, port: {{number: 80}}}}}}]}}]}}"
        );
        object("VirtualService", namespace, name, year, &spec)
    };
    let passthrough = ", tls: {mode: PASSTHROUGH}";
    let narrow = ", destinationSubnets: ['0.0.0.0/0']";
    for (hosts, year) in [
        // By age.
        ("'*'", 2024),
        // By what the operators say; that another host of it is admitted does not help.
        ("shop/a.example.com, evil/evil.example.com", 2018),
    ] {
        let world = edge(&format!(
            "{}{}{}",
            gateway("istio-system", 2019, "TLS", hosts, passthrough),
            tls("shop", "shop", 2020, "", "store"),
            tls("evil", "evil", year, narrow, "evil"),
        ));
        let GatewayProtocol::TlsPassthrough(routes) = protocol(&world, 8443) else {
            panic!("not TLS");
        };
        let text = serde_json::to_string(&routes).unwrap();
        assert!(
            text.contains("store.shop") && !text.contains("evil"),
            "{text}"
        );
    }
}

#[test]
fn connections_without_names_are_the_oldest_routes() {
    let tcp = |namespace: &str, year: u32, to: &str| {
        let spec = format!(
            "{{hosts: ['{namespace}.example.com'], gateways: [{SHARED}], tcp: [{{match: \
             [{{destinationSubnets: [10.0.0.0/8]}}], route: [{{destination: {{host: \
             {to}.shop.svc.cluster.local, port: {{number: 80}}}}}}]}}]}}"
        );
        object("VirtualService", namespace, to, year, &spec)
    };
    let world = edge(&format!(
        "{}{}{}",
        gateway("istio-system", 2019, "TCP", "'*'", ""),
        tcp("shop", 2020, "store"),
        tcp("evil", 2021, "evil"),
    ));
    let GatewayProtocol::Tcp(routes) = protocol(&world, 8080) else {
        panic!("not TCP");
    };
    let text = serde_json::to_string(&routes).unwrap();
    assert!(
        text.contains("store.shop") && !text.contains("evil"),
        "{text}"
    );
    assert!(has(
        &found(&world),
        &["MESH0106", "evil/evil", "shop/store"]
    ));
}
