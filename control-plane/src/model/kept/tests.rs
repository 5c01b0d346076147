//! The document, and what becomes of pieces nobody can read.

use serde_json::{Value, json};

use super::*;
use crate::crd::samples;
use crate::crd::{Kind, Object, decode};
use crate::testing::objects;

fn kept() -> Kept {
    let mut kept = Kept::default();
    let yaml = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one, namespace: shop, generation: 4, creationTimestamp: '2026-01-02T03:04:05Z'}
spec: {hosts: [backend], http: [{route: [{destination: {host: backend, subset: v1}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: shop, generation: 2}
spec: {host: backend, subsets: [{name: v1, labels: {version: v1}}]}
";
    for object in objects(yaml) {
        if let Object::VirtualService(route) = object {
            kept.routes.insert(route.key.clone(), route);
        } else if let Object::DestinationRule(rule) = object {
            kept.rules.insert(rule.key.clone(), rule);
        }
    }
    let mode = (
        "outboundTrafficPolicy.mode".to_owned(),
        json!("REGISTRY_ONLY"),
    );
    kept.settings = Some(KeptSettings::from([mode]));
    kept
}

#[test]
fn what_is_written_is_read_again() {
    let kept = kept();
    let (text, left_out) = kept.to_text();
    assert_eq!(left_out, []);
    assert_eq!(Kept::read(&text), (kept, Vec::new()));
    assert_eq!(Kept::read(&Kept::default().to_text().0).0, Kept::default());
}

/// Of every kind of the mesh a document that uses all its fields comes back as the same object.
#[test]
fn a_former_object_is_the_same_after_it_was_stored() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_mesh_resource()) {
        let mut document: Value = serde_saphyr::from_str(samples::of(kind)).unwrap();
        document["apiVersion"] = json!(format!("{}/{}", kind.group(), kind.storage_version()));
        document["kind"] = json!(kind.as_str());
        document["metadata"] = json!({
            "name": "one", "namespace": "shop", "labels": {"app": "a"},
            "annotations": {"note": "b"}, "generation": 3,
            "creationTimestamp": "2026-01-02T03:04:05Z",
        });
        let object = |document: &Value| decode(document.clone()).object().expect("read").clone();
        let plain = object(&document);
        let last_applied = "kubectl.kubernetes.io/last-applied-configuration";
        document["metadata"]["annotations"][last_applied] = json!("all of it");
        let mut former = Former::of(&object(&document)).expect("a kind of the mesh");
        assert_eq!(former.decoded().object(), Some(&plain));
        former.stood = Some(Stood {
            file: "a.yaml".into(),
            document: 2,
            line: 7,
        });
        let mut kept = Kept::default();
        kept.formers.push(former);
        assert_eq!(Kept::read(&kept.to_text().0), (kept, Vec::new()));
    }
}

#[test]
fn pieces_nobody_can_read_cost_only_themselves() {
    let (text, _) = kept().to_text();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    let routes = document["routes"].as_array_mut().unwrap();
    routes.insert(0, json!({"kind": "VirtualService", "spec": 7}));
    routes.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}));
    let mut bad = routes[1].clone();
    bad["metadata"]["name"] = json!("bad");
    bad["spec"]["ttp"] = json!([]);
    routes.push(bad);
    let (read, wrong) = Kept::read(&document.to_string());
    assert_eq!(read, kept());
    let what: Vec<&str> = wrong.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(what, ["routes[0]", "routes[2]", "routes[3]"]);
    assert!(wrong[2].why.contains("spec.ttp"), "{}", wrong[2]);

    for (text, part) in [
        ("", "not JSON"),
        ("[1]", "format"),
        (r#"{"format": 2, "settings": {"a": 1}}"#, "format"),
        (r#"{"format": 1, "settings": []}"#, "no map"),
        (r#"{"format": 1, "rules": 3}"#, "no list"),
    ] {
        let (read, wrong) = Kept::read(text);
        assert!(read.is_empty(), "{text}");
        assert!(wrong[0].why.contains(part), "{text}: {}", wrong[0]);
    }
}

#[test]
fn there_is_a_limit_and_what_is_beyond_it_is_named() {
    let mut all = kept();
    let (key, route) = all.routes.pop_first().unwrap();
    for index in 0..40 {
        let mut route = Resource::clone(&route);
        route.key.name = format!("{}-{index:02}", key.name);
        route.spec.hosts = (0..2000).map(|n| format!("host-{n}.example")).collect();
        all.routes.insert(route.key.clone(), Arc::new(route));
    }
    let (text, left_out) = all.to_text();
    assert!(text.len() <= MAX_BYTES, "{}", text.len());
    let (read, wrong) = Kept::read(&text);
    assert_eq!(wrong, []);
    assert_eq!(read.routes.len() + left_out.len(), 40);
    assert!(!read.routes.is_empty() && !left_out.is_empty());
    assert_eq!(read.rules, all.rules);
    assert!(left_out[0].to_string().contains("one-"));
}

#[test]
fn of_two_forms_the_newer_is_kept_whoever_hears_it_first() {
    let older = kept();
    let mut newer = kept();
    for route in newer.routes.values_mut() {
        let route = Arc::make_mut(route);
        route.meta.generation = Some(5);
        route.spec.hosts = vec!["store".to_owned()];
    }
    let mut joined = older.clone();
    joined.join_routes(&newer);
    assert_eq!(joined, newer);
    joined.join_routes(&older);
    assert_eq!(joined, newer);
    // What only one of them keeps both have afterwards.
    let mut alone = Kept::default();
    alone.join_routes(&older);
    assert!(alone.same_routes(&older));
    alone.join_routes(&Kept::default());
    assert!(alone.same_routes(&older));
}
