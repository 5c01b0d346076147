//! How far a proxy has got with its configuration, as the control plane reports it.

use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use super::{Mesh, wait_until};

/// How long a change may take to reach a proxy before that is an error.
const DEADLINE: Duration = Duration::from_secs(10);

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

    /// One proxy, by its workload's name.
    pub async fn sync_of(&self, workload: &str) -> anyhow::Result<ProxySync> {
        let found = self.proxies().await?.into_iter().find(|proxy| {
            proxy
                .proxy
                .rsplit_once('/')
                .is_some_and(|(_namespace, name)| name == workload)
        });
        found.with_context(|| format!("{workload} is not connected to the control plane"))
    }

    /// Waits until a proxy has acknowledged something newer than `before`.
    ///
    /// Take `before` ahead of the write whose effect is waited for.
    pub async fn wait_applied(&self, before: &ProxySync) -> anyhow::Result<ProxySync> {
        let workload = before
            .proxy
            .rsplit_once('/')
            .map_or("", |(_namespace, name)| name);
        wait_until(
            &format!("{workload} to apply a change"),
            DEADLINE,
            async || {
                let now = self.sync_of(workload).await?;
                let newer = now.desired_version != before.desired_version;
                Ok((newer && now.state == "SYNCED").then_some(now))
            },
        )
        .await
    }

    /// Waits until every connected proxy, at least `count` of them, has what it should have.
    pub async fn wait_synced(&self, count: usize) -> anyhow::Result<()> {
        wait_until("all proxies to be in step", DEADLINE, async || {
            let proxies = self.proxies().await?;
            let behind: Vec<&ProxySync> = proxies
                .iter()
                .filter(|proxy| proxy.state != "SYNCED")
                .collect();
            anyhow::ensure!(proxies.len() >= count, "{} connected", proxies.len());
            anyhow::ensure!(behind.is_empty(), "behind: {behind:?}");
            Ok(Some(()))
        })
        .await
    }
}
