//! Whose objects act: on hosts, names, addresses and gateways.

use super::*;

use mesh_api::endpoint::{Endpoint, EndpointAddress};

use crate::analyze::analyze;
use crate::model::World;

/// Clients in three more namespaces.
const TENANTS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: other}
status: {podIP: 10.0.3.1}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: evil}
status: {podIP: 10.0.4.1}
---
";

fn tenants(yaml: &str) -> World {
    world(&shop(&format!("{TENANTS}{yaml}")))
}

/// An object of a namespace, as old as its year says.
fn object(kind: &str, namespace: &str, name: &str, year: u32, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: \
         {namespace}, creationTimestamp: '{year}-01-01T00:00:00Z'}}\nspec: {spec}\n---\n"
    )
}

/// A route for `host`, named like its object.
fn route(namespace: &str, name: &str, year: u32, host: &str, more: &str) -> String {
    let spec = format!(
        "{{hosts: ['{host}'], {more} http: [{{name: {name}, match: [{{uri: {{regex: '/.*'}}}}], \
         route: [{{destination: {{host: backend.shop.svc.cluster.local}}}}]}}]}}"
    );
    object("VirtualService", namespace, name, year, &spec)
}

fn entry(namespace: &str, name: &str, year: u32, host: &str, more: &str) -> String {
    let spec = format!(
        "{{hosts: ['{host}'], resolution: STATIC, endpoints: [{{address: 10.9.{year}.1}}], {more}}}",
        year = year % 100,
    );
    object("ServiceEntry", namespace, name, year, &spec)
}

fn port(number: u16, protocol: &str) -> String {
    format!("{{number: {number}, name: p{number}, protocol: {protocol}}}")
}

fn seen_by(world: &World, namespace: &str) -> Snapshot {
    let workload = format!("{namespace}/client");
    let capture = CaptureMode::OriginalDestination;
    snapshot(&compiled(world, &workload, ProxyRole::Sidecar, capture))
}

/// The names of the rules that clients of a namespace have for the backend.
fn rules(world: &World, namespace: &str) -> Vec<String> {
    let snapshot = seen_by(world, namespace);
    let rules = backend(&snapshot);
    names(&rules).into_iter().map(str::to_owned).collect()
}

fn address_of(endpoint: &Endpoint) -> String {
    match &endpoint.address {
        EndpointAddress::Socket(socket) => socket.to_string(),
        EndpointAddress::Name { host, port } => format!("{host}:{port}"),
    }
}

fn found(world: &World) -> Vec<String> {
    analyze(world).iter().map(ToString::to_string).collect()
}

const BACKEND: &str = "backend.shop.svc.cluster.local";

#[test]
fn strangers_do_not_come_before_the_owner() {
    for export in ["", "exportTo: [shop],", "exportTo: ['*'],"] {
        let world = tenants(&format!(
            "{}{}",
            route("evil", "aaa", 2020, BACKEND, export),
            route("shop", "mine", 2024, BACKEND, ""),
        ));
        assert_eq!(rules(&world, "shop"), ["mine"], "{export}");
        assert_eq!(rules(&world, "other"), ["mine"], "{export}");
        let found = found(&world);
        assert!(
            has(
                &found,
                &["MESH0106", "evil/aaa", "shop/mine", "namespace shop"]
            ),
            "{found:?}"
        );
    }
}

#[test]
fn a_wildcard_of_the_owner_outdoes_a_strangers_exact_host() {
    let world = tenants(&format!(
        "{}{}",
        route("evil", "aaa", 2020, BACKEND, ""),
        route("shop", "mine", 2024, "*.shop.svc.cluster.local", ""),
    ));
    assert_eq!(rules(&world, "other"), ["mine"]);
}

#[test]
fn a_stranger_acts_where_nobody_nearer_has_said_anything() {
    let world = tenants(&format!(
        "{}{}",
        route("other", "younger", 2022, BACKEND, ""),
        route("evil", "older", 2021, BACKEND, ""),
    ));
    // The strangers are not joined: the oldest one's namespace is heard.
    assert_eq!(rules(&world, "shop"), ["older"]);
    // A client's own objects come before those of strangers.
    assert_eq!(rules(&world, "other"), ["younger"]);
    let found = found(&world);
    assert!(has(&found, &["MESH0113", "evil/older", "namespace shop"]));
    assert!(has(&found, &["MESH0106", "other/younger", "evil/older"]));
    assert!(has(
        &found,
        &[
            "MESH0106",
            "evil/older",
            "other/younger",
            "for clients in namespace other"
        ]
    ));
}

#[test]
fn the_clients_the_owners_and_the_root_namespaces_routes_are_joined() {
    let world = tenants(&format!(
        "{}{}{}{}",
        route("istio-system", "root", 2019, BACKEND, ""),
        route("shop", "owner", 2020, BACKEND, ""),
        route("other", "own", 2024, BACKEND, ""),
        route("evil", "stranger", 2018, BACKEND, ""),
    ));
    assert_eq!(rules(&world, "other"), ["own", "owner", "root"]);
    assert_eq!(rules(&world, "shop"), ["owner", "root"]);
}

#[test]
fn a_route_for_a_gateway_does_not_count_at_sidecars() {
    let world = tenants(&format!(
        "{}{}",
        route("shop", "edge", 2020, BACKEND, "gateways: [edge],"),
        route("evil", "stranger", 2021, BACKEND, ""),
    ));
    assert_eq!(rules(&world, "other"), ["stranger"]);
}

#[test]
fn connections_follow_the_same_owner() {
    let tcp = |namespace: &str, name: &str, year: u32, to: &str| {
        let spec = format!(
            "{{hosts: [store.shop.svc.cluster.local], tcp: [{{match: [{{port: 9000}}], route: \
             [{{destination: {{host: {to}.shop.svc.cluster.local}}}}]}}]}}"
        );
        object("VirtualService", namespace, name, year, &spec)
    };
    let stranger = tcp("evil", "aaa", 2019, "backend");
    let world = tenants(&format!("{stranger}{}", tcp("shop", "mine", 2024, "store")));
    let snapshot = seen_by(&world, "other");
    let listeners = snapshot
        .listeners()
        .filter(|one| one.name.0.contains("9000"));
    let text = serde_json::to_string(&listeners.collect::<Vec<_>>()).unwrap();
    assert!(text.contains("outbound|9000||store.shop"), "{text}");
    assert!(!text.contains("backend.shop"), "{text}");
}

#[test]
fn what_a_client_does_not_see_does_not_hide_what_it_sees() {
    let ports = format!("ports: [{}]", port(80, "HTTP"));
    let private = format!("exportTo: ['.'], {ports}");
    let world = tenants(&format!(
        "{}{}",
        entry("aaa", "hidden", 2019, "api.example.com", &private),
        entry("shop", "api", 2024, "api.example.com", &ports),
    ));
    let snapshot = seen_by(&world, "shop");
    virtual_host(&snapshot, "80/api.example.com");
    // It is the second that claims the host, and the first is not affected by it.
    let set = "endpoints/api.example.com:80/shop/api".parse().unwrap();
    let text = serde_json::to_string(&snapshot.get(&set).unwrap().resource).unwrap();
    assert!(text.contains("10.9.24.1"), "{text}");
    assert!(!has(&found(&world), &["MESH0301"]));
}

#[test]
fn what_others_keep_to_themselves_hides_no_route() {
    let ports = format!("exportTo: ['.'], ports: [{}]", port(80, "HTTP"));
    let world = tenants(&format!(
        "{}{}",
        entry("evil", "hidden", 2019, "api.example.com", &ports),
        route("shop", "mine", 2024, "api.example.com", ""),
    ));
    let host = virtual_host(&seen_by(&world, "shop"), "80/api.example.com");
    assert_eq!(names(&host.rules), ["mine"]);
}

#[test]
fn two_clients_have_two_services_of_one_host() {
    let ports = format!("ports: [{}]", port(80, "HTTP"));
    let world = tenants(&format!(
        "{}{}",
        entry("evil", "old", 2019, "api.example.com", &ports),
        entry("shop", "own", 2024, "api.example.com", &ports),
    ));
    let address = |namespace: &str| {
        let snapshot = seen_by(&world, namespace);
        let sets = snapshot.endpoint_sets();
        let mut of_host = sets.filter(|set| &*set.name.host == "api.example.com");
        let set = of_host.next().unwrap();
        assert!(of_host.next().is_none());
        (set.name.to_string(), address_of(&set.endpoints[0]))
    };
    let old = ("api.example.com:80".to_owned(), "10.9.19.1:80".to_owned());
    assert_eq!(address("other"), old);
    assert_eq!(
        address("shop"),
        (
            "api.example.com:80/shop/own".to_owned(),
            "10.9.24.1:80".to_owned()
        )
    );
    assert!(has(
        &found(&world),
        &[
            "MESH0301",
            "shop/own",
            "evil/old",
            "except in namespace shop"
        ]
    ));
}

#[test]
fn an_import_decides_between_two_of_one_host() {
    let ports = format!("ports: [{}]", port(80, "HTTP"));
    let world = tenants(&format!(
        "{}{}{}",
        entry("evil", "old", 2019, "api.example.com", &ports),
        entry("shop", "young", 2024, "api.example.com", &ports),
        object(
            "Sidecar",
            "other",
            "default",
            2024,
            "{egress: [{hosts: ['shop/*']}]}"
        ),
    ));
    let text = serde_json::to_string(&seen_by(&world, "other").endpoint_sets().collect::<Vec<_>>());
    let text = text.unwrap();
    assert!(
        text.contains("10.9.24.1") && !text.contains("10.9.19.1"),
        "{text}"
    );
}

#[test]
fn entries_that_agree_are_one_service() {
    let of = |ports: &str| format!("ports: [{ports}]");
    let world = tenants(&format!(
        "{}{}{}",
        entry(
            "shop",
            "plain",
            2020,
            "api.example.com",
            &of(&port(80, "HTTP"))
        ),
        entry(
            "shop",
            "secure",
            2021,
            "api.example.com",
            &of(&format!("{}, {}", port(443, "TLS"), port(80, "HTTP")))
        ),
        entry(
            "shop",
            "wrong",
            2022,
            "api.example.com",
            &of(&port(80, "TCP"))
        ),
    ));
    let snapshot = seen_by(&world, "other");
    let endpoints = |port: u16| {
        let name = format!("endpoints/api.example.com:{port}").parse().unwrap();
        let entry = snapshot.get(&name).unwrap();
        let Resource::Endpoints(set) = &entry.resource else {
            panic!("{entry:?}");
        };
        let addresses = set.endpoints.iter().map(|one| address_of(one));
        addresses.collect::<Vec<_>>()
    };
    assert_eq!(endpoints(80), ["10.9.20.1:80", "10.9.21.1:80"]);
    assert_eq!(endpoints(443), ["10.9.21.1:443"]);
    let found = found(&world);
    assert!(has(
        &found,
        &[
            "MESH0301",
            "shop/wrong",
            "spec.ports",
            "port 80",
            "shop/plain"
        ]
    ));
    assert!(!has(&found, &["MESH0301", "shop/secure"]));
}

#[test]
fn names_of_services_are_not_to_be_had() {
    let ports = format!("ports: [{}]", port(8080, "HTTP"));
    for host in [
        BACKEND,
        "backend.shop",
        "backend.shop.svc",
        "pod-0.backend.shop.svc.cluster.local",
        "*.shop.svc.cluster.local",
        "later.shop.svc.cluster.local",
        "*.svc.cluster.local",
        "*.local",
    ] {
        let world = tenants(&entry("evil", "squat", 2019, host, &ports));
        let snapshot = seen_by(&world, "other");
        let text = serde_json::to_string(&snapshot.endpoint_sets().collect::<Vec<_>>()).unwrap();
        assert!(!text.contains("10.9.19.1"), "{host}: {text}");
        let backend = virtual_host(&snapshot, &format!("8080/{BACKEND}"));
        let short: Vec<String> = backend.domains.iter().map(ToString::to_string).collect();
        assert!(short.contains(&"backend.shop".to_owned()), "{host}");
        let home = if host.contains("shop") {
            "shop"
        } else {
            "istio-system"
        };
        let in_home = format!("namespace {home}");
        let found = found(&world);
        assert!(
            has(&found, &["MESH0306", "evil/squat", &in_home]),
            "{host}: {found:?}"
        );
        // Its own namespace may say more about it, and so may the root namespace.
        for namespace in [home, "istio-system"] {
            let world = tenants(&entry(namespace, "more", 2019, host, &ports));
            let found = self::found(&world);
            assert!(!has(&found, &["MESH0306"]), "{host} {namespace}");
        }
    }
}

#[test]
fn a_service_keeps_its_address() {
    let ports = format!(
        "addresses: [10.96.0.11], ports: [{}, {}]",
        port(9000, "TCP"),
        port(80, "HTTP")
    );
    let world = tenants(&entry("evil", "thief", 2001, "thief.example.com", &ports));
    let snapshot = seen_by(&world, "other");
    let name = "listener/10.96.0.11_9000".parse().unwrap();
    let text = serde_json::to_string(&snapshot.get(&name).unwrap().resource).unwrap();
    assert!(
        text.contains("store.shop") && !text.contains("thief"),
        "{text}"
    );
    let store = virtual_host(&snapshot, "80/store.shop.svc.cluster.local");
    assert!(
        store
            .domains
            .iter()
            .any(|one| one.to_string() == "10.96.0.11")
    );
    assert!(has(
        &found(&world),
        &["MESH0307", "evil/thief", "10.96.0.11", "Service shop/store"]
    ));
}

#[test]
fn egress_decides_whose_routes_apply() {
    let sidecar = |hosts: &str| {
        let spec = format!("{{egress: [{{hosts: [{hosts}]}}]}}");
        object("Sidecar", "shop", "default", 2024, &spec)
    };
    let routes = format!(
        "{}{}",
        route("istio-system", "root", 2019, BACKEND, ""),
        route("shop", "own", 2024, BACKEND, ""),
    );
    let seen = |hosts: &str, routes: &str| {
        let world = tenants(&format!("{}{routes}", sidecar(hosts)));
        rules(&world, "shop")
    };
    assert_eq!(seen("'./*'", &routes), ["own"]);
    assert_eq!(seen("'./*', 'istio-system/*'", &routes), ["own", "root"]);
    assert_eq!(
        seen(
            "'./*', 'istio-system/store.shop.svc.cluster.local'",
            &routes
        ),
        ["own"]
    );
    let stranger = route("evil", "stranger", 2019, BACKEND, "");
    assert_eq!(seen("'./*'", &stranger), ["default"]);
    assert_eq!(seen("'*/*'", &stranger), ["stranger"]);
    assert_eq!(seen("'*/*', '~evil/*'", &stranger), ["default"]);
}

#[test]
fn routes_for_hosts_nobody_declares_are_named() {
    let spec = "{hosts: [nowhere.example.com], tcp: [{route: [{destination: {host: backend}}]}]}";
    let world = tenants(&object("VirtualService", "shop", "lost", 2024, spec));
    assert!(has(
        &found(&world),
        &[
            "MESH0107",
            "shop/lost",
            "nowhere.example.com",
            "tcp and tls routes have no effect"
        ]
    ));
}

#[test]
fn rules_for_others_services_hold_at_home_only() {
    for host in [BACKEND, "'*.shop.svc.cluster.local'"] {
        let spec = format!("{{host: {host}, trafficPolicy: {{loadBalancer: {{simple: RANDOM}}}}}}");
        let world = tenants(&object("DestinationRule", "evil", "rule", 2019, &spec));
        let balancer = |namespace: &str| {
            let name = format!("cluster/outbound|8080||{BACKEND}").parse().unwrap();
            let snapshot = seen_by(&world, namespace);
            serde_json::to_string(&snapshot.get(&name).unwrap().resource).unwrap()
        };
        assert_ne!(balancer("evil"), balancer("other"));
        assert_eq!(balancer("shop"), balancer("other"));
        let found = found(&world);
        assert!(
            has(
                &found,
                &[
                    "MESH0205",
                    "evil/rule",
                    "own namespace only",
                    "namespace shop"
                ]
            ),
            "{found:?}"
        );
    }
}

/// What the root namespace declares under a name of another namespace stays that namespace's.
#[test]
fn rules_of_the_owner_hold_whoever_declares_its_host() {
    let spec =
        |policy| format!("{{host: x, trafficPolicy: {{loadBalancer: {{simple: {policy}}}}}}}");
    let declared = entry(
        "istio-system",
        "x",
        2019,
        "x.shop.svc.cluster.local",
        &format!("ports: [{}]", port(80, "HTTP")),
    );
    let balancer = |rule: &str| {
        let world = tenants(&format!("{declared}{rule}"));
        let name = "cluster/outbound|80||x.shop.svc.cluster.local"
            .parse()
            .unwrap();
        let snapshot = seen_by(&world, "other");
        let text = serde_json::to_string(&snapshot.get(&name).unwrap().resource).unwrap();
        (text, found(&world))
    };
    let (without, _) = balancer("");
    let (with, found) = balancer(&object(
        "DestinationRule",
        "shop",
        "x",
        2020,
        &spec("RANDOM"),
    ));
    assert_ne!(with, without);
    assert!(!has(&found, &["shop/x"]), "{found:?}");
}

#[test]
fn what_stands_at_an_address_is_the_affair_of_its_namespace() {
    let world = tenants(&format!(
        "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: backend-x, namespace: shop, labels: {{kubernetes.io/service-name: backend}}}}
addressType: IPv4
endpoints: [{{addresses: [10.7.0.1]}}]
ports: [{{name: http, port: 8080}}]
---
{}",
        object(
            "WorkloadEntry",
            "aaa",
            "fake",
            2001,
            "{address: 10.7.0.1, labels: {version: canary}, serviceAccount: fake}"
        )
    ));
    let snapshot = seen_by(&world, "shop");
    let name = format!("endpoints/{BACKEND}:8080").parse().unwrap();
    let text = serde_json::to_string(&snapshot.get(&name).unwrap().resource).unwrap();
    assert!(text.contains("10.7.0.1") && !text.contains("canary") && !text.contains("fake"));
}
