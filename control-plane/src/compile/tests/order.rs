//! Order of arrival, and what changes concern.

use super::*;

use std::collections::BTreeMap;

use mesh_api::version::Version;
use proptest::prelude::*;

use crate::compile::{Compiler, ProxyScope};
use crate::model::{Change, MeshSettings, World};
use crate::testing::{objects, text};

const MESH: &str = "
apiVersion: v1
kind: Pod
metadata: {name: b1, namespace: shop, labels: {app: backend, version: v1}}
status: {podIP: 10.0.1.1}
---
apiVersion: v1
kind: Pod
metadata: {name: b2, namespace: shop, labels: {app: backend, version: v2}}
status: {podIP: 10.0.1.2}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: shop}
spec: {host: backend, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: b, namespace: shop}
spec:
  host: backend
  subsets: [{name: v1, labels: {version: x}}, {name: v2, labels: {version: v2}}]
  trafficPolicy: {loadBalancer: {simple: RANDOM}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one, namespace: shop}
spec: {hosts: [backend], http: [{name: one, route: [{destination: {host: backend, subset: v1}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: two, namespace: shop}
spec:
  hosts: [backend, store]
  http:
    - {name: two, match: [{uri: {prefix: /2}}], route: [{destination: {host: backend, subset: v2}}]}
    - {name: lost, match: [{uri: {prefix: /3}}], route: [{destination: {host: nowhere}}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec:
  hosts: [api.example.com, store.shop.svc.cluster.local]
  ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP}]
  resolution: DNS
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: store-x, namespace: shop, labels: {kubernetes.io/service-name: store}}
addressType: IPv4
endpoints: [{addresses: [10.0.2.1]}, {addresses: [10.0.1.1], conditions: {ready: false, serving: true, terminating: true}}]
ports: [{name: http, port: 8000}, {name: tcp-raw, port: 9000}]
";

pub(super) fn versions(world: &World) -> BTreeMap<String, Version> {
    let mut all = BTreeMap::new();
    for capture in [CaptureMode::Explicit, CaptureMode::OriginalDestination] {
        for id in ["shop/client", "shop/b1"] {
            let compiled = compiled(world, id, ProxyRole::Sidecar, capture);
            for (name, encoded) in compiled.iter() {
                all.insert(format!("{capture:?} {id} {name}"), encoded.version);
            }
            for (index, diagnostic) in compiled.diagnostics().enumerate() {
                // Findings are part of the result: equal text, equal place.
                let text = format!("{capture:?} {id} {index} {diagnostic}");
                all.insert(text, Version(0));
            }
        }
    }
    all
}

fn applied(order: &[usize], batch: usize) -> World {
    let objects = objects(&shop(MESH));
    let mut world = World::new(MeshSettings::default());
    for indices in order.chunks(batch) {
        world.apply(indices.iter().map(|i| Change::Applied(objects[*i].clone())));
    }
    world
}

fn count() -> usize {
    objects(&shop(MESH)).len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_order_of_arrival_does_not_matter(
        order in Just((0..count()).collect::<Vec<_>>()).prop_shuffle(),
        batch in 1usize..5,
    ) {
        let straight: Vec<usize> = (0..count()).collect();
        let expected = versions(&applied(&straight, straight.len()));
        prop_assert_eq!(versions(&applied(&order, batch)), expected);
    }

    #[test]
    fn a_cache_that_hears_of_every_change_is_never_wrong(
        order in Just((0..count()).collect::<Vec<_>>()).prop_shuffle(),
        removals in proptest::collection::vec(0..count(), 0..6),
    ) {
        let objects = objects(&shop(MESH));
        let mut world = World::new(MeshSettings::default());
        let mut compiler = Compiler::default();
        let sets = order.iter().map(|i| Change::Applied(objects[*i].clone()));
        let removes = removals.iter().map(|i| Change::Removed(objects[*i].key().clone()));
        for change in sets.chain(removes) {
            let affected = world.apply([change]);
            compiler.invalidate(&world, &affected);
            let scope = ProxyScope::new(
                &world,
                &"shop/client".parse().unwrap(),
                ProxyRole::Sidecar,
                CaptureMode::OriginalDestination,
            );
            if let Some(scope) = scope {
                let cached: Vec<_> = compiler.compile(&world, &scope).iter().map(|(n, e)| (n.clone(), e.version)).collect();
                let fresh: Vec<_> = super::super::compile(&world, &scope).iter().map(|(n, e)| (n.clone(), e.version)).collect();
                prop_assert_eq!(cached, fresh);
            }
        }
    }
}

fn set(world: &mut World, yaml: &str) -> crate::model::Affected {
    world.apply(objects(yaml).into_iter().map(Change::Applied))
}

fn route(subset: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: one, namespace: shop}}
spec: {{hosts: [backend], http: [{{name: {subset}, route: [{{destination: {{host: backend, subset: {subset}}}}}]}}]}}
"
    )
}

#[test]
fn a_route_to_something_unknown_waits_while_the_former_one_stays() {
    let mut world = world(&shop(MESH));
    set(&mut world, &route("v9"));
    let state = |world: &World| {
        let compiled = compiled(
            world,
            "shop/client",
            ProxyRole::Sidecar,
            CaptureMode::Explicit,
        );
        let held = compiled
            .diagnostics()
            .any(|one| one.code.as_str() == "MESH0104");
        let rules = backend(&snapshot(&compiled));
        (target(rules.last().unwrap()), held)
    };
    assert_eq!(
        state(&world),
        (
            "outbound|8080|v1|backend.shop.svc.cluster.local".to_owned(),
            true
        )
    );
    set(
        &mut world,
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: c, namespace: shop}
spec: {host: backend, subsets: [{name: v9, labels: {version: v9}}]}
",
    );
    assert_eq!(
        state(&world),
        (
            "outbound|8080|v9|backend.shop.svc.cluster.local".to_owned(),
            false
        )
    );
}

#[test]
fn without_a_former_form_the_refusal_is_live() {
    let world = world(&shop(&route("v9")));
    let compiled = compiled(
        &world,
        "shop/client",
        ProxyRole::Sidecar,
        CaptureMode::Explicit,
    );
    let rules = backend(&snapshot(&compiled));
    assert!(target(&rules[0]).contains("subset v9"));
}

#[test]
fn changes_of_endpoints_concern_endpoints_only() {
    let mut world = world(&shop(MESH));
    let slice = |ready: bool| {
        format!(
            "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: store-x, namespace: shop, labels: {{kubernetes.io/service-name: store}}}}
addressType: IPv4
endpoints: [{{addresses: [10.0.2.1], conditions: {{ready: {ready}}}}}]
ports: [{{name: http, port: 8000}}]
"
        )
    };
    let affected = set(&mut world, &slice(false));
    assert!(affected.endpoints_only());
    let names: Vec<String> = affected.endpoints.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "store.shop.svc.cluster.local:80",
            "store.shop.svc.cluster.local:9000"
        ]
    );
    assert!(set(&mut world, &slice(false)).is_empty());
    let pod = set(
        &mut world,
        "
apiVersion: v1
kind: Pod
metadata: {name: b1, namespace: shop, labels: {app: backend, version: v1}}
status: {podIP: 10.0.1.9}
",
    );
    assert!(!pod.config);
    assert!(
        pod.endpoints
            .iter()
            .any(|one| one.host == text("backend.shop.svc.cluster.local"))
    );
    assert_eq!(pod.addresses.len(), 2);
    assert_eq!(pod.workloads.len(), 1);
}
