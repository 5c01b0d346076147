//! Rolling restarts under load, without retries: nobody notices.

use std::time::Duration;

use examples::cluster::{Cluster, InClusterLoad};

use super::support::{SHOP, number, shop};

/// Requests per run, sent at a rate that outlasts the restart.
const REQUESTS: u64 = 20_000;
const RATE: &str = "350";

/// No retries at all, so that what a restart breaks is seen.
const NO_RETRIES: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: backend, namespace: shop}
spec:
  hosts: [backend]
  http:
  - route:
    - destination: {host: backend}
    retries: {attempts: 0}
";

#[tokio::test]
async fn a_backend_that_ends_gracefully_restarts_without_a_failed_request() {
    let Some(cluster) = Cluster::connect("cluster graceful restart").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    restart(
        &cluster,
        SHOP,
        &["deployment/backend-v1", "deployment/backend-v2"],
    )
    .await;
}

#[tokio::test]
async fn a_backend_that_ends_at_once_restarts_without_a_failed_request() {
    let Some(cluster) = Cluster::connect("cluster abrupt restart").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    for version in ["v1", "v2"] {
        let patch =
            r#"[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--abrupt"}]"#;
        cluster
            .kubectl(&[
                "patch",
                &format!("deployment/backend-{version}"),
                "-n",
                SHOP,
                "--type=json",
                "-p",
                patch,
            ])
            .unwrap();
        cluster
            .rolled_out(SHOP, &format!("deployment/backend-{version}"))
            .unwrap();
    }
    restart(
        &cluster,
        SHOP,
        &["deployment/backend-v1", "deployment/backend-v2"],
    )
    .await;
    shop(&cluster).unwrap();
}

#[tokio::test]
async fn the_control_plane_restarts_without_a_failed_request() {
    let Some(cluster) = Cluster::connect("cluster control plane restart")
        .await
        .unwrap()
    else {
        return;
    };
    shop(&cluster).unwrap();
    restart(&cluster, "istio-system", &["deployment/istiod"]).await;
}

async fn restart(cluster: &Cluster, namespace: &str, deployments: &[&str]) {
    cluster.apply(NO_RETRIES).unwrap();
    cluster
        .kubectl(&[
            "wait",
            "-n",
            SHOP,
            "--for=condition=Programmed",
            "virtualservice/backend",
            "--timeout=30s",
        ])
        .unwrap();
    let count = REQUESTS.to_string();
    let mut load = InClusterLoad::start(
        cluster,
        SHOP,
        "deploy/caller",
        "caller",
        &[
            "--to",
            "backend:8080",
            "--path",
            "/echo",
            "-c",
            "16",
            "--rate",
            RATE,
            "-n",
            &count,
        ],
    )
    .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    for deployment in deployments {
        cluster
            .kubectl(&["rollout", "restart", "-n", namespace, deployment])
            .unwrap();
    }
    for deployment in deployments {
        cluster.rolled_out(namespace, deployment).unwrap();
    }
    assert!(load.is_running(), "the load ended before the restart did");
    let report = load.report().unwrap();
    assert_eq!(number(&report, "failed"), 0, "{report}");
    assert!(number(&report, "requests") >= REQUESTS, "{report}");
}
