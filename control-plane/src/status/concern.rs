//! Which proxies an object is meant for.
//!
//! What is routed is asked of the compiler, which notes what makes a difference to whom
//! ([`Uses`]); policies are asked whom they select. Proxies are asked about in groups: all that
//! are one kind of client to the compiler, and alike in every label that any policy selects by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::workload::Labels;

use crate::compile::scope::{Client, selector_keys};
use crate::compile::{ProxyRole, ProxyScope, Uses};
use crate::crd::{Kind, Object};
use crate::meta::ObjectKey;
use crate::model::visibility::Visibility;
use crate::model::workload::{pairs, selects};
use crate::model::{World, host};

/// What of a proxy decides which objects concern it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// What the part of its configuration that it shares with others depends on.
    client: Client,
    /// Its labels by which policies select.
    labels: Labels,
}

/// How proxies are told apart.
#[derive(Clone, Debug)]
pub struct Keys<'a> {
    compiled: BTreeSet<Arc<str>>,
    selecting: &'a BTreeSet<String>,
}

impl<'a> Keys<'a> {
    /// By what the compiler tells them apart by, and by these labels.
    pub fn of(world: &World, selecting: &'a BTreeSet<String>) -> Self {
        Self {
            compiled: selector_keys(world),
            selecting,
        }
    }

    /// The group of a proxy.
    pub fn group(&self, scope: &ProxyScope) -> Group {
        let labels = scope.workload.labels.iter();
        Group {
            client: Client::of(scope, &self.compiled),
            labels: labels
                .filter(|(key, _)| self.selecting.contains(&***key))
                .map(|(key, value)| (Arc::clone(key), Arc::clone(value)))
                .collect(),
        }
    }
}

impl Group {
    /// Whether sidecars are told of a Service of Kubernetes, which the compiler does not note.
    fn is_told_of(&self, world: &World, object: &ObjectKey) -> bool {
        if object.kind != Kind::Service || self.client.role != ProxyRole::Sidecar {
            return false;
        }
        let domain = &world.settings().cluster_domain;
        let host = host::service_host(&object.name, &object.namespace, domain);
        let viewer = self.client.viewer(world);
        viewer.service(world, &host).is_some()
    }

    /// The objects that make a difference to these proxies.
    pub fn used(&self, world: &World, uses: &Uses) -> Arc<BTreeSet<ObjectKey>> {
        uses.of(world, &self.client)
    }
}

/// Some proxies: those of a role, in some namespaces, with some labels.
#[derive(Clone, Debug)]
struct Target {
    role: Option<ProxyRole>,
    namespaces: Visibility,
    labels: BTreeMap<String, String>,
}

impl Target {
    fn covers(&self, group: &Group) -> bool {
        self.role.is_none_or(|role| role == group.client.role)
            && self.namespaces.includes(&group.client.namespace)
            && selects(pairs(&self.labels), &group.labels)
    }
}

/// The proxies an object is meant for.
#[derive(Clone, Debug)]
pub enum Concern {
    /// Those to which any of these objects makes a difference, as the compiler notes it.
    Used(BTreeSet<ObjectKey>),
    /// Those that are selected.
    Selected(Selection),
}

/// Proxies by role, namespace and labels.
#[derive(Clone, Debug, Default)]
pub struct Selection(Vec<Target>);

impl Default for Concern {
    fn default() -> Self {
        Self::Selected(Selection::default())
    }
}

impl Concern {
    /// The proxies an object of this world is meant for.
    pub fn of(world: &World, object: &Object) -> Self {
        let targets = match object {
            Object::VirtualService(_)
            | Object::DestinationRule(_)
            | Object::Gateway(_)
            | Object::ServiceEntry(_)
            | Object::Sidecar(_) => return Self::Used(BTreeSet::from([object.key().clone()])),
            Object::WorkloadEntry(one) => return Self::Used(services_of(world, &one.key)),
            Object::PeerAuthentication(one) => {
                let selector = one.spec.selector.as_ref();
                let labels = selector.map(|selector| selector.match_labels.clone());
                let labels = labels.unwrap_or_default();
                match (in_root(world, &one.key), labels.is_empty()) {
                    // One with a selector in the root namespace is for nobody.
                    (true, false) => Vec::new(),
                    (root, _) => selected(Some(ProxyRole::Sidecar), reach(root, &one.key), &labels),
                }
            }
            Object::RequestAuthentication(one) => {
                let attached = one.spec.target_ref.is_some() || !one.spec.target_refs.is_empty();
                policy(world, &one.key, one.spec.selector.as_ref(), attached)
            }
            Object::AuthorizationPolicy(one) => {
                let attached = one.spec.target_ref.is_some() || !one.spec.target_refs.is_empty();
                policy(world, &one.key, one.spec.selector.as_ref(), attached)
            }
            Object::Telemetry(one) => {
                let attached = one.spec.target_ref.is_some() || !one.spec.target_refs.is_empty();
                policy(world, &one.key, one.spec.selector.as_ref(), attached)
            }
            // No proxy acts on these, or they are not objects of the mesh.
            Object::WorkloadGroup(_)
            | Object::ProxyConfig(_)
            | Object::EnvoyFilter(_)
            | Object::WasmPlugin(_)
            | Object::TrafficExtension(_)
            | Object::Service(_)
            | Object::EndpointSlice(_)
            | Object::Pod(_)
            | Object::Node(_)
            | Object::Namespace(_) => Vec::new(),
        };
        Self::Selected(Selection(targets))
    }

    /// Whether proxies of this group, which use these objects, are among them.
    pub fn covers(&self, world: &World, group: &Group, used: &BTreeSet<ObjectKey>) -> bool {
        match self {
            Self::Used(objects) => objects
                .iter()
                .any(|object| used.contains(object) || group.is_told_of(world, object)),
            Self::Selected(Selection(targets)) => targets.iter().any(|one| one.covers(group)),
        }
    }

    /// The labels by which it selects.
    pub fn label_keys(&self) -> impl Iterator<Item = &String> {
        let targets = match self {
            Self::Used(_) => &[][..],
            Self::Selected(Selection(targets)) => targets.as_slice(),
        };
        targets.iter().flat_map(|target| target.labels.keys())
    }
}

fn selected(
    role: Option<ProxyRole>,
    namespaces: Visibility,
    labels: &BTreeMap<String, String>,
) -> Vec<Target> {
    vec![Target {
        role,
        namespaces,
        labels: labels.clone(),
    }]
}

fn only(key: &ObjectKey) -> Visibility {
    Visibility::Namespaces(BTreeSet::from([Arc::from(key.namespace.as_str())]))
}

fn reach(everywhere: bool, key: &ObjectKey) -> Visibility {
    if everywhere {
        Visibility::Public
    } else {
        only(key)
    }
}

fn in_root(world: &World, key: &ObjectKey) -> bool {
    *key.namespace == *world.settings().root_namespace
}

fn policy(
    world: &World,
    key: &ObjectKey,
    selector: Option<&crate::crd::selector::WorkloadSelector>,
    attached: bool,
) -> Vec<Target> {
    if attached {
        return Vec::new();
    }
    let labels = selector.map(|selector| selector.match_labels.clone());
    let namespaces = reach(in_root(world, key), key);
    selected(None, namespaces, &labels.unwrap_or_default())
}

/// The objects that declare the services a workload entry is an endpoint of.
fn services_of(world: &World, key: &ObjectKey) -> BTreeSet<ObjectKey> {
    let id = mesh_api::workload::WorkloadId {
        namespace: Arc::from(key.namespace.as_str()),
        name: Arc::from(key.name.as_str()),
    };
    let Some(workload) = world.workload(&id) else {
        return BTreeSet::new();
    };
    let services = world
        .services()
        .filter(|service| service.namespace() == key.namespace);
    services
        .flat_map(|service| &service.backings)
        .filter(|backing| backing.selects(&workload.labels))
        .map(|backing| backing.key.clone())
        .collect()
}

#[cfg(test)]
mod tests;
