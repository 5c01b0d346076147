//! Changes of the inputs, and what each of them concerns.

use std::sync::Arc;

use mesh_api::workload::WorkloadId;

use super::change::{Affected, Change};
use super::kept::{Before, Kept};
use super::service::{Service, entry as service_entry, kubernetes};
use super::workload::identity::topology;
use super::workload::{WorkloadInfo, entry as workload_entry, pod};
use super::{Catalog, World};
use crate::crd::object::Resource;
use crate::crd::{Kind, Object, Selects};
use crate::meta::ObjectKey;

impl World {
    /// Takes in a batch of changes and says what they may have altered.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Affected {
        self.take(changes, None)
    }

    /// As [`World::apply`], in the light of what another replica keeps, or this one kept before it
    /// was started again.
    pub fn take(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
        kept: Option<&Kept>,
    ) -> Affected {
        let before = Before::of(self);
        let known = Arc::clone(&self.kept);
        if let Some(kept) = kept {
            Arc::make_mut(&mut self.kept).join_routes(kept);
        }
        let mut affected = Affected::default();
        for change in changes {
            affected.config |= self.unreadable_policies.remove(change.key()).is_some();
            match change {
                Change::Applied(object) => self.set(object, &mut affected),
                Change::Removed(key) => self.remove(&key, &mut affected),
                Change::Refused(key, selects) => self.unreadable(key, selects, &mut affected),
            }
        }
        if affected.config || kept.is_some() {
            self.settle(&before);
            affected.config |= !self.kept.same_routes(&known);
        }
        if !affected.is_empty() {
            self.generation += 1;
        }
        affected
    }

    fn set(&mut self, object: Object, affected: &mut Affected) {
        match object {
            Object::VirtualService(object) => put(&mut self.virtual_services, &object, affected),
            Object::DestinationRule(object) => put(&mut self.destination_rules, &object, affected),
            Object::Gateway(object) => put(&mut self.gateways, &object, affected),
            Object::Sidecar(object) => put(&mut self.sidecars, &object, affected),
            Object::PeerAuthentication(object) => {
                put(&mut self.peer_authentications, &object, affected);
            }
            Object::RequestAuthentication(object) => {
                put(&mut self.request_authentications, &object, affected);
            }
            Object::AuthorizationPolicy(object) => {
                put(&mut self.authorization_policies, &object, affected);
            }
            Object::Telemetry(object) => put(&mut self.telemetries, &object, affected),
            Object::ServiceEntry(object) => {
                let services = service_entry::services(&object, &self.settings);
                self.replace_services(&object.key, services, affected);
            }
            Object::Service(object) => {
                let service = kubernetes::service(&object, &self.settings);
                self.replace_services(&object.key, vec![service], affected);
            }
            Object::EndpointSlice(object) => {
                let key = object.key.clone();
                self.replace_slice(&key, Some(object), affected);
            }
            Object::Pod(object) => {
                let node = object.spec.node_name.as_deref();
                let node = node.and_then(|node| self.nodes.get(node));
                let info = pod::workload(&object, &self.settings.cluster_id, node);
                self.replace_workload(&object.key, Some(info), affected);
            }
            Object::WorkloadEntry(object) => {
                let info = workload_entry::workload(
                    &workload_id(&object.key),
                    &object.spec,
                    &self.settings.cluster_id,
                );
                self.replace_workload(&object.key, Some(info), affected);
            }
            Object::Node(object) => {
                let labels = &object.meta.labels;
                let place = topology(|key| labels.get(key).map(String::as_str));
                self.place_node(object.name(), Some(&place), affected);
            }
            Object::EnvoyFilter(object) => put(&mut self.envoy_filters, &object, affected),
            Object::WasmPlugin(object) => put(&mut self.wasm_plugins, &object, affected),
            Object::TrafficExtension(object) => {
                put(&mut self.traffic_extensions, &object, affected);
            }
            Object::WorkloadGroup(_) | Object::ProxyConfig(_) => {
                affected.config |= self.not_acted_on.insert(object.key().clone());
            }
            // Nothing that is compiled depends on a namespace's own object yet.
            Object::Namespace(_) => {}
        }
    }

    fn remove(&mut self, key: &ObjectKey, affected: &mut Affected) {
        match key.kind {
            Kind::VirtualService => take(&mut self.virtual_services, key, affected),
            Kind::DestinationRule => take(&mut self.destination_rules, key, affected),
            Kind::Gateway => take(&mut self.gateways, key, affected),
            Kind::Sidecar => take(&mut self.sidecars, key, affected),
            Kind::PeerAuthentication => take(&mut self.peer_authentications, key, affected),
            Kind::RequestAuthentication => take(&mut self.request_authentications, key, affected),
            Kind::AuthorizationPolicy => take(&mut self.authorization_policies, key, affected),
            Kind::Telemetry => take(&mut self.telemetries, key, affected),
            Kind::ServiceEntry | Kind::Service => {
                self.replace_services(key, Vec::new(), affected);
            }
            Kind::EndpointSlice => self.replace_slice(key, None, affected),
            Kind::Pod | Kind::WorkloadEntry => self.replace_workload(key, None, affected),
            Kind::Node => self.place_node(&key.name, None, affected),
            Kind::EnvoyFilter => take(&mut self.envoy_filters, key, affected),
            Kind::WasmPlugin => take(&mut self.wasm_plugins, key, affected),
            Kind::TrafficExtension => take(&mut self.traffic_extensions, key, affected),
            Kind::WorkloadGroup | Kind::ProxyConfig => {
                affected.config |= self.not_acted_on.remove(key);
            }
            Kind::Namespace => {}
        }
    }

    /// Only policies need to be remembered: a route that was never read routes nothing.
    fn unreadable(&mut self, key: ObjectKey, selects: Selects, affected: &mut Affected) {
        if key.kind.is_guard() {
            self.unreadable_policies.insert(key, selects);
            affected.config = true;
        }
    }

    pub(super) fn replace_services(
        &mut self,
        key: &ObjectKey,
        services: Vec<Service>,
        affected: &mut Affected,
    ) {
        let replaced = Arc::make_mut(&mut self.services).replace(key, services);
        affected.config |= !replaced.is_empty();
        affected.endpoints.extend(replaced.endpoint_sets());
    }

    fn replace_slice(
        &mut self,
        key: &ObjectKey,
        slice: Option<Arc<Resource<crate::crd::kubernetes::KubeEndpointSlice>>>,
        affected: &mut Affected,
    ) {
        for (namespace, name) in Arc::make_mut(&mut self.slices).replace(key, slice) {
            let host = super::host::service_host(&name, &namespace, &self.settings.cluster_domain);
            // What service entries declare for the host has no slices.
            let claims = self.services.claims(&host).iter();
            for service in claims.filter(|service| service.is_kubernetes) {
                affected.endpoints.extend(service.endpoint_sets());
            }
        }
    }

    pub(super) fn replace_workload(
        &mut self,
        key: &ObjectKey,
        info: Option<WorkloadInfo>,
        affected: &mut Affected,
    ) {
        let id = workload_id(key);
        let is_pod = key.kind == Kind::Pod;
        let info = info.map(Arc::new);
        let former =
            Arc::make_mut(&mut self.workloads).replace(&id, is_pod, info.as_ref().map(Arc::clone));
        if former == info {
            return;
        }
        let forms: Vec<&Arc<WorkloadInfo>> = former.iter().chain(info.iter()).collect();
        for form in &forms {
            affected.addresses.extend(form.addresses.iter().copied());
        }
        let local = self
            .services
            .iter()
            .filter(|service| service.namespace() == &*id.namespace);
        for service in local {
            let selected = forms
                .iter()
                .any(|form| service.selects(&id.namespace, &form.labels));
            if selected || self.names_workload(service, &forms) {
                // Where there are slices, those tell the addresses.
                affected.config |=
                    service.is_met_at_its_workloads() && self.slices_of(service).is_none();
                affected.endpoints.extend(service.endpoint_sets());
            }
        }
        affected.workloads.insert(id);
    }

    /// Whether a slice of the service leads to one of these forms of a workload.
    fn names_workload(&self, service: &Service, forms: &[&Arc<WorkloadInfo>]) -> bool {
        let Some(slices) = self.slices_of(service) else {
            return false;
        };
        slices
            .flat_map(|slice| &slice.spec.endpoints)
            .any(|endpoint| {
                forms.iter().any(|form| {
                    let named = endpoint
                        .target
                        .as_ref()
                        .is_some_and(|target| *target.name == *form.id.name);
                    named
                        || endpoint.addresses.iter().any(|address| {
                            address
                                .parse()
                                .is_ok_and(|address| form.addresses.contains(&address))
                        })
                })
            })
    }
}

fn put<T: Clone + PartialEq>(
    catalog: &mut Arc<Catalog<T>>,
    object: &Arc<Resource<T>>,
    affected: &mut Affected,
) {
    affected.config |= Arc::make_mut(catalog).set(object);
}

fn take<T: Clone>(catalog: &mut Arc<Catalog<T>>, key: &ObjectKey, affected: &mut Affected) {
    affected.config |= Arc::make_mut(catalog).remove(key);
}

fn workload_id(key: &ObjectKey) -> WorkloadId {
    WorkloadId {
        namespace: Arc::from(key.namespace.as_str()),
        name: Arc::from(key.name.as_str()),
    }
}
