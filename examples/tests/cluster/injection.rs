//! What happens when the injector is not there, and what it leaves alone.

use examples::cluster::{Cluster, text};
use serde_json::Value;

use super::support::{SOON, image};

const INJECTED: &str = "cluster-injected";
const PLAIN: &str = "cluster-plain";
const SYSTEM: &str = "istio-system";
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
            let pods = cluster.json(&["pods", "-n", SYSTEM, "-l", "app=istio-sidecar-injector"])?;
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
    cluster.rolled_out(SYSTEM, INJECTOR).unwrap();
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

fn scale(cluster: &Cluster, replicas: u32) -> anyhow::Result<()> {
    let replicas = format!("--replicas={replicas}");
    cluster
        .kubectl(&["scale", "-n", SYSTEM, INJECTOR, &replicas])
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
