//! Everything wrong with a [`World`], whether or not a proxy is connected.
//!
//! Two kinds of findings come together here: those of compiling for every kind of client there
//! is, and those about objects that no proxy ever meets.

mod objects;
pub(crate) mod rules;
pub(crate) mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::route::Domain;

use crate::compile::context::Context;
use crate::compile::scope::{Client, selector_keys};
use crate::compile::security::protection;
use crate::compile::{
    CaptureMode, Diagnostic, ProxyRole, ProxyScope, Report, Uses, clusters, compiled_context,
};
use crate::model::host;
use crate::model::workload::{pairs, selects};
use crate::model::{WorkloadInfo, World};

/// All findings, sorted, each once.
pub fn analyze(world: &World) -> Vec<Diagnostic> {
    examine(world).0
}

/// All findings, and who uses what.
pub fn examine(world: &World) -> (Vec<Diagnostic>, Uses) {
    let uses = Uses::default();
    let mut report = Report::default();
    objects::check(world, &mut report);
    for client in clients(world) {
        let mut cx = compiled_context(world, &client);
        destination_rules(&mut cx);
        let (findings, acting) = cx.into_findings();
        report.extend(findings);
        uses.note(client.clone(), acting);
    }
    for workload in world.workloads() {
        let sidecar = !is_gateway(world, workload);
        protection(
            world,
            &workload.id.namespace,
            &workload.labels,
            sidecar,
            &mut report,
        );
    }
    (report.into_sorted(), uses)
}

/// Every kind of client: of each workload, and of each namespace that has objects.
pub(crate) fn clients(world: &World) -> BTreeSet<Client> {
    let keys = selector_keys(world);
    let mut clients = BTreeSet::new();
    for workload in world.workloads() {
        let role = if is_gateway(world, workload) {
            ProxyRole::Gateway
        } else {
            ProxyRole::Sidecar
        };
        let scope = ProxyScope {
            role,
            capture: CaptureMode::OriginalDestination,
            workload: Arc::clone(workload),
        };
        clients.insert(Client::of(&scope, &keys));
    }
    let covered: BTreeSet<Arc<str>> = clients
        .iter()
        .filter(|client| client.role == ProxyRole::Sidecar)
        .map(|client| Arc::clone(&client.namespace))
        .collect();
    let routes = world.virtual_services.iter().map(|one| one.namespace());
    let rules = world.destination_rules.iter().map(|one| one.namespace());
    for namespace in routes.chain(rules) {
        if !covered.contains(namespace) {
            clients.insert(Client {
                role: ProxyRole::Sidecar,
                capture: CaptureMode::OriginalDestination,
                namespace: Arc::from(namespace),
                labels: BTreeMap::new(),
                ports: BTreeMap::new(),
            });
        }
    }
    clients
}

/// Whether a workload is a gateway: one that a `Gateway` selects by its labels.
fn is_gateway(world: &World, workload: &WorkloadInfo) -> bool {
    world.gateways.iter().any(|gateway| {
        !gateway.spec.selector.is_empty()
            && selects(pairs(&gateway.spec.selector), &workload.labels)
    })
}

/// Findings about subsets and policies that no route uses: those of rules in the client's
/// namespace, and of rules for services there. Others are checked for the clients that live there.
fn destination_rules(cx: &mut Context<'_>) {
    let world = cx.world;
    let namespace = &*cx.client.namespace;
    let hosts: Vec<Domain> = world
        .destination_rules
        .of_namespace(namespace)
        .filter_map(|rule| {
            let domain = &world.settings().cluster_domain;
            Domain::parse(&host::resolve(&rule.spec.host, namespace, domain))
        })
        .collect();
    let exact: BTreeSet<&Domain> = hosts.iter().collect();
    let wildcards: Vec<&Domain> = hosts
        .iter()
        .filter(|host| !matches!(host, Domain::Exact(_)))
        .collect();
    let services: Vec<_> = cx.viewer.services(world).collect();
    for service in services {
        let concerned = service.namespace() == namespace
            || Domain::parse(&service.host).is_some_and(|host| {
                exact.contains(&host) || wildcards.iter().any(|wild| wild.covers(&host))
            });
        if !concerned {
            continue;
        }
        let rule = cx.rule(service);
        if rule.objects.is_empty() {
            continue;
        }
        for port in &service.ports {
            clusters::cluster(cx, service, port.number, None);
            for subset in &rule.subsets {
                let name = Some(Arc::from(subset.subset.name.as_str()));
                clusters::cluster(cx, service, port.number, name);
            }
        }
    }
}

#[cfg(test)]
mod tests;
