//! Who runs where: the facts about a workload that routing and telemetry need.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::name::WorkloadName;

/// Labels of a pod or workload entry, in key order.
pub type Labels = BTreeMap<Arc<str>, Arc<str>>;

/// Which workload: `NAMESPACE/NAME` of a pod or `WorkloadEntry`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct WorkloadId {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name of the pod or entry.
    pub name: Arc<str>,
}

impl fmt::Display for WorkloadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl std::str::FromStr for WorkloadId {
    type Err = crate::name::InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self {
                    namespace: Arc::from(namespace),
                    name: Arc::from(name),
                })
            }
            _ => Err(crate::name::InvalidName {
                text: text.chars().take(200).collect(),
                reason: "expected NAMESPACE/NAME",
            }),
        }
    }
}

/// Region, zone and subzone; empty text where unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Locality {
    /// `topology.kubernetes.io/region`.
    pub region: Arc<str>,
    /// `topology.kubernetes.io/zone`.
    pub zone: Arc<str>,
    /// `topology.istio.io/subzone`.
    pub subzone: Arc<str>,
}

/// What the standard metrics say about one side of a request (Istio's standard labels).
///
/// Text is empty where a fact is not known; telemetry prints `unknown` then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Peer {
    /// The workload: the Deployment's name, not the pod's.
    pub workload: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its service account.
    pub service_account: Arc<str>,
    /// Label `app`.
    pub app: Arc<str>,
    /// Label `version`.
    pub version: Arc<str>,
    /// The Kubernetes cluster it runs in.
    pub cluster: Arc<str>,
    /// Label `service.istio.io/canonical-name`, else `app.kubernetes.io/name`, else `app`, else
    /// the workload's name.
    pub canonical_service: Arc<str>,
    /// Label `service.istio.io/canonical-revision`, else `app.kubernetes.io/version`, else
    /// `version`, else `latest`.
    pub canonical_revision: Arc<str>,
}

/// The workload behind an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Workload {
    /// The address it was asked for by.
    pub name: WorkloadName,
    /// Which pod or entry it is.
    pub id: WorkloadId,
    /// What telemetry says about it.
    pub peer: Peer,
    /// Where it runs.
    pub locality: Locality,
    /// Its labels.
    pub labels: Labels,
}

/// A service as telemetry names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ServiceIdentity {
    /// The full name: `destination_service`.
    pub host: Arc<str>,
    /// The short name: `destination_service_name`.
    pub name: Arc<str>,
    /// The namespace: `destination_service_namespace`.
    pub namespace: Arc<str>,
}
