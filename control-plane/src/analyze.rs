//! Everything wrong with a [`World`], whether or not a proxy is connected.
//!
//! What a configuration means is found where it is compiled, and nowhere else: the findings here
//! are those of the compilations proxies get, inbound side included, and of one more for every
//! kind of workload that has no proxy yet. Beside them stand findings about objects no
//! compilation meets.

pub(crate) mod objects;
pub(crate) mod rules;
mod scopes;
mod selection;
pub(crate) mod services;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::route::Domain;

use crate::compile::context::Context;
use crate::compile::diagnostics::codes;
use crate::compile::scope::{Client, selector_keys};
use crate::compile::{
    Compiler, Diagnostic, ProxyRole, ProxyScope, Report, Uses, clusters, endpoints,
};
use crate::model::World;
use crate::model::host;

/// Most namespaces a finding lists.
const LISTED: usize = 3;

/// All findings of a mesh no proxy is connected to, sorted, each once.
pub fn analyze(world: &World) -> Vec<Diagnostic> {
    examine(world).0
}

/// All findings of a mesh no proxy is connected to, and who uses what.
pub fn examine(world: &World) -> (Vec<Diagnostic>, Uses) {
    examine_with(world, &mut Compiler::default(), &[])
}

/// All findings, sorted, each once, and who uses what: of the configurations of `proxies`, which
/// are connected, and of those that other workloads would get.
pub fn examine_with(
    world: &World,
    compiler: &mut Compiler,
    proxies: &[ProxyScope],
) -> (Vec<Diagnostic>, Uses) {
    let uses = Uses::default();
    let mut found = Found::default();
    objects::check(world, &mut found.report);
    selection::check(world, &mut found.report);
    endpoints::check(world, &mut found.report);
    let mut clients: BTreeSet<Client> = BTreeSet::new();
    for scope in scopes::all(world, proxies) {
        let layers = compiler.layers(world, &scope);
        found.report.extend(layers.own.diagnostics.iter().cloned());
        if !clients.contains(&layers.client) {
            found.of_client(&layers.client, &layers.shared.diagnostics);
            uses.note(layers.client.clone(), layers.shared.acting.clone());
            clients.insert(layers.client);
        }
    }
    for client in &clients {
        let mut cx = Context::new(world, client);
        unused_rules(&mut cx);
        found.report.extend(cx.into_findings());
    }
    (found.into_sorted(), uses)
}

/// Every kind of client there is where no proxy is connected.
pub(crate) fn clients(world: &World) -> BTreeSet<Client> {
    let keys = selector_keys(world);
    let scopes = scopes::all(world, &[]);
    scopes
        .iter()
        .map(|scope| Client::of(scope, &keys))
        .collect()
}

/// Findings, and which clients met those that depend on what a client may see.
#[derive(Default)]
struct Found {
    report: Report,
    seen_by: BTreeMap<Diagnostic, BTreeSet<Arc<str>>>,
    namespaces: BTreeSet<Arc<str>>,
}

impl Found {
    fn of_client(&mut self, client: &Client, findings: &[Diagnostic]) {
        let namespace = &client.namespace;
        self.namespaces.insert(Arc::clone(namespace));
        for finding in findings {
            if finding.code == codes::UNKNOWN_SERVICE || finding.code == codes::UNKNOWN_SUBSET {
                self.seen_by
                    .entry(finding.clone())
                    .or_default()
                    .insert(Arc::clone(namespace));
            } else {
                self.report.push(finding.clone());
            }
        }
    }

    /// What only some clients meet says which, once for all of them.
    fn into_sorted(mut self) -> Vec<Diagnostic> {
        let all = self.namespaces.len();
        for (mut finding, namespaces) in self.seen_by {
            if namespaces.len() < all {
                let mut listed: Vec<&str> =
                    namespaces.iter().take(LISTED).map(|one| &**one).collect();
                let more = format!("{} more", namespaces.len().saturating_sub(LISTED));
                if namespaces.len() > LISTED {
                    listed.push(&more);
                }
                let callers = format!("concerns callers in {}", listed.join(", "));
                finding.hint = Some(match finding.hint {
                    Some(hint) => format!("{hint}; {callers}"),
                    None => callers,
                });
            }
            self.report.push(finding);
        }
        self.report.into_sorted()
    }
}

/// Findings about subsets and policies that no route uses: those of rules in the client's
/// namespace, and of rules for services there. Others are checked for the clients that live there.
fn unused_rules(cx: &mut Context<'_>) {
    let world = cx.world;
    if cx.client.role != ProxyRole::Sidecar {
        return;
    }
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
