//! Restarts workloads whose pods missed injection, when an operator says so: by the annotation that
//! `kubectl rollout restart` sets, one workload after the other. Pods are never deleted, so a pod
//! that stands alone and a Job stay as they are and are named.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, ResourceExt};
use mesh_kubernetes::client::{ApiFailure, within};
use serde_json::json;

use super::MANAGER;
use super::missing::Found;

/// What makes a workload make new pods.
const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// A workload that can be restarted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What can be done about pods that were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is restarted, and how many of the pods are its own.
    pub restart: BTreeMap<Target, usize>,
    /// Pods that nothing restarts, and why.
    pub left: Vec<String>,
}

/// Finds out what to restart for these pods.
pub async fn plan(client: &Client, found: &[Found]) -> Result<Plan, ApiFailure> {
    let mut plan = Plan::default();
    for one in found {
        let pod = format!("{}/{}", one.namespace, one.pod);
        let owner = one.owner.as_deref().and_then(|owner| owner.split_once('/'));
        let target = match owner {
            Some((kind @ ("StatefulSet" | "DaemonSet"), name)) => {
                Some((kind.to_owned(), name.to_owned()))
            }
            Some(("ReplicaSet", name)) => deployment(client, &one.namespace, name)
                .await?
                .map(|name| ("Deployment".to_owned(), name)),
            Some(_) | None => None,
        };
        match target {
            Some((kind, name)) => {
                let target = Target {
                    namespace: one.namespace.clone(),
                    kind,
                    name,
                };
                *plan.restart.entry(target).or_default() += 1;
            }
            None => plan.left.push(match &one.owner {
                Some(owner) => format!("{pod}: {owner} does not replace its pods; create it anew"),
                None => format!("{pod}: nothing owns it; delete it and create it anew"),
            }),
        }
    }
    Ok(plan)
}

/// The Deployment behind a ReplicaSet.
async fn deployment(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<String>, ApiFailure> {
    let api: Api<ReplicaSet> = Api::namespaced(client.clone(), namespace);
    let what = format!("read ReplicaSet {namespace}/{name}");
    let Some(set) = within(what, api.get_opt(name)).await? else {
        return Ok(None);
    };
    let owner = set
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true) && owner.kind == "Deployment");
    Ok(owner.map(|owner| owner.name.clone()))
}

/// Restarts one workload.
pub async fn restart(client: &Client, target: &Target) -> Result<(), ApiFailure> {
    let plural = format!("{}s", target.kind.to_ascii_lowercase());
    let resource = ApiResource {
        group: "apps".to_owned(),
        version: "v1".to_owned(),
        api_version: "apps/v1".to_owned(),
        kind: target.kind.clone(),
        plural,
    };
    let api: Api<DynamicObject> =
        Api::namespaced_with(client.clone(), &target.namespace, &resource);
    let now = jiff::Timestamp::now().to_string();
    let patch =
        json!({ "spec": { "template": { "metadata": { "annotations": { RESTARTED_AT: now } } } } });
    let parameters = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(&patch);
    let patching = api.patch(&target.name, &parameters, &patch);
    within(format!("restart {target}"), patching)
        .await
        .map(drop)
}

/// Restarts all of a plan, this far apart.
pub async fn restart_all(client: &Client, plan: &Plan, pause: Duration) -> Vec<ApiFailure> {
    let mut failures = Vec::new();
    for (index, target) in plan.restart.keys().enumerate() {
        if index > 0 {
            tokio::time::sleep(pause).await;
        }
        match restart(client, target).await {
            Ok(()) => tracing::info!("restarted {target}"),
            Err(failure) => failures.push(failure),
        }
    }
    failures
}

impl std::fmt::Display for Target {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}
