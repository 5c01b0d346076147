//! What neither a mistake nor a restart may change: settings that cannot be read, and routes that
//! are held back.

use std::time::Duration;

use anyhow::{bail, ensure};
use examples::cluster::{Cluster, InClusterLoad, text};

use super::support::{SHOP, SOON, load, number, shop, split};

const ROOT: &str = "istio-system";

/// The settings as somebody writes them who leaves out what the API server asks by.
fn settings(mode: &str) -> String {
    format!(
        "
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: {ROOT}}}
data:
  mesh: |
    rootNamespace: {ROOT}
    outboundTrafficPolicy: {{mode: {mode}}}
"
    )
}

/// Replaces the settings as if nobody had been asked.
fn unchecked(cluster: &Cluster, mode: &str) -> anyhow::Result<()> {
    cluster.kubectl(&["delete", "configmap", "istio", "-n", ROOT])?;
    cluster.kubectl_with(&["create", "-f", "-"], &settings(mode))?;
    Ok(())
}

/// Whether the caller reaches an address that no Service has: that of a pod.
fn is_open(cluster: &Cluster) -> anyhow::Result<bool> {
    let pods = cluster.ready_pods(SHOP, "app=backend")?;
    let address = pods.first().map(|pod| text(pod, "/status/podIP"));
    let Some(address) = address.filter(|address| !address.is_empty()) else {
        bail!("no pod of the backend is ready");
    };
    let to = format!("{address}:8080");
    let report = load(cluster, &["--to", &to, "--path", "/echo", "-n", "5"])?;
    Ok(number(&report, "failed") == 0)
}

async fn becomes(cluster: &Cluster, open: bool) {
    let what = if open { "open" } else { "closed" };
    cluster
        .until(what, SOON, |cluster| {
            ensure!(is_open(cluster)? == open, "it is not {what}");
            Ok(())
        })
        .await
        .unwrap();
}

fn restart_istiod(cluster: &Cluster) {
    cluster
        .kubectl(&["rollout", "restart", "-n", ROOT, "deployment/istiod"])
        .unwrap();
    cluster.rolled_out(ROOT, "deployment/istiod").unwrap();
}

#[tokio::test]
async fn a_mistake_in_the_settings_opens_nothing_with_and_without_a_restart() {
    let Some(cluster) = Cluster::connect("cluster settings").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    let before = cluster.json(&["configmap", "istio", "-n", ROOT]).unwrap();
    becomes(&cluster, true).await;
    unchecked(&cluster, "REGISTRY_ONLY").unwrap();
    becomes(&cluster, false).await;

    // Who is asked refuses, and says what was probably meant.
    let label = ["label", "configmap", "istio", "-n", ROOT];
    let label = [label.as_slice(), &["mesh.istio.io/settings=true"]].concat();
    cluster.kubectl(&label).unwrap();
    let refused = cluster.apply(&settings("REGISTRY_ONLLY")).unwrap_err();
    let refused = format!("{refused:#}");
    assert!(refused.contains("did you mean REGISTRY_ONLY?"), "{refused}");

    unchecked(&cluster, "REGISTRY_ONLLY").unwrap();
    cluster
        .until("an event", SOON, |cluster| {
            let events = cluster.kubectl(&["get", "events", "-n", ROOT, "-o", "json"])?;
            let told = events.contains("did you mean REGISTRY_ONLY?");
            ensure!(told, "no event names the mistake");
            Ok(())
        })
        .await
        .unwrap();
    assert!(!is_open(&cluster).unwrap());
    restart_istiod(&cluster);
    // A pod that starts now has nothing of its own to fall back to.
    let caller = ["rollout", "restart", "-n", SHOP, "deployment/caller"];
    cluster.kubectl(&caller).unwrap();
    cluster.rolled_out(SHOP, "deployment/caller").unwrap();
    assert!(!is_open(&cluster).unwrap());

    cluster
        .kubectl(&["delete", "configmap", "istio", "-n", ROOT])
        .unwrap();
    let mut former = before;
    for field in [
        "resourceVersion",
        "uid",
        "creationTimestamp",
        "managedFields",
    ] {
        if let Some(metadata) = former.pointer_mut("/metadata") {
            metadata.as_object_mut().unwrap().remove(field);
        }
    }
    cluster
        .kubectl_with(&["create", "-f", "-"], &former.to_string())
        .unwrap();
    becomes(&cluster, true).await;
}

#[tokio::test]
async fn a_restart_while_a_route_is_held_back_changes_nothing() {
    let Some(cluster) = Cluster::connect("cluster held back").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    cluster.apply(&split(100, 0)).unwrap();
    let ahead = split(100, 0).replace("subset: v1", "subset: not-yet");
    let flags = ["--to", "backend:8080", "--path", "/echo", "-n", "200"];
    cluster
        .until("the first form is in effect", SOON, |cluster| {
            let waited = [
                "wait",
                "-n",
                SHOP,
                "--for=condition=Programmed",
                "virtualservice/backend",
                "--timeout=20s",
            ];
            cluster.kubectl(&waited).map(drop)
        })
        .await
        .unwrap();
    cluster.apply(&ahead).unwrap();
    held_back(&cluster).await;
    for _ in 0..2 {
        restart_istiod(&cluster);
        cluster
            .kubectl(&["rollout", "restart", "-n", SHOP, "deployment/caller"])
            .unwrap();
        cluster.rolled_out(SHOP, "deployment/caller").unwrap();
        held_back(&cluster).await;
        let report = load(&cluster, &flags).unwrap();
        assert_eq!(number(&report, "failed"), 0, "{report}");
    }
    shop(&cluster).unwrap();
}

/// Waits until the status of the route says that its former form is in effect.
async fn held_back(cluster: &Cluster) {
    cluster
        .until("the route is held back", SOON, |cluster| {
            let route = cluster.json(&["virtualservice", "backend", "-n", SHOP])?;
            let told = route.to_string();
            ensure!(told.contains("HeldBack"), "{told}");
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn subsets_are_renamed_in_alphabetical_order_without_a_failed_request() {
    let Some(cluster) = Cluster::connect("cluster rename").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    cluster.apply(&split(90, 10)).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let renamed = split(90, 10)
        .replace("name: v1", "name: stable")
        .replace("name: v2", "name: next")
        .replace("subset: v1", "subset: stable")
        .replace("subset: v2", "subset: next");
    let (rule, route) = renamed.split_once("\n---\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("destination-rule.yaml"), rule).unwrap();
    std::fs::write(folder.path().join("virtual-service.yaml"), route).unwrap();
    let flags = ["--to", "backend:8080", "--path", "/echo", "-c", "16"];
    let flags = [flags.as_slice(), &["--rate", "350", "-n", "7000"]].concat();
    let target = "deploy/caller";
    let mut running = InClusterLoad::start(&cluster, SHOP, target, "caller", &flags).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let folder = folder.path().to_string_lossy().into_owned();
    cluster.kubectl(&["apply", "-f", &folder]).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(running.is_running(), "the load ended before the change");
    let report = running.report().unwrap();
    assert_eq!(number(&report, "failed"), 0, "{report}");
    shop(&cluster).unwrap();
}
