//! The shop in a labelled namespace: sidecars, a canary, the front door.

use std::time::Duration;

use examples::cluster::{Cluster, name, text};
use examples::load::{Plan, run};
use serde_json::Value;

use super::support::{SHOP, SOON, load, number, share, shop, split};

const VERSION: &[&str] = &[
    "--to",
    "backend:8080",
    "--path",
    "/echo",
    "--share-field",
    "/version",
    "-c",
    "8",
];

#[tokio::test]
async fn labelled_pods_get_a_sidecar_and_a_canary_splits_by_weight() {
    let Some(cluster) = Cluster::connect("cluster shop").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    let pods = cluster.ready_pods(SHOP, "").unwrap();
    for pod in &pods {
        let statuses = |field: &str| {
            let all = pod.pointer(field).and_then(Value::as_array);
            all.cloned().unwrap_or_default()
        };
        let ready: Vec<String> = statuses("/status/containerStatuses")
            .iter()
            .chain(&statuses("/status/initContainerStatuses"))
            .filter(|status| status.pointer("/state/running").is_some())
            .map(|status| text(status, "/name").to_owned())
            .collect();
        assert!(
            ready.len() == 2 && ready.contains(&"istio-proxy".to_owned()),
            "{}: {ready:?}",
            name(pod)
        );
    }
    let table = cluster.kubectl(&["get", "pods", "-n", SHOP]).unwrap();
    assert_eq!(table.matches("2/2").count(), pods.len(), "{table}");

    let thousand = [VERSION, &["-n", "1000"]].concat();
    let before = restarts(&cluster);
    for (v1, v2) in [(90, 10), (50, 50), (0, 100)] {
        cluster.apply(&split(v1, v2)).unwrap();
        programmed(&cluster).unwrap();
        let report = load(&cluster, &thousand).unwrap();
        assert_eq!(number(&report, "failed"), 0, "{report}");
        let got = share(&report, "v2");
        assert!((got - f64::from(v2)).abs() <= 4.0, "{v1}/{v2}: {report}");
    }
    assert_eq!(
        restarts(&cluster),
        before,
        "a change of weights restarts nothing"
    );

    let table = cluster.kubectl(&["get", "vs,dr", "-n", SHOP]).unwrap();
    for column in ["GATEWAYS", "HOSTS", "HOST", "AGE", r#"["backend"]"#] {
        assert!(table.contains(column), "{table}");
    }
}

fn restarts(cluster: &Cluster) -> Vec<String> {
    let pods = cluster.ready_pods(SHOP, "").unwrap();
    pods.iter()
        .map(|pod| {
            let containers = pod.pointer("/status/containerStatuses").cloned();
            let counts: Vec<Value> = containers
                .and_then(|all| all.as_array().cloned())
                .into_iter()
                .flatten()
                .filter_map(|one| one.get("restartCount").cloned())
                .collect();
            format!("{} {counts:?}", name(pod))
        })
        .collect()
}

fn programmed(cluster: &Cluster) -> anyhow::Result<String> {
    cluster.kubectl(&[
        "wait",
        "-n",
        SHOP,
        "--for=condition=Programmed",
        "virtualservice/backend",
        "destinationrule/backend",
        "--timeout=30s",
    ])
}

#[tokio::test]
async fn the_ingress_gateway_serves_users_outside_the_cluster() {
    let Some(cluster) = Cluster::connect("cluster ingress").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    cluster
        .apply(&format!(
            "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: front, namespace: {SHOP}}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: 80, name: http, protocol: HTTP}}
    hosts: [shop.example.com]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: front, namespace: {SHOP}}}
spec:
  hosts: [shop.example.com]
  gateways: [front]
  http:
  - match:
    - uri: {{prefix: /shop}}
    rewrite: {{uri: /}}
    route:
    - destination: {{host: frontend, port: {{number: 8080}}}}
"
        ))
        .unwrap();
    let service = cluster
        .json(&["service", "istio-ingressgateway", "-n", "istio-system"])
        .unwrap();
    let port = service
        .pointer("/spec/ports")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|port| port.get("port").and_then(Value::as_u64) == Some(80))
        .and_then(|port| port.get("nodePort")?.as_u64())
        .unwrap();
    let nodes = cluster.json(&["nodes"]).unwrap();
    let node = text(&nodes, "/items/0/status/addresses/0/address");
    let address = format!("{node}:{port}").parse().unwrap();
    cluster
        .until("the gateway's route", SOON, |cluster| {
            let answer = cluster.kubectl(&[
                "wait",
                "-n",
                SHOP,
                "--for=condition=Programmed",
                "virtualservice/front",
                "--timeout=5s",
            ]);
            answer.map(drop)
        })
        .await
        .unwrap();

    let plan = Plan::new(address, "shop.example.com", "/shop/").requests(200);
    let report = run(plan.connections(4)).await;
    assert_eq!(report.failed, 0, "{report}");
    for (host, path) in [
        ("shop.example.com", "/elsewhere"),
        ("nobody.example.com", "/shop/"),
    ] {
        let mut plan = Plan::new(address, host, path).requests(5);
        plan.expect_status = Some(404);
        plan.timeout = Duration::from_secs(5);
        let report = run(plan).await;
        assert_eq!(report.failed, 0, "{host}{path}: {report}");
    }
}
