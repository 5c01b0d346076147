//! Settings and nodes that change under the objects there are.

use std::time::Duration;

use mesh_api::mesh_config::MeshConfig;
use serde_json::{Value, json};

use super::*;
use crate::testing::world;

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: open, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: said, namespace: shop, annotations: {networking.istio.io/exportTo: '*'}}
spec: {clusterIP: 10.96.0.2, ports: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: a}}
spec: {nodeName: n1, containers: []}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: shop, labels: {app: a, istio-locality: eu.x}}
spec: {nodeName: n1, containers: []}
status: {podIP: 10.0.0.2}
";

fn config(document: Value) -> MeshReading {
    MeshReading {
        config: MeshConfig::read(document).unwrap().0,
        ..MeshReading::default()
    }
}

#[test]
fn services_that_say_nothing_follow_the_mesh() {
    let mut world = world(SHOP);
    let seen = |world: &World, name: &str| {
        let host = format!("{name}.shop.svc.cluster.local");
        world.claims(&host)[0].visibility.includes("other")
    };
    assert!(seen(&world, "open") && seen(&world, "said"));
    let private = config(json!({"defaultServiceExportTo": ["."]}));
    let affected = world.configure(&private);
    assert!(affected.config);
    assert!(!seen(&world, "open") && seen(&world, "said"));
    // The same again is no change, and the former settings bring back the former state.
    assert!(world.configure(&private).is_empty());
    assert!(world.configure(&config(json!({}))).config);
    assert!(seen(&world, "open"));
}

#[test]
fn pods_stand_where_their_node_stands() {
    let mut world = world(SHOP);
    let zone = |world: &World, name: &str| {
        let id = format!("shop/{name}").parse().unwrap();
        world.workload(&id).unwrap().locality.zone.to_string()
    };
    assert_eq!(zone(&world, "a"), "");
    let place = |zone: &str| Locality {
        region: Arc::from("us"),
        zone: Arc::from(zone),
        ..Locality::default()
    };
    let mut affected = Affected::default();
    world.place_node("n1", Some(&place("us-1")), &mut affected);
    assert_eq!(zone(&world, "a"), "us-1");
    // A pod that says where it stands knows better.
    assert_eq!(zone(&world, "b"), "x");
    assert_eq!(affected.workloads.len(), 1);
    let mut affected = Affected::default();
    world.place_node("n1", Some(&place("us-1")), &mut affected);
    assert!(affected.is_empty());
    world.place_node("n1", None, &mut affected);
    assert_eq!(zone(&world, "a"), "");
}

#[test]
fn proxies_are_told_how_long_silence_may_last() {
    let told = |written: Value| {
        let mut world = world(SHOP);
        world.configure(&config(written));
        let settings = world.settings().of_proxies();
        settings.map(|settings| settings.detection_timeout)
    };
    for (written, seconds) in [("3s", 3), ("0s", 0)] {
        let timeout = Some(Duration::from_secs(seconds));
        let written = json!({"protocolDetectionTimeout": written});
        assert_eq!(told(written), Some(timeout));
    }
    // What they were started with.
    assert_eq!(told(json!({})), None);
}

#[test]
fn proxies_are_told_how_long_clients_may_be_idle() {
    let told = |variables: Value| {
        let mut world = world(SHOP);
        world.configure(&config(
            json!({"defaultConfig": {"proxyMetadata": variables}}),
        ));
        let settings = world.settings().of_proxies()?;
        Some((settings.idle_timeout, settings.stream_idle_timeout))
    };
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let both = json!({"ISTIO_META_IDLE_TIMEOUT": "30s", "MESH_STREAM_IDLE_TIMEOUT": "10s"});
    assert_eq!(told(both), Some((seconds(30), seconds(10))));
    let one = json!({"ISTIO_META_IDLE_TIMEOUT": "30s", "ISTIO_META_HTTP10": "1"});
    assert_eq!(told(one), Some((seconds(30), None)));
    assert_eq!(told(json!({"ISTIO_META_HTTP10": "1"})), None);
}
