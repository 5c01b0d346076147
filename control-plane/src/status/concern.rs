//! Which proxies an object is meant for. Pure.
//!
//! Proxies are asked about in groups: all that are of one role, in one namespace, and alike in
//! every label that any object selects by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::workload::Labels;

use crate::compile::routes::names_gateway;
use crate::compile::{ProxyRole, ProxyScope};
use crate::crd::Object;
use crate::crd::object::Resource;
use crate::crd::virtual_service::VirtualServiceSpec;
use crate::meta::ObjectKey;
use crate::model::visibility::Visibility;
use crate::model::workload::{pairs, selects};
use crate::model::{World, host};

/// What of a proxy decides which objects concern it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    role: ProxyRole,
    namespace: Arc<str>,
    labels: Labels,
}

impl Group {
    /// The group of a proxy, by the labels in `keys`.
    pub fn of(scope: &ProxyScope, keys: &BTreeSet<String>) -> Self {
        let labels = scope.workload.labels.iter();
        Self {
            role: scope.role,
            namespace: Arc::clone(&scope.workload.id.namespace),
            labels: labels
                .filter(|(key, _)| keys.contains(&***key))
                .map(|(key, value)| (Arc::clone(key), Arc::clone(value)))
                .collect(),
        }
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
        self.role.is_none_or(|role| role == group.role)
            && self.namespaces.includes(&group.namespace)
            && selects(pairs(&self.labels), &group.labels)
    }
}

/// The proxies an object is meant for.
#[derive(Clone, Debug, Default)]
pub struct Concern(Vec<Target>);

impl Concern {
    /// The proxies an object of this world is meant for.
    pub fn of(world: &World, object: &Object) -> Self {
        let targets = match object {
            Object::VirtualService(one) => virtual_service(world, one),
            Object::DestinationRule(one) => {
                let domain = &world.settings().cluster_domain;
                let host = host::resolve(&one.spec.host, one.namespace(), domain);
                let visibility = visibility(&one.spec.export_to, &one.key);
                let known = host.starts_with('*') || world.service(&host).is_some();
                match &one.spec.workload_selector {
                    _ if !known => Vec::new(),
                    Some(selector) => selected(None, only(&one.key), &selector.match_labels),
                    None => selected(None, visibility, &BTreeMap::new()),
                }
            }
            Object::Gateway(one) => {
                let role = Some(ProxyRole::Gateway);
                selected(role, Visibility::Public, &one.spec.selector)
            }
            Object::ServiceEntry(one) => {
                let visibility = visibility(&one.spec.export_to, &one.key);
                selected(None, visibility, &BTreeMap::new())
            }
            Object::Sidecar(one) => {
                let selector = one.spec.workload_selector.as_ref();
                let labels = selector.map(|selector| &selector.labels);
                let everywhere = labels.is_none() && in_root(world, &one.key);
                let namespaces = reach(everywhere, &one.key);
                let labels = labels.cloned().unwrap_or_default();
                selected(Some(ProxyRole::Sidecar), namespaces, &labels)
            }
            Object::WorkloadEntry(one) => workload_entry(world, &one.key),
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
        Self(targets)
    }

    /// Whether proxies of this group are among them.
    pub fn covers(&self, group: &Group) -> bool {
        self.0.iter().any(|target| target.covers(group))
    }

    /// The labels by which it selects.
    pub fn label_keys(&self) -> impl Iterator<Item = &String> {
        self.0.iter().flat_map(|target| target.labels.keys())
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

fn visibility(export_to: &[String], key: &ObjectKey) -> Visibility {
    let namespace = Arc::from(key.namespace.as_str());
    Visibility::parse(export_to.iter().map(String::as_str), &namespace)
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

fn virtual_service(world: &World, object: &Arc<Resource<VirtualServiceSpec>>) -> Vec<Target> {
    if !object.spec.hosts.is_empty() {
        return routed(world, object);
    }
    // A delegate is for whom those who delegate to it are.
    let delegates_here = |root: &&Arc<Resource<VirtualServiceSpec>>| {
        let mut delegates = root
            .spec
            .http
            .iter()
            .filter_map(|route| route.delegate.as_ref());
        delegates.any(|delegate| {
            let namespace = delegate.namespace.as_deref().unwrap_or(root.namespace());
            delegate.name == object.name() && namespace == object.namespace()
        })
    };
    let roots = world.virtual_services.iter().filter(delegates_here);
    roots.flat_map(|root| routed(world, root)).collect()
}

fn routed(world: &World, object: &Resource<VirtualServiceSpec>) -> Vec<Target> {
    let namespaces = visibility(&object.spec.export_to, &object.key);
    let of_matches = object.spec.http.iter().flat_map(|route| &route.matches);
    let named: BTreeSet<&String> = object
        .spec
        .gateways
        .iter()
        .chain(of_matches.flat_map(|one| &one.gateways))
        .collect();
    let mut targets = Vec::new();
    if object.spec.gateways.is_empty() || named.iter().any(|name| *name == "mesh") {
        let role = Some(ProxyRole::Sidecar);
        targets.extend(selected(role, namespaces.clone(), &BTreeMap::new()));
    }
    for written in named.into_iter().filter(|name| *name != "mesh") {
        let full = names_gateway(written, object.namespace());
        let gateway = world
            .gateways
            .iter()
            .find(|one| format!("{}/{}", one.namespace(), one.name()) == full);
        if let Some(gateway) = gateway {
            let role = Some(ProxyRole::Gateway);
            targets.extend(selected(role, namespaces.clone(), &gateway.spec.selector));
        }
    }
    targets
}

/// Whoever sees a service that a workload entry is an endpoint of.
fn workload_entry(world: &World, key: &ObjectKey) -> Vec<Target> {
    let id = mesh_api::workload::WorkloadId {
        namespace: Arc::from(key.namespace.as_str()),
        name: Arc::from(key.name.as_str()),
    };
    let Some(workload) = world.workload(&id) else {
        return Vec::new();
    };
    let services = world
        .services()
        .filter(|service| service.selects(&key.namespace, &workload.labels));
    services
        .flat_map(|service| selected(None, service.visibility.clone(), &BTreeMap::new()))
        .collect()
}

#[cfg(test)]
mod tests;
