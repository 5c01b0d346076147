//! What happens when the injector is not there, and what it leaves alone.

use examples::cluster::{Cluster, text};
use serde_json::Value;

use super::support::{SOON, image};

const INJECTED: &str = "cluster-injected";
const PLAIN: &str = "cluster-plain";
const HOME: &str = "istio-injector";
/// It is one patch, of YAML.
const COMPONENT: &str =
    include_str!("../../../deploy/components/inject-by-default/kustomization.yaml");
const INJECTOR: &str = "deployment/istio-sidecar-injector";

#[tokio::test]
async fn without_an_injector_labelled_namespaces_refuse_pods_and_nothing_else_does() {
    let Some(cluster) = Cluster::connect("cluster injector down").await.unwrap() else {
        return;
    };
    let image = image(&cluster).unwrap();
    cluster.fresh_namespace(INJECTED, true).unwrap();
    cluster.fresh_namespace(PLAIN, false).unwrap();
    scale(&cluster, 0).unwrap();
    cluster
        .until("the injector's pods to be gone", SOON, |cluster| {
            let pods = cluster.json(&["pods", "-n", HOME, "-l", "app=istio-sidecar-injector"])?;
            let left = pods
                .get("items")
                .and_then(Value::as_array)
                .map_or(0, Vec::len);
            anyhow::ensure!(left == 0, "{left} left");
            Ok(())
        })
        .await
        .unwrap();

    let refused = cluster
        .apply(&pod(INJECTED, &image))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("istio.io") && refused.contains("failed calling webhook"),
        "{refused}"
    );
    cluster.apply(&pod(PLAIN, &image)).unwrap();
    cluster.apply(&pod("kube-system", &image)).unwrap();
    for namespace in [PLAIN, "kube-system"] {
        cluster
            .kubectl(&[
                "wait",
                "-n",
                namespace,
                "--for=condition=Ready",
                "pod/lonely",
                "--timeout=60s",
            ])
            .unwrap();
    }

    // Its own pod must come back while its webhook answers nothing.
    scale(&cluster, 1).unwrap();
    cluster.rolled_out(HOME, INJECTOR).unwrap();
    cluster
        .until("injection to work again", SOON, |cluster| {
            cluster.apply(&pod(INJECTED, &image)).map(drop)
        })
        .await
        .unwrap();
    let object = cluster.json(&["pod", "lonely", "-n", INJECTED]).unwrap();
    assert!(
        !text(&object, "/metadata/annotations/sidecar.istio.io~1status").is_empty(),
        "{object}"
    );
    cluster
        .kubectl(&["delete", "pod", "lonely", "-n", "kube-system", "--now"])
        .unwrap();
    cluster.remove_namespace(INJECTED).unwrap();
    cluster.remove_namespace(PLAIN).unwrap();
}

#[tokio::test]
async fn namespaces_that_say_nothing_get_sidecars_where_that_is_installed() {
    let Some(cluster) = Cluster::connect("cluster injection by default")
        .await
        .unwrap()
    else {
        return;
    };
    let image = image(&cluster).unwrap();
    cluster.fresh_namespace(PLAIN, false).unwrap();
    by_default(&cluster, true).unwrap();
    // The injector and the API server learn of it one after the other.
    cluster
        .until("a sidecar where nobody asked", SOON, |cluster| {
            let name = ["delete", "pod", "lonely", "-n", PLAIN, "--now"];
            cluster.kubectl(&[&name[..], &["--ignore-not-found"]].concat())?;
            cluster.apply(&pod(PLAIN, &image))?;
            anyhow::ensure!(has_sidecar(cluster, PLAIN)?, "none");
            Ok(())
        })
        .await
        .unwrap();
    cluster.fresh_namespace(PLAIN, false).unwrap();
    let label = ["label", "namespace", PLAIN, "istio-injection=disabled"];
    cluster.kubectl(&label).unwrap();
    cluster.apply(&pod(PLAIN, &image)).unwrap();
    assert!(!has_sidecar(&cluster, PLAIN).unwrap(), "it was refused");
    by_default(&cluster, false).unwrap();
    cluster.remove_namespace(PLAIN).unwrap();
}

/// Installs what the component `inject-by-default` does, and the setting beside it; or neither.
fn by_default(cluster: &Cluster, wanted: bool) -> anyhow::Result<()> {
    let maps = ["configmap", "istio-sidecar-injector", "-n", HOME];
    let map = cluster.json(&maps)?;
    let mut values: Value = serde_json::from_str(text(&map, "/data/values"))?;
    if let Some(webhook) = values.pointer_mut("/sidecarInjectorWebhook") {
        webhook["enableNamespacesByDefault"] = wanted.into();
    }
    let patch = serde_json::json!({ "data": { "values": values.to_string() } });
    let patched = [&["patch"], &maps[..], &["--type=merge", "-p"]].concat();
    cluster.kubectl(&[&patched[..], &[&patch.to_string()]].concat())?;
    let change = if wanted {
        let (_, patch) = COMPONENT.split_once("patch: |\n").unwrap_or_default();
        patch
    } else {
        r#"[{"op": "remove", "path": "/webhooks/5"}]"#
    };
    let webhooks = ["mutatingwebhookconfiguration", "istio-sidecar-injector"];
    let patched = [&["patch"], &webhooks[..], &["--type=json", "-p", change]].concat();
    cluster.kubectl(&patched).map(drop)
}

fn has_sidecar(cluster: &Cluster, namespace: &str) -> anyhow::Result<bool> {
    let object = cluster.json(&["pod", "lonely", "-n", namespace])?;
    let status = text(&object, "/metadata/annotations/sidecar.istio.io~1status");
    Ok(!status.is_empty())
}

fn scale(cluster: &Cluster, replicas: u32) -> anyhow::Result<()> {
    let replicas = format!("--replicas={replicas}");
    cluster
        .kubectl(&["scale", "-n", HOME, INJECTOR, &replicas])
        .map(drop)
}

fn pod(namespace: &str, image: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: lonely, namespace: {namespace}, labels: {{app: lonely}}}}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: lonely
    image: {image}
    args: [store, --listen, "0.0.0.0:8080"]
"#
    )
}
