//! What all runs share: the YAML they add to the shop, and the questions they ask control plane
//! and proxies.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

use super::versions::{SEEN, VERSION, subset_of};
use crate::load::Plan;
use crate::mesh::{Mesh, wait_until};

/// The host of the versioned route.
pub(super) const HOST: &str = "soak.example.com";

/// The ingress gateway, as the harness and as the control plane name it.
pub(super) const GATEWAY: &str = "istio-ingressgateway-1";
pub(super) const GATEWAY_WORKLOAD: &str = "istio-system/istio-ingressgateway-1";

/// The proxies of a mesh.
pub(super) const PROXIES: [&str; 5] =
    [GATEWAY, "frontend-1", "backend-v1", "backend-v2", "store-1"];

/// The file that is rewritten for every version.
pub(super) const VERSION_FILE: &str = "soak-version.yaml";

/// How often a proxy has put a new configuration into force.
const APPLIED: &str = "proxy_config_applied_total";

/// How long anything asked of the mesh may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The door of the versioned route, and the subsets it chooses from.
pub(super) const STAGE: &str = "\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: soak
  namespace: shop
spec:
  selector:
    istio: ingressgateway
  servers:
    - port:
        number: 80
        name: http
        protocol: HTTP
      hosts:
        - soak.example.com
        - leaving.example.com
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: backend
  namespace: shop
spec:
  host: backend
  subsets:
    - name: v1
      labels:
        version: v1
    - name: v2
      labels:
        version: v2
";

/// One version of the route, choosing a subset of the backend by its number.
pub(super) fn version_yaml(number: u64) -> String {
    route_yaml(number, "backend", Some(subset_of(number)))
}

/// One version of the route. Nothing is ever tried twice.
pub(super) fn route_yaml(number: u64, host: &str, subset: Option<&str>) -> String {
    let mut text = format!(
        "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: soak
  namespace: shop
spec:
  hosts:
    - {HOST}
  gateways:
    - soak
  http:
    - name: version
      retries:
        attempts: 0
      headers:
        request:
          set:
            {SEEN}: \"{number}\"
        response:
          set:
            {VERSION}: \"{number}\"
      route:
        - destination:
            host: {host}
            port:
              number: 8080
"
    );
    if let Some(subset) = subset {
        // Writing to a String cannot fail.
        let _written = writeln!(text, "            subset: {subset}");
    }
    text
}

/// Requests for the versioned route that the backend answers with what it saw.
pub(super) fn version_plan(mesh: &Mesh) -> Plan {
    Plan::new(mesh.gateway(), HOST, "/echo")
}

/// One proxy on the control plane's `/debug/syncz`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Synced {
    pub(super) proxy: String,
    pub(super) state: String,
    pub(super) resources_sent: u64,
    pub(super) removals_sent: u64,
    pub(super) nacks: u64,
    pub(super) refused: Vec<Refused>,
}

/// A resource that a proxy refused.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Refused {
    pub(super) resource: String,
    pub(super) field: String,
    pub(super) reason: String,
}

/// The connected proxies by workload; of several streams of one the newest.
pub(super) async fn syncz(mesh: &Mesh) -> anyhow::Result<BTreeMap<String, Synced>> {
    let page = mesh.control_plane("/debug/syncz").await?;
    page.expect_ok().context("/debug/syncz")?;
    let lines: Vec<Synced> = serde_json::from_str(&page.body)
        .with_context(|| format!("/debug/syncz is not what it was: {}", page.body))?;
    Ok(lines
        .into_iter()
        .map(|line| (line.proxy.clone(), line))
        .collect())
}

/// Waits until all proxies are connected and have what they should have.
pub(super) async fn all_synced(mesh: &Mesh) -> anyhow::Result<BTreeMap<String, Synced>> {
    let mut last = String::new();
    let synced = wait_until("all proxies to be synced", PATIENCE, async || {
        let lines = syncz(mesh).await?;
        last = lines
            .values()
            .map(|line| format!("{} {}", line.proxy, line.state))
            .collect::<Vec<_>>()
            .join(", ");
        let all = lines.len() == PROXIES.len() && lines.values().all(|line| line.state == "SYNCED");
        Ok(all.then_some(lines))
    })
    .await;
    synced.with_context(|| format!("last seen: {last}"))
}

/// How often a proxy has put a new configuration into force.
pub(super) async fn applied(mesh: &Mesh, proxy: &str) -> anyhow::Result<u64> {
    let metrics = mesh.metrics(proxy).await?;
    anyhow::ensure!(
        metrics.has(APPLIED, &[]),
        "{proxy} does not export {APPLIED}"
    );
    Ok(whole(metrics.sum(APPLIED, &[])))
}

/// The same for every proxy.
pub(super) async fn all_applied(mesh: &Mesh) -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let mut counts = BTreeMap::new();
    for proxy in PROXIES {
        counts.insert(proxy, applied(mesh, proxy).await?);
    }
    Ok(counts)
}

/// Waits until no proxy has applied anything for a while.
pub(super) async fn settled(mesh: &Mesh) -> anyhow::Result<BTreeMap<&'static str, u64>> {
    let mut before = all_applied(mesh).await?;
    wait_until("the configuration to settle", PATIENCE, async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = all_applied(mesh).await?;
        let same = now == before;
        before.clone_from(&now);
        Ok(same.then_some(now))
    })
    .await
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters are whole, positive and far below 2^53"
)]
fn whole(count: f64) -> u64 {
    count.round() as u64
}

/// Adds to an error what the processes said last.
pub(super) fn with_logs<T>(outcome: anyhow::Result<T>, mesh: &Mesh) -> anyhow::Result<T> {
    outcome.map_err(|error| anyhow::anyhow!("{error:#}\n{}", mesh.logs()))
}
