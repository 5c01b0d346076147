//! That what is described is set, with a recorder of our own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, with_local_recorder,
};
use parking_lot::Mutex;

use super::*;
use crate::analyze::analyze;
use crate::testing::world;

#[derive(Debug, Default)]
struct Gauges {
    described: Mutex<Vec<String>>,
    cells: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
}

impl Gauges {
    fn value(&self, name: &str) -> Option<f64> {
        let cells = self.cells.lock();
        Some(f64::from_bits(cells.get(name)?.load(Ordering::SeqCst)))
    }
}

impl Recorder for Gauges {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().push(name.as_str().to_owned());
    }
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut cells = self.cells.lock();
        Gauge::from_arc(Arc::clone(cells.entry(key.name().to_owned()).or_default()))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

const RULES: &str = "
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: shop}
spec: {clusterIP: 10.0.0.1, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: shop}
spec: {host: backend, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: b, namespace: shop}
spec: {host: backend, subsets: [{name: v1, labels: {version: one}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: backend, namespace: shop}
spec: {hosts: [backend], http: [{route: [{destination: {host: backend}}]}]}
";

#[test]
fn every_described_gauge_of_inputs_and_conflicts_is_set() {
    let gauges = Gauges::default();
    with_local_recorder(&gauges, || {
        describe();
        let world = world(RULES);
        inputs(&world);
        conflicts(&analyze(&world));
    });
    assert_eq!(gauges.value("pilot_services"), Some(1.0));
    assert_eq!(gauges.value("pilot_virt_services"), Some(1.0));
    assert_eq!(gauges.value("pilot_destrule_subsets"), Some(1.0));
    for name in gauges.described.lock().iter() {
        let counted = name.starts_with("pilot_conflict") || name.starts_with("pilot_v");
        assert!(
            !counted || gauges.value(name).is_some(),
            "{name} is described but never set"
        );
    }
}
