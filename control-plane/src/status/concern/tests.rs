//! Who is concerned by which object.

use super::*;
use crate::compile::CaptureMode;
use crate::testing::{objects, world};

const PROXIES: &str = "
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: a, version: v1}}
spec: {serviceAccountName: a}
status: {podIP: 10.0.0.1, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: other, labels: {app: b}}
spec: {serviceAccountName: b}
status: {podIP: 10.0.0.2, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: edge, namespace: istio-system, labels: {istio: ingressgateway}}
spec: {serviceAccountName: edge}
status: {podIP: 10.0.0.3, phase: Running}
---
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: shop}
spec: {clusterIP: 10.1.0.1, selector: {app: entry}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: shop}
spec: {hosts: [backend], gateways: [edge], http: [{delegate: {name: part}}]}
";

/// Which of the sidecars `a` (shop) and `b` (other) and the gateway `edge` an object concerns.
fn concerned(kind: &str, namespace: &str, spec: &str) -> String {
    let group = if kind.ends_with("Authentication") || kind.ends_with("Policy") {
        "security.istio.io/v1"
    } else if kind == "Telemetry" {
        "telemetry.istio.io/v1"
    } else {
        "networking.istio.io/v1"
    };
    let yaml = format!(
        "apiVersion: {group}\nkind: {kind}\nmetadata: {{name: part, namespace: {namespace}}}\n\
         spec: {spec}\n"
    );
    let object = objects(&yaml).remove(0);
    let world = world(&format!("{PROXIES}\n---\n{yaml}"));
    let concern = Concern::of(&world, &object);
    let uses = Uses::default();
    let labels: BTreeSet<String> = concern.label_keys().cloned().collect();
    let keys = Keys::of(&world, &labels);
    let mut names = Vec::new();
    for (id, role) in [
        ("shop/a", ProxyRole::Sidecar),
        ("other/b", ProxyRole::Sidecar),
        ("istio-system/edge", ProxyRole::Gateway),
    ] {
        let mode = CaptureMode::OriginalDestination;
        let scope = ProxyScope::new(&world, &id.parse().unwrap(), role, mode).unwrap();
        let group = keys.group(&scope);
        if concern.covers(&world, &group, &group.used(&world, &uses)) {
            names.push(id.rsplit('/').next().unwrap());
        }
    }
    names.join(" ")
}

type Row<'a> = (&'a str, &'a str, String, &'a str);

fn check(rows: &[Row<'_>]) {
    for (kind, namespace, spec, expected) in rows {
        let found = concerned(kind, namespace, spec);
        assert_eq!(found, *expected, "{kind} in {namespace}: {spec}");
    }
}

#[test]
fn every_kind_of_routing_finds_its_proxies() {
    let route = "http: [{route: [{destination: {host: backend}}]}]";
    check(&[
        (
            "VirtualService",
            "shop",
            format!("{{hosts: [backend], {route}}}"),
            "a b",
        ),
        (
            "VirtualService",
            "shop",
            format!("{{hosts: [backend], exportTo: ['.'], {route}}}"),
            "a",
        ),
        (
            "VirtualService",
            "shop",
            format!("{{hosts: [backend], gateways: [edge], {route}}}"),
            "edge",
        ),
        (
            "VirtualService",
            "shop",
            format!("{{hosts: [backend], gateways: [mesh, shop/edge], {route}}}"),
            "a b edge",
        ),
        (
            "VirtualService",
            "shop",
            format!("{{hosts: [backend], gateways: [none], {route}}}"),
            "",
        ),
        ("VirtualService", "shop", format!("{{{route}}}"), "edge"),
        (
            "DestinationRule",
            "shop",
            "{host: backend}".to_owned(),
            // Nothing at the gateway leads to the backend.
            "a b",
        ),
        (
            "DestinationRule",
            "shop",
            "{host: backend, exportTo: ['.']}".to_owned(),
            "a",
        ),
        ("DestinationRule", "shop", "{host: nobody}".to_owned(), ""),
        (
            "DestinationRule",
            "shop",
            "{host: backend, workloadSelector: {matchLabels: {app: a}}}".to_owned(),
            "a",
        ),
        (
            "Gateway",
            "other",
            "{selector: {istio: ingressgateway}, servers: [{port: {number: 81, name: http, \
             protocol: HTTP}, hosts: ['*']}]}"
                .to_owned(),
            "edge",
        ),
        (
            "ServiceEntry",
            "other",
            "{hosts: [x.example.com], exportTo: ['.'], resolution: NONE, ports: [{number: 80, \
             name: http, protocol: HTTP}]}"
                .to_owned(),
            "b",
        ),
    ]);
}

/// What says nothing about who sees it follows the mesh, here as in what proxies get.
#[test]
fn the_meshs_defaults_count() {
    let yaml = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: part, \
                namespace: shop}\nspec: {hosts: [backend], http: [{route: [{destination: {host: \
                backend}}]}]}\n";
    let object = objects(yaml).remove(0);
    let mut world = world(&format!("{PROXIES}\n---\n{yaml}"));
    let concerns = |world: &World| {
        let none = BTreeSet::new();
        let concern = Concern::of(world, &object);
        ["shop/a", "other/b"].map(|id| {
            let mode = CaptureMode::OriginalDestination;
            let id = id.parse().unwrap();
            let scope = ProxyScope::new(world, &id, ProxyRole::Sidecar, mode).unwrap();
            let group = Keys::of(world, &none).group(&scope);
            concern.covers(world, &group, &group.used(world, &Uses::default()))
        })
    };
    assert_eq!(concerns(&world), [true, true]);
    let settings = serde_json::json!({"defaultVirtualServiceExportTo": ["."]});
    let config = mesh_api::mesh_config::MeshConfig::read(settings).unwrap().0;
    let reading = crate::source::MeshReading {
        config,
        ..crate::source::MeshReading::default()
    };
    world.configure(&reading);
    assert_eq!(concerns(&world), [true, false]);
}

#[test]
fn every_kind_about_workloads_finds_its_proxies() {
    let strict = "mtls: {mode: STRICT}";
    check(&[
        (
            "Sidecar",
            "shop",
            "{egress: [{hosts: ['./*']}]}".to_owned(),
            "a",
        ),
        (
            "Sidecar",
            "istio-system",
            "{egress: [{hosts: ['./*']}]}".to_owned(),
            "a b",
        ),
        (
            "Sidecar",
            "shop",
            "{workloadSelector: {labels: {version: v2}}, egress: [{hosts: ['./*']}]}".to_owned(),
            "",
        ),
        (
            "WorkloadEntry",
            "shop",
            "{address: 10.9.0.1, labels: {app: entry}}".to_owned(),
            "a b",
        ),
        (
            "WorkloadEntry",
            "other",
            "{address: 10.9.0.1, labels: {app: entry}}".to_owned(),
            "",
        ),
        (
            "PeerAuthentication",
            "istio-system",
            format!("{{{strict}}}"),
            "a b",
        ),
        ("PeerAuthentication", "shop", format!("{{{strict}}}"), "a"),
        (
            "PeerAuthentication",
            "istio-system",
            format!("{{selector: {{matchLabels: {{app: a}}}}, {strict}}}"),
            "",
        ),
        (
            "AuthorizationPolicy",
            "istio-system",
            "{}".to_owned(),
            "a b edge",
        ),
        (
            "AuthorizationPolicy",
            "shop",
            "{selector: {matchLabels: {app: a}}}".to_owned(),
            "a",
        ),
        (
            "AuthorizationPolicy",
            "shop",
            "{selector: {matchLabels: {app: b}}}".to_owned(),
            "",
        ),
    ]);
}
