//! A `WorkloadEntry` as a workload.

use std::sync::Arc;

use mesh_api::units::Port;
use mesh_api::workload::WorkloadId;

use super::identity::{PeerFacts, locality_of_labels, parse_locality, speaks_mesh_tls};
use super::{Readiness, WorkloadInfo, labels_of};
use crate::crd::workload_entry::WorkloadEntrySpec;

/// The workload an entry describes, on its own or among the endpoints of a `ServiceEntry`.
pub fn workload(id: &WorkloadId, spec: &WorkloadEntrySpec, cluster: &Arc<str>) -> WorkloadInfo {
    let labels = labels_of(&spec.labels);
    let peer = PeerFacts {
        workload: &id.name,
        namespace: &id.namespace,
        service_account: spec.service_account.as_deref().unwrap_or("default"),
        labels: &labels,
        cluster,
    }
    .peer();
    let address = spec.address.as_deref().unwrap_or_default();
    let addresses: Vec<_> = address.parse().into_iter().collect();
    let is_name = addresses.is_empty() && !address.is_empty() && !address.starts_with("unix:");
    WorkloadInfo {
        id: id.clone(),
        is_pod: false,
        addresses,
        dns_name: is_name.then(|| Arc::from(address.to_ascii_lowercase())),
        locality: spec
            .locality
            .as_deref()
            .map_or_else(|| locality_of_labels(&labels, None), parse_locality),
        network: spec.network.as_deref().unwrap_or_default().into(),
        weight: spec.weight.unwrap_or(1).max(1),
        peer,
        mesh_tls: speaks_mesh_tls(&labels),
        ports: spec
            .ports
            .iter()
            .filter_map(|(name, port)| Some((Arc::from(name.as_str()), Port::new(*port)?)))
            .collect(),
        readiness: Readiness::Ready,
        uid: None,
        node: None,
        labels,
    }
}
