//! Pods that start on a cluster, one by one and many at once, with and without a sidecar. How long
//! that takes depends on the machine and is reported; that nobody is warned of a healthy start is
//! claimed.

use std::path::PathBuf;

use super::Tell;
use super::findings::Findings;
use crate::cluster::{Cluster, Compared, Stage, StartsPlan, compare};

/// How much of it, and where.
#[derive(Debug, Clone)]
pub struct PodStartsPlan {
    /// The cluster's kubeconfig file.
    pub kubeconfig: PathBuf,
    /// The `kubectl` to use.
    pub kubectl: PathBuf,
    /// How many pods at once, one table each.
    pub pods: Vec<usize>,
    /// How often each number.
    pub rounds: usize,
}

/// Measures.
pub async fn pod_starts(plan: PodStartsPlan, tell: Tell<'_>) -> anyhow::Result<Findings> {
    let cluster = Cluster::at(plan.kubeconfig, plan.kubectl).await;
    let image = cluster.shop_image()?;
    let mut findings = Findings::new("pod-starts");
    let mut table: Vec<String> = Vec::new();
    for pods in plan.pods {
        tell(&format!("{pods} at once, {} times", plan.rounds));
        let plan = StartsPlan {
            pods,
            rounds: plan.rounds,
            image: image.clone(),
        };
        let compared = compare(&cluster, &plan).await?;
        table.extend(compared.to_string().lines().map(str::to_owned));
        judge(&mut findings, &compared, pods * plan.rounds);
    }
    findings.note("starts", table);
    Ok(findings)
}

fn judge(findings: &mut Findings, compared: &Compared, all: usize) {
    let ready = compared.meshed.count(Stage::Ready);
    findings.claim(
        ready == all,
        format!("{ready} of {all} pods with a sidecar became ready"),
    );
    let warnings = &compared.meshed.warnings;
    findings.claim(
        warnings.is_empty(),
        format!("no warning of a healthy start: {warnings:?}"),
    );
}
