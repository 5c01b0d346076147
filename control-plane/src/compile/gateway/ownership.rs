//! Whose virtual services act on a host of a gateway's port.
//!
//! What the gateway's own namespace and the root namespace write in `hosts: NAMESPACE/HOST`, the
//! most specific that covers the host, says who may. If that leaves several namespaces, the host
//! is that of the Kubernetes Service it names, else that of the virtual service that writes it
//! most specifically, and then is the oldest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::route::Domain;

use super::servers::ServerAt;
use crate::compile::context::Context;
use crate::compile::diagnostics::{Diagnostic, codes};
use crate::compile::routes::Via;
use crate::compile::routes::candidates::{Candidate, Spoken, domains};
use crate::meta::ObjectKey;
use crate::model::ownership::kubernetes_namespace;

/// A virtual service that is bound to a host through a server.
#[derive(Clone, Debug)]
pub(super) struct Bound<'a, 'w> {
    pub(super) candidate: Candidate<'w>,
    pub(super) via: Via<'a>,
    /// Whether any of the servers it is bound through sends its clients to https.
    pub(super) redirects: bool,
}

/// Of what is bound to a host, the oldest first, leaves what acts there.
pub(super) fn acting<'a, 'w>(
    cx: &mut Context<'w>,
    servers: &[&ServerAt<'w>],
    host: &Domain,
    bound: Vec<Bound<'a, 'w>>,
) -> Vec<Bound<'a, 'w>> {
    let bound = admitted(cx, servers, host, bound);
    let preference = |one: &Bound<'_, '_>| Reverse(written(cx, &one.candidate, host));
    let home = kubernetes_namespace(cx.world, &host.to_string());
    let home = home.filter(|home| bound.iter().any(|one| one.namespace() == &**home));
    // Of several that are written alike the first is found, which is the oldest.
    let first = bound.iter().min_by_key(|one| preference(one));
    let Some(owner) = home.or_else(|| Some(Arc::from(first?.namespace()))) else {
        return Vec::new();
    };
    let heard = cx.viewer.heard(Some(&owner), bound, |one| one.namespace());
    let least = heard.acting.iter().map(preference).max();
    let spoken = Spoken {
        groups: vec![
            heard
                .acting
                .iter()
                .map(|one| one.candidate.clone())
                .collect(),
        ],
        giving_way: heard
            .giving_way
            .iter()
            .filter(|one| least.is_none_or(|least| preference(one) <= least))
            .map(|one| one.candidate.clone())
            .collect(),
        owner: Some(owner),
        strangers: false,
    };
    cx.strangers.note(&cx.viewer, host, &spoken);
    heard.acting
}

impl Bound<'_, '_> {
    fn namespace(&self) -> &str {
        self.candidate.object.namespace()
    }
}

/// How specifically a virtual service writes a host.
fn written(cx: &Context<'_>, candidate: &Candidate<'_>, host: &Domain) -> Option<(u8, usize)> {
    let domains = domains(cx.world, candidate.object);
    let covering = domains.iter().filter(|domain| domain.covers(host));
    // Where nothing tells hosts apart, it does not matter who writes which.
    let told_apart = *host != Domain::Any;
    told_apart
        .then(|| covering.map(Domain::specificity).max())
        .flatten()
}

/// Leaves those the gateway's operators let bind the host, and names the others.
fn admitted<'a, 'w>(
    cx: &mut Context<'w>,
    servers: &[&ServerAt<'w>],
    host: &Domain,
    bound: Vec<Bound<'a, 'w>>,
) -> Vec<Bound<'a, 'w>> {
    let entries = servers
        .iter()
        .filter(|server| server.is_near(cx.world, cx.client))
        .flat_map(|server| server.hosts.iter().map(move |entry| (server, entry)))
        .filter(|(_, entry)| entry.domain.covers(host));
    let entries: Vec<_> = entries.collect();
    let best = entries.iter().map(|(_, entry)| entry.domain.specificity());
    let Some(best) = best.max() else {
        return bound;
    };
    let decisive = entries
        .into_iter()
        .filter(|(_, entry)| entry.domain.specificity() == best);
    let mut namespaces: BTreeMap<Arc<str>, &ObjectKey> = BTreeMap::new();
    for (server, entry) in decisive {
        match &entry.namespace {
            None => return bound,
            Some(namespace) => {
                let key = &server.gateway.key;
                namespaces.entry(Arc::clone(namespace)).or_insert(key);
            }
        }
    }
    let (kept, refused): (Vec<_>, Vec<_>) = bound
        .into_iter()
        .partition(|one| namespaces.contains_key(one.namespace()));
    if let Some((namespace, gateway)) = namespaces.first_key_value() {
        for one in refused {
            cx.report(Diagnostic::new(
                codes::GATEWAY_HOST_MISMATCH,
                &one.candidate.object.key,
                "spec.hosts",
                format!("{gateway} keeps {host} for namespace {namespace}"),
            ));
        }
    }
    kept
}

/// Who may claim which server name on a port.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<Domain, BTreeSet<ObjectKey>>);

impl Names {
    /// Of all virtual services bound to these servers, oldest first.
    pub(super) fn of<'w>(cx: &mut Context<'w>, servers: &[&ServerAt<'w>]) -> Self {
        let mut bound: BTreeMap<Domain, Vec<Bound<'_, 'w>>> = BTreeMap::new();
        for candidate in cx.candidates.all() {
            let namespace = candidate.object.namespace();
            let matches = candidate
                .object
                .spec
                .tls
                .iter()
                .flat_map(|one| &one.matches);
            let names: BTreeSet<Domain> = matches
                .flat_map(|one| &one.sni_hosts)
                .filter_map(|name| Domain::parse(name))
                .collect();
            for server in servers {
                let via = server.via();
                if !via.applies_at_all(candidate.object) {
                    continue;
                }
                for name in names.iter().filter(|name| server.serves(namespace, name)) {
                    let list = bound.entry(name.clone()).or_default();
                    let last = list.last().map(|last| &last.candidate.object.key);
                    if last != Some(&candidate.object.key) {
                        list.push(Bound {
                            candidate: candidate.clone(),
                            via,
                            redirects: false,
                        });
                    }
                }
            }
        }
        let mut names = Self::default();
        for (name, bound) in bound {
            let acting = acting(cx, servers, &name, bound);
            let keys = acting.iter().map(|one| one.candidate.object.key.clone());
            names.0.insert(name, keys.collect());
        }
        names
    }

    /// Whether an object's rules for a name count.
    pub(super) fn let_claim(&self, name: &Domain, object: &ObjectKey) -> bool {
        self.0.get(name).is_some_and(|keys| keys.contains(object))
    }
}
