//! What is refused or warned about because of the objects that are there.

use super::super::*;
use super::{NETWORKING, create, document, update};
use crate::analyze::examine;
use crate::push::board::Input;
use crate::push::objects::Objects;
use crate::testing::world;

const MESH: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: team}
spec: {clusterIP: 10.96.0.11, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: team}
spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: shop, creationTimestamp: '2024-01-01T00:00:00Z'}
spec: {egress: [{hosts: ['*/*']}]}
";

fn beside() -> Reviewer {
    let world = world(MESH);
    let (findings, uses) = examine(&world);
    let input = Input {
        world,
        objects: Objects::default(),
        revision: 1,
        proxies: Vec::new(),
        compiler: crate::compile::Compiler::default(),
    };
    let examined = Examined {
        input,
        findings,
        uses,
    };
    // The sender may go: the last value stays.
    let (_, mesh) = watch::channel(Some(Arc::new(examined)));
    Reviewer::default().beside(mesh)
}

fn entry(rest: &str) -> serde_json::Value {
    let spec = format!(
        "{{resolution: STATIC, endpoints: [{{address: 10.9.0.1}}], ports: [{{number: 80, name: \
         http, protocol: HTTP}}], {rest}}}"
    );
    document(NETWORKING, "ServiceEntry", &spec)
}

#[test]
fn what_belongs_to_others_cannot_be_declared() {
    let reviewer = beside();
    for (rest, field, owner) in [
        (
            "hosts: [a.example.com], addresses: [10.96.0.11]",
            "spec.addresses",
            "Service team/web",
        ),
        (
            "hosts: [web.team.svc.cluster.local]",
            "spec.hosts",
            "namespace team",
        ),
        ("hosts: [web.team]", "spec.hosts", "namespace team"),
        (
            "hosts: ['*.team.svc.cluster.local']",
            "spec.hosts",
            "namespace team",
        ),
    ] {
        let entry = entry(rest);
        let answer = reviewer.review(&create(&entry)).unwrap();
        assert_eq!(answer.failure(), Some(Failure::Foreign), "{rest}");
        let status = answer.to_review()["response"]["status"].clone();
        assert_eq!(status["code"], 422);
        assert_eq!(status["details"]["causes"][0]["field"], field);
        let message = status["message"].as_str().unwrap();
        assert!(message.contains(owner), "{message}");
        // An object that stands is not made immovable: its labels may change.
        assert_eq!(
            reviewer.review(&update(&entry, &entry)).unwrap().failure(),
            None
        );
        // Without knowing the mesh there is nobody to belong to.
        assert_eq!(
            Reviewer::default()
                .review(&create(&entry))
                .unwrap()
                .failure(),
            None
        );
    }
    let fine = entry("hosts: [a.example.com], addresses: [10.96.0.12]");
    assert_eq!(reviewer.review(&create(&fine)).unwrap().failure(), None);
}

#[test]
fn who_writes_for_others_hosts_is_told() {
    let spec = "{hosts: [web.team.svc.cluster.local], http: [{route: [{destination: {host: \
                web.team.svc.cluster.local}}]}]}";
    let route = document(NETWORKING, "VirtualService", spec);
    let answer = beside().review(&create(&route)).unwrap();
    assert_eq!(answer.failure(), None);
    let warnings = answer.to_review()["response"]["warnings"].to_string();
    assert!(
        warnings.contains("VirtualService team/web comes first"),
        "{warnings}"
    );
    let spec =
        "{host: '*.team.svc.cluster.local', trafficPolicy: {loadBalancer: {simple: RANDOM}}}";
    let rule = document(NETWORKING, "DestinationRule", spec);
    let answer = beside().review(&create(&rule)).unwrap();
    let warnings = answer.to_review()["response"]["warnings"].to_string();
    assert!(warnings.contains("belongs to namespace team"), "{warnings}");
}

#[test]
fn what_gives_way_to_an_older_one_is_told() {
    let later = document(NETWORKING, "Sidecar", "{egress: [{hosts: ['./*']}]}");
    let answer = beside().review(&create(&later)).unwrap();
    assert_eq!(answer.failure(), None);
    let warnings = answer.to_review()["response"]["warnings"].to_string();
    assert!(
        warnings.contains("Sidecar shop/default is older"),
        "{warnings}"
    );
}
