//! The version of the cluster: that of its API server or of its oldest kubelet, whichever is less,
//! because a pod may land on any node.

use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, ListParams};
use mesh_kubernetes::client::{ApiFailure, within};

use crate::ClusterVersion;

/// Nodes in one answer.
const PAGE: u32 = 500;

/// Asks for the version.
pub(super) async fn version(client: &Client) -> Result<ClusterVersion, ApiFailure> {
    let told = within("read the API server's version", client.apiserver_version()).await?;
    let server = ClusterVersion::read(&told.major, &told.minor).unwrap_or_else(|| {
        tracing::warn!(
            major = told.major,
            minor = told.minor,
            "the API server has an unknown version; taking it for {}",
            ClusterVersion::CURRENT
        );
        ClusterVersion::CURRENT
    });
    let nodes: Api<Node> = Api::all(client.clone());
    let mut oldest = server;
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let answer = within("list nodes", nodes.list(&page)).await?;
        for node in &answer.items {
            if let Some(version) = kubelet(node) {
                oldest = oldest.min(version);
            }
        }
        match answer.metadata.continue_ {
            Some(next) if !next.is_empty() => page = page.continue_token(&next),
            _ => return Ok(oldest),
        }
    }
}

fn kubelet(node: &Node) -> Option<ClusterVersion> {
    let info = node.status.as_ref()?.node_info.as_ref()?;
    let mut parts = info.kubelet_version.trim_start_matches('v').split('.');
    ClusterVersion::read(parts.next()?, parts.next()?)
}
