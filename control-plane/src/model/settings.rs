//! What the whole mesh is told once, at start.

use std::sync::Arc;

use mesh_api::listener::UnmatchedTraffic;

/// Settings of the mesh that the compiler reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshSettings {
    /// The domain behind `svc` in the full name of a Kubernetes service.
    pub cluster_domain: Arc<str>,
    /// Where mesh-wide objects stand.
    pub root_namespace: Arc<str>,
    /// The name of this Kubernetes cluster, for telemetry.
    pub cluster_id: Arc<str>,
    /// What sidecars do with destinations nobody declared, unless a `Sidecar` says otherwise.
    pub outbound_traffic: UnmatchedTraffic,
}

impl Default for MeshSettings {
    fn default() -> Self {
        Self {
            cluster_domain: Arc::from("cluster.local"),
            root_namespace: Arc::from("istio-system"),
            cluster_id: Arc::from("Kubernetes"),
            outbound_traffic: UnmatchedTraffic::Passthrough,
        }
    }
}
