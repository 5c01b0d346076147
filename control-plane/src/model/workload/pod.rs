//! A Kubernetes pod as a workload.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::units::Port;
use mesh_api::workload::{Labels, Locality, WorkloadId};

use super::identity::{PeerFacts, locality_of_labels, speaks_mesh_tls};
use super::{Readiness, WorkloadInfo, labels_of};
use crate::crd::kubernetes::{KubePod, Owner};
use crate::crd::object::Resource;

/// The workload a pod is. `node` is where its node stands, as far as that is known.
pub fn workload(
    pod: &Resource<KubePod>,
    cluster: &Arc<str>,
    node: Option<&Locality>,
) -> WorkloadInfo {
    let labels = labels_of(&pod.meta.labels);
    let id = WorkloadId {
        namespace: Arc::from(pod.namespace()),
        name: Arc::from(pod.name()),
    };
    let peer = PeerFacts {
        workload: &workload_name(pod.name(), &labels, pod.spec.owner.as_ref()),
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
        locality: locality_of_labels(&labels, node),
        network: labels
            .get("topology.istio.io/network")
            .cloned()
            .unwrap_or_default(),
        weight: 1,
        peer,
        mesh_tls: speaks_mesh_tls(&labels),
        ports: named_ports(&pod.spec),
        readiness: readiness(&pod.spec),
        uid: pod.spec.uid.as_deref().map(Arc::from),
        node: pod.spec.node_name.as_deref().map(Arc::from),
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

/// The name of what the pod belongs to: the Deployment rather than the ReplicaSet in between, the
/// CronJob rather than the Job. A pod nothing made is its own workload.
fn workload_name(name: &str, labels: &Labels, owner: Option<&Owner>) -> String {
    let hash = labels.get("pod-template-hash").map(|hash| &**hash);
    let found = match owner {
        Some(owner) => match (owner.kind.as_str(), hash) {
            ("ReplicaSet", Some(hash)) => {
                without_suffix(&owner.name, hash).or(Some(owner.name.as_str()))
            }
            ("Job", _) => Some(scheduled_by(&owner.name)),
            // A pod that stands in for one its node runs by itself.
            ("Node", _) => None,
            _ => Some(owner.name.as_str()),
        },
        None => told_from_labels(name, labels, hash),
    };
    found.unwrap_or(name).to_owned()
}

/// Objects from files seldom name an owner; the labels and the name its controller gave tell too.
fn told_from_labels<'a>(name: &'a str, labels: &Labels, hash: Option<&str>) -> Option<&'a str> {
    let without_last = name.rsplit_once('-').map(|(rest, _)| rest);
    if let Some(hash) = hash {
        return without_suffix(without_last?, hash);
    }
    let of_a_set = labels.contains_key("statefulset.kubernetes.io/pod-name")
        || labels.contains_key("controller-revision-hash");
    of_a_set.then_some(without_last?)
}

fn without_suffix<'a>(name: &'a str, hash: &str) -> Option<&'a str> {
    name.strip_suffix(hash)?.strip_suffix('-')
}

/// The CronJob of a Job whose name ends with the minute it was due, else the Job.
fn scheduled_by(job: &str) -> &str {
    match job.rsplit_once('-') {
        Some((cron, minute))
            if minute.len() >= 8 && minute.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            cron
        }
        Some(_) | None => job,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(key, value)| (Arc::from(*key), Arc::from(*value)))
            .collect()
    }

    #[test]
    fn a_pod_is_named_after_its_owner() {
        let named = |pod: &str, pairs: &[(&str, &str)], kind: &str, owner: &str| {
            let owner = Owner {
                kind: kind.to_owned(),
                name: owner.to_owned(),
            };
            workload_name(pod, &labels(pairs), Some(&owner))
        };
        let hash = [("pod-template-hash", "5d9c")];
        let of_deployment = named(
            "backend-v1-5d9c-x2x",
            &hash,
            "ReplicaSet",
            "backend-v1-5d9c",
        );
        assert_eq!(of_deployment, "backend-v1");
        // A long name was cut before its suffix was added, so only the owner knows it whole.
        let cut = named("a-very-lox2x", &hash, "ReplicaSet", "a-very-long-name-5d9c");
        assert_eq!(cut, "a-very-long-name");
        assert_eq!(named("db-0", &[], "StatefulSet", "db"), "db");
        assert_eq!(named("log-x7k2p", &[], "DaemonSet", "log"), "log");
        assert_eq!(named("once-abcde", &[], "Job", "once"), "once");
        assert_eq!(
            named("nightly-29123456-x", &[], "Job", "nightly-29123456"),
            "nightly"
        );
        assert_eq!(named("web-abcde", &[], "ReplicaSet", "web"), "web");
        assert_eq!(named("etcd-node1", &[], "Node", "node1"), "etcd-node1");
        assert_eq!(named("ci-run-1", &[], "Workflow", "ci-run"), "ci-run");
    }

    #[test]
    fn without_an_owner_labels_tell() {
        let name = |name, pairs: &[(&str, &str)]| workload_name(name, &labels(pairs), None);
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
