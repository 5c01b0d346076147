//! EndpointSlices by the service they belong to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::crd::kubernetes::KubeEndpointSlice;
use crate::crd::object::Resource;
use crate::meta::ObjectKey;

/// Namespace and name of a Kubernetes Service.
pub type ServiceName = (Arc<str>, Arc<str>);

type Slices = BTreeMap<ObjectKey, Arc<Resource<KubeEndpointSlice>>>;

/// All slices.
#[derive(Clone, Debug, Default)]
pub struct SliceIndex {
    by_service: HashMap<ServiceName, Slices>,
    by_key: HashMap<ObjectKey, ServiceName>,
}

impl SliceIndex {
    /// Replaces one slice (`None`: takes it away) and returns the services concerned; none if
    /// nothing changed.
    pub fn replace(
        &mut self,
        key: &ObjectKey,
        slice: Option<Arc<Resource<KubeEndpointSlice>>>,
    ) -> Vec<ServiceName> {
        let belongs = slice.as_ref().and_then(|slice| {
            let service = slice.spec.service.as_deref()?;
            Some((Arc::from(slice.namespace()), Arc::from(service)))
        });
        let before = self.by_key.get(key).cloned();
        if before == belongs {
            let same = before.as_ref().is_none_or(|service| {
                let old = self.by_service.get(service).and_then(|list| list.get(key));
                old.map(|old| &old.spec) == slice.as_ref().map(|new| &new.spec)
            });
            if same {
                return Vec::new();
            }
        }
        if let Some(service) = &before {
            self.by_key.remove(key);
            if let Some(list) = self.by_service.get_mut(service) {
                list.remove(key);
                if list.is_empty() {
                    self.by_service.remove(service);
                }
            }
        }
        if let (Some(service), Some(slice)) = (&belongs, slice) {
            self.by_key.insert(key.clone(), service.clone());
            self.by_service
                .entry(service.clone())
                .or_default()
                .insert(key.clone(), slice);
        }
        let mut concerned: Vec<ServiceName> = before.into_iter().chain(belongs).collect();
        concerned.dedup();
        concerned
    }

    /// The namespaces slices are in, in no order and some several times.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.by_key.keys().map(|key| &*key.namespace)
    }

    /// The slices of a service; `None` if it has none at all.
    pub fn of_service(
        &self,
        namespace: &str,
        name: &str,
    ) -> Option<impl Iterator<Item = &Arc<Resource<KubeEndpointSlice>>>> {
        let service = (Arc::from(namespace), Arc::from(name));
        self.by_service.get(&service).map(BTreeMap::values)
    }
}
