//! Pods that are not Deployments: Jobs, init containers, StatefulSets.

use examples::cluster::{Cluster, text};

use super::support::{SOON, image, shop};

const SPACE: &str = "cluster-jobs";

#[tokio::test]
async fn a_job_completes_and_its_init_container_has_the_network() {
    let Some(cluster) = Cluster::connect("cluster jobs").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    cluster.fresh_namespace(SPACE, true).unwrap();
    let image = image(&cluster).unwrap();
    cluster
        .apply(&format!(
            r#"
apiVersion: batch/v1
kind: Job
metadata: {{name: report, namespace: {SPACE}}}
spec:
  backoffLimit: 0
  template:
    metadata: {{labels: {{app: report}}}}
    spec:
      restartPolicy: Never
      initContainers:
      - name: warm-up
        image: {image}
        command: [/usr/local/bin/load, --to, "backend.shop:8080", --path, /echo, -n, "3"]
      containers:
      - name: report
        image: {image}
        command: [/usr/local/bin/load, --to, "backend.shop:8080", --path, /echo, -n, "20"]
"#
        ))
        .unwrap();
    let waited = cluster.kubectl(&[
        "wait",
        "-n",
        SPACE,
        "--for=condition=Complete",
        "job/report",
        "--timeout=90s",
    ]);
    if let Err(error) = waited {
        let pods = cluster.kubectl(&["describe", "pods", "-n", SPACE]);
        panic!("{error}\n{pods:?}");
    }
    let pods = cluster
        .json(&["pods", "-n", SPACE, "-l", "app=report"])
        .unwrap();
    assert_eq!(text(&pods, "/items/0/status/phase"), "Succeeded", "{pods}");
    cluster.remove_namespace(SPACE).unwrap();
}

#[tokio::test]
async fn a_stateful_set_is_reached_pod_by_pod() {
    let Some(cluster) = Cluster::connect("cluster statefulset").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    cluster.fresh_namespace(SPACE, true).unwrap();
    let image = image(&cluster).unwrap();
    cluster
        .apply(&format!(
            r#"
apiVersion: v1
kind: Service
metadata: {{name: ledger, namespace: {SPACE}}}
spec:
  clusterIP: None
  selector: {{app: ledger}}
  ports:
  - {{name: http, port: 8080}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: ledger, namespace: {SPACE}}}
spec:
  serviceName: ledger
  replicas: 3
  podManagementPolicy: Parallel
  selector: {{matchLabels: {{app: ledger}}}}
  template:
    metadata: {{labels: {{app: ledger}}}}
    spec:
      containers:
      - name: ledger
        image: {image}
        args: [store, --listen, "0.0.0.0:8080", --name, $(POD)]
        env:
        - name: POD
          valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}
"#
        ))
        .unwrap();
    cluster.rolled_out(SPACE, "statefulset/ledger").unwrap();
    for pod in ["ledger-0", "ledger-1", "ledger-2"] {
        let to = format!("{pod}.ledger.{SPACE}.svc.cluster.local:8080");
        cluster
            .until(&to, SOON, |cluster| {
                let report = super::support::load(
                    cluster,
                    &[
                        "--to",
                        &to,
                        "--path",
                        "/echo",
                        "--share-field",
                        "/name",
                        "-n",
                        "20",
                    ],
                )?;
                anyhow::ensure!(
                    report
                        .pointer("/failed")
                        .and_then(serde_json::Value::as_u64)
                        == Some(0)
                        && report.pointer(&format!("/shares/{pod}")).is_some()
                        && report
                            .pointer("/shares")
                            .and_then(serde_json::Value::as_object)
                            .is_some_and(|shares| shares.len() == 1),
                    "{report}"
                );
                Ok(())
            })
            .await
            .unwrap();
    }
    cluster.remove_namespace(SPACE).unwrap();
}
