//! What several of the cluster's tests need.

use std::time::Duration;

use examples::cluster::Cluster;
use serde_json::Value;

/// The shop's namespace.
pub(crate) const SHOP: &str = "shop";
/// Time for a pod to come up on a busy small machine.
pub(crate) const SOON: Duration = Duration::from_mins(1);

/// The shop, deployed as its README says, with a caller to send requests from. Leaves an existing
/// one as it is, but for routing rules.
pub(crate) fn shop(cluster: &Cluster) -> anyhow::Result<()> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shop/kubernetes");
    if cluster.kubectl(&["get", "namespace", SHOP]).is_err() {
        cluster.kubectl(&["create", "namespace", SHOP])?;
        cluster.kubectl(&["label", "namespace", SHOP, "istio-injection=enabled"])?;
    }
    cluster.kubectl(&["apply", "-k", folder])?;
    cluster.kubectl(&[
        "delete",
        "virtualservices,destinationrules",
        "--all",
        "-n",
        SHOP,
    ])?;
    for deployment in ["frontend", "backend-v1", "backend-v2", "store", "caller"] {
        cluster.rolled_out(SHOP, &format!("deployment/{deployment}"))?;
    }
    Ok(())
}

/// Sends load from the caller, through its sidecar, and returns the report.
pub(crate) fn load(cluster: &Cluster, flags: &[&str]) -> anyhow::Result<Value> {
    let mut command = vec!["/usr/local/bin/load", "-o", "json"];
    command.extend(flags);
    let output = cluster.run(
        &[
            &["exec", "-n", SHOP, "deploy/caller", "-c", "caller", "--"],
            command.as_slice(),
        ]
        .concat(),
        "",
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).map_err(|error| {
        anyhow::anyhow!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr))
    })
}

/// How many of the answers had this value, in percent of all.
pub(crate) fn share(report: &Value, value: &str) -> f64 {
    let count = |value: &Value| value.as_f64().unwrap_or_default();
    let shares = report.get("shares").and_then(Value::as_object);
    let all: f64 = shares
        .into_iter()
        .flatten()
        .map(|(_, one)| count(one))
        .sum();
    let one = shares
        .and_then(|shares| shares.get(value))
        .map_or(0.0, count);
    100.0 * one / all.max(1.0)
}

/// A count in a report.
pub(crate) fn number(report: &Value, field: &str) -> u64 {
    report
        .get(field)
        .and_then(Value::as_u64)
        .unwrap_or(u64::MAX)
}

/// The backend split between its two versions.
pub(crate) fn split(v1: u32, v2: u32) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: backend, namespace: {SHOP}}}
spec:
  host: backend
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: backend, namespace: {SHOP}}}
spec:
  hosts: [backend]
  http:
  - route:
    - destination: {{host: backend, subset: v1}}
      weight: {v1}
    - destination: {{host: backend, subset: v2}}
      weight: {v2}
"
    )
}

/// The shop's image, as the cluster knows it.
pub(crate) fn image(cluster: &Cluster) -> anyhow::Result<String> {
    shop(cluster)?;
    cluster.shop_image()
}
