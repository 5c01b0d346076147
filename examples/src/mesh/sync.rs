//! How far a proxy has got with its configuration, as the control plane reports it.

use anyhow::Context as _;
use serde::Deserialize;

use super::Mesh;

/// One proxy's line of `/debug/syncz`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxySync {
    /// `NAMESPACE/NAME` of the workload.
    pub proxy: String,
    /// `SYNCED` once the newest configuration is acknowledged.
    pub state: String,
    /// Hash of the configuration it should have.
    pub desired_version: Option<String>,
    /// Pushes sent on its present stream.
    pub pushes: u64,
    /// Resources sent on its present stream.
    pub resources_sent: u64,
    /// Removals sent on its present stream.
    pub removals_sent: u64,
    /// Pushes acknowledged.
    pub acks: u64,
    /// Pushes refused.
    pub nacks: u64,
}

impl Mesh {
    /// All connected proxies.
    pub async fn proxies(&self) -> anyhow::Result<Vec<ProxySync>> {
        let page = self.control_plane("/debug/syncz").await?;
        page.expect_ok()?;
        serde_json::from_str(&page.body).with_context(|| format!("/debug/syncz: {}", page.body))
    }
}
