//! A Kubernetes pod as a workload.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::units::Port;
use mesh_api::workload::{Labels, WorkloadId};

use super::identity::{PeerFacts, locality_of_labels, speaks_mesh_tls};
use super::{Readiness, WorkloadInfo, labels_of};
use crate::crd::kubernetes::KubePod;
use crate::crd::object::Resource;

/// The workload a pod is.
pub fn workload(pod: &Resource<KubePod>, cluster: &Arc<str>) -> WorkloadInfo {
    let labels = labels_of(&pod.meta.labels);
    let id = WorkloadId {
        namespace: Arc::from(pod.namespace()),
        name: Arc::from(pod.name()),
    };
    let peer = PeerFacts {
        workload: workload_name(pod.name(), &labels),
        namespace: &id.namespace,
        service_account: &pod.spec.service_account,
        labels: &labels,
        cluster,
    }
    .peer();
    WorkloadInfo {
        is_pod: true,
        addresses: addresses(&pod.spec),
        dns_name: None,
        locality: locality_of_labels(&labels),
        network: labels
            .get("topology.istio.io/network")
            .cloned()
            .unwrap_or_default(),
        weight: 1,
        peer,
        mesh_tls: speaks_mesh_tls(&labels),
        ports: named_ports(&pod.spec),
        readiness: readiness(&pod.spec),
        labels,
        id,
    }
}

fn addresses(pod: &KubePod) -> Vec<IpAddr> {
    // A pod on its node's network shares the node's address with others.
    if pod.host_network {
        return Vec::new();
    }
    pod.ips.iter().filter_map(|ip| ip.parse().ok()).collect()
}

fn named_ports(pod: &KubePod) -> BTreeMap<Arc<str>, Port> {
    let mut ports = BTreeMap::new();
    for port in pod.ports.iter().filter(|port| !port.name.is_empty()) {
        if let Some(number) = Port::new(port.port) {
            ports.entry(Arc::from(port.name.as_str())).or_insert(number);
        }
    }
    ports
}

fn readiness(pod: &KubePod) -> Readiness {
    if pod.ended {
        Readiness::Gone
    } else if pod.terminating {
        Readiness::Terminating
    } else if pod.ready {
        Readiness::Ready
    } else {
        Readiness::NotReady
    }
}

/// The name of what the pod belongs to, told from the labels its owner puts on it: the
/// Deployment rather than the ReplicaSet in between, the StatefulSet, the DaemonSet. A pod
/// without an owner is its own workload.
fn workload_name<'a>(name: &'a str, labels: &Labels) -> &'a str {
    let label = |key: &str| labels.get(key).map(|value| &**value);
    let without_last = name.rsplit_once('-').map(|(rest, _)| rest);
    let owner = if let Some(hash) = label("pod-template-hash") {
        without_last.and_then(|rest| rest.strip_suffix(hash)?.strip_suffix('-'))
    } else if label("statefulset.kubernetes.io/pod-name").is_some()
        || label("controller-revision-hash").is_some()
    {
        without_last
    } else {
        None
    };
    owner.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_named_after_its_owner() {
        let name = |name, labels: &[(&str, &str)]| {
            let labels = labels
                .iter()
                .map(|(key, value)| (Arc::from(*key), Arc::from(*value)))
                .collect();
            workload_name(name, &labels)
        };
        let hash = [("pod-template-hash", "5d9c")];
        assert_eq!(name("backend-v1-5d9c-x2x", &hash), "backend-v1");
        assert_eq!(name("backend-v1", &hash), "backend-v1");
        assert_eq!(name("backend-v1", &[("app", "backend")]), "backend-v1");
        assert_eq!(
            name("db-0", &[("statefulset.kubernetes.io/pod-name", "db-0")]),
            "db"
        );
        assert_eq!(
            name("log-x7k2p", &[("controller-revision-hash", "1")]),
            "log"
        );
    }
}
