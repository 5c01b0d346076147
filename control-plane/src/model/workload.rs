//! Workloads: pods and workload entries, found by name and by address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::units::Port;
use mesh_api::workload::{Labels, Locality, Peer, WorkloadId};

pub mod entry;
pub mod identity;
pub mod pod;

/// What is known of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkloadInfo {
    /// Which pod or workload entry.
    pub id: WorkloadId,
    /// Whether it is a pod; a pod outdoes a workload entry of the same name.
    pub is_pod: bool,
    /// Where it is; the first one is the one its proxy listens on.
    pub addresses: Vec<IpAddr>,
    /// The name it is found under where `address` is not an IP address.
    pub dns_name: Option<Arc<str>>,
    /// Its labels.
    pub labels: Labels,
    /// Where it runs.
    pub locality: Locality,
    /// The network it is on; empty: this one.
    pub network: Arc<str>,
    /// Its share among its siblings; at least 1.
    pub weight: u32,
    /// What telemetry says about it.
    pub peer: Peer,
    /// Whether its proxy speaks mesh TLS.
    pub mesh_tls: bool,
    /// Its named ports (container ports of a pod, `ports` of a workload entry).
    pub ports: BTreeMap<Arc<str>, Port>,
    /// Whether it takes traffic.
    pub readiness: Readiness,
    /// Tells a pod from any other there ever was of the same name.
    pub uid: Option<Arc<str>>,
    /// The node it runs on.
    pub node: Option<Arc<str>>,
}

/// Whether a workload takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Readiness {
    /// It does.
    Ready,
    /// Not now.
    NotReady,
    /// It is being shut down.
    Terminating,
    /// It has ended.
    Gone,
}

/// All workloads.
#[derive(Clone, Debug, Default)]
pub struct WorkloadIndex {
    /// A pod and a workload entry may have the same name; the pod is asked first.
    by_id: BTreeMap<WorkloadId, BySource>,
    by_address: BTreeMap<IpAddr, Vec<Arc<WorkloadInfo>>>,
}

#[derive(Clone, Debug, Default)]
struct BySource {
    pod: Option<Arc<WorkloadInfo>>,
    entry: Option<Arc<WorkloadInfo>>,
}

impl WorkloadIndex {
    /// Puts a workload in the place of the one it had before (`None`: takes it away) and returns
    /// that former one.
    pub fn replace(
        &mut self,
        id: &WorkloadId,
        is_pod: bool,
        info: Option<Arc<WorkloadInfo>>,
    ) -> Option<Arc<WorkloadInfo>> {
        let places = self.by_id.entry(id.clone()).or_default();
        let place = if is_pod {
            &mut places.pod
        } else {
            &mut places.entry
        };
        let former = std::mem::replace(place, info.clone());
        if places.pod.is_none() && places.entry.is_none() {
            self.by_id.remove(id);
        }
        if let Some(former) = &former {
            for address in &former.addresses {
                if let Some(list) = self.by_address.get_mut(address) {
                    list.retain(|one| one.id != former.id || one.is_pod != is_pod);
                    if list.is_empty() {
                        self.by_address.remove(address);
                    }
                }
            }
        }
        if let Some(info) = info {
            for address in &info.addresses {
                let list = self.by_address.entry(*address).or_default();
                list.push(Arc::clone(&info));
                list.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
            }
        }
        former
    }

    /// A workload by name.
    pub fn find(&self, id: &WorkloadId) -> Option<&Arc<WorkloadInfo>> {
        let places = self.by_id.get(id)?;
        places.pod.as_ref().or(places.entry.as_ref())
    }

    /// The workload at an address: of several the one that takes traffic, a pod first.
    pub fn at(&self, address: IpAddr) -> Option<&Arc<WorkloadInfo>> {
        self.by_address.get(&address)?.first()
    }

    /// The workload of a namespace at an address, found as [`at`](Self::at) finds it.
    pub fn at_of(&self, namespace: &str, address: IpAddr) -> Option<&Arc<WorkloadInfo>> {
        let mut all = self.by_address.get(&address)?.iter();
        all.find(|one| *one.id.namespace == *namespace)
    }

    /// All workloads, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<WorkloadInfo>> {
        self.by_id
            .values()
            .filter_map(|places| places.pod.as_ref().or(places.entry.as_ref()))
    }

    /// Pods and workload entries of a namespace, by name.
    pub fn of_namespace<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<WorkloadInfo>> {
        let from = WorkloadId {
            namespace: Arc::from(namespace),
            name: Arc::from(""),
        };
        self.by_id
            .range(from..)
            .take_while(move |(id, _)| *id.namespace == *namespace)
            .flat_map(|(_, places)| places.pod.iter().chain(places.entry.iter()))
    }
}

fn sort_key(info: &WorkloadInfo) -> (u8, bool, &WorkloadId) {
    // An address of a pod that has ended may have been given to another one, and that of one
    // that is ending soon will be.
    let rank = match info.readiness {
        Readiness::Ready | Readiness::NotReady => 0,
        Readiness::Terminating => 1,
        Readiness::Gone => 2,
    };
    (rank, !info.is_pod, &info.id)
}

/// Whether `labels` carries every label of `selector`.
pub fn selects<'a>(
    selector: impl IntoIterator<Item = (&'a str, &'a str)>,
    labels: &Labels,
) -> bool {
    selector
        .into_iter()
        .all(|(key, value)| labels.get(key).is_some_and(|have| **have == *value))
}

/// A selector as pairs, for [`selects`].
pub fn pairs(selector: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    selector
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
}

/// Labels in the form the mesh shares them.
pub fn labels_of(labels: &BTreeMap<String, String>) -> Labels {
    labels
        .iter()
        .map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str())))
        .collect()
}
