//! What proxies get for small meshes.

mod asked_for;
mod clusters;
mod destinations;
mod gateway_owners;
mod gateways;
mod hosts;
mod kept;
mod kubernetes;
mod order;
mod ownership;
mod ownership_reference;
mod routes;
mod security;
mod stand_ins;
mod unreadable;

use std::sync::Arc;

use mesh_api::destination::{FirstBytes, Found, Table};
use mesh_api::name::{ResourceName, RoutesName};
use mesh_api::resource::Resource;
use mesh_api::route::{Destinations, RouteAction, Rule, Target, VirtualHost};
use mesh_api::snapshot::Snapshot;

use super::{CaptureMode, ProxyRole};
use crate::testing::{compiled, snapshot, world};

/// A client in namespace `shop`, and two services there.
const SHOP: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: shop, labels: {app: client}}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: shop}
spec: {clusterIP: 10.96.0.10, selector: {app: backend}, ports: [{name: http, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: store, namespace: shop}
spec:
  clusterIP: 10.96.0.11
  selector: {app: store}
  ports: [{name: http, port: 80}, {name: tcp-raw, port: 9000}]
---
";

fn shop(yaml: &str) -> String {
    format!("{SHOP}{yaml}")
}

/// What the client in namespace `shop` gets.
fn client(yaml: &str, capture: CaptureMode) -> (Snapshot, Vec<String>) {
    let world = world(&shop(yaml));
    let compiled = compiled(&world, "shop/client", ProxyRole::Sidecar, capture);
    let diagnostics = compiled.diagnostics().map(ToString::to_string).collect();
    (snapshot(&compiled), diagnostics)
}

fn explicit(yaml: &str) -> (Snapshot, Vec<String>) {
    client(yaml, CaptureMode::Explicit)
}

fn captured(yaml: &str) -> (Snapshot, Vec<String>) {
    client(yaml, CaptureMode::OriginalDestination)
}

fn virtual_host(snapshot: &Snapshot, name: &str) -> Arc<VirtualHost> {
    let name: RoutesName = name.parse().unwrap();
    let entry = snapshot
        .get(&ResourceName::Routes(name.clone()))
        .unwrap_or_else(|| panic!("no {name}"));
    let Resource::Routes(host) = &entry.resource else {
        panic!("{entry:?}");
    };
    Arc::clone(host)
}

/// The rules for the backend service.
fn backend(snapshot: &Snapshot) -> Vec<Arc<Rule>> {
    virtual_host(snapshot, "8080/backend.shop.svc.cluster.local")
        .rules
        .clone()
}

fn names(rules: &[Arc<Rule>]) -> Vec<&str> {
    rules.iter().map(|rule| &*rule.name).collect()
}

/// Where the only or first destination of a rule leads, as text.
fn target(rule: &Rule) -> String {
    let RouteAction::Forward(forward) = &rule.action else {
        return format!("{rule:?}");
    };
    first_of(&forward.destinations)
}

/// Where the first of some destinations is, as text.
fn first_of(destinations: &Destinations) -> String {
    match &destinations.list()[0].target {
        Target::Cluster(name) => name.to_string(),
        Target::Fail(failure) => failure.reason.to_string(),
    }
}

/// What a connection of the client meets.
fn meets(snapshot: &Snapshot, destination: &str, first: FirstBytes<'_>) -> String {
    let table = Table::of(snapshot.listeners());
    match table.find(destination.parse().unwrap(), Some(first)) {
        Found::Http(_) => "http".to_owned(),
        Found::Bytes(destinations) => first_of(destinations),
        Found::Depends(silence) => panic!("{destination} depends on {silence:?}"),
        Found::Unknown => "nothing".to_owned(),
    }
}

fn has(diagnostics: &[String], parts: &[&str]) -> bool {
    diagnostics
        .iter()
        .any(|one| parts.iter().all(|part| one.contains(part)))
}
