//! Restarting what was missed: the right workloads, and nothing else.

use injector::server::{missing, restart};
use injector::{ClusterVersion, Configuration, Home, Labels, Namespace, Values};
use mesh_api::mesh_config::MeshConfig;
use mesh_kubernetes::testing::FakeApi;
use serde_json::{Value, json};

fn owned(kind: &str, name: &str) -> Value {
    json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": "u", "controller": true }])
}

fn pod(api: &FakeApi, name: &str, owners: &Value) {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "shop", "ownerReferences": owners },
        "spec": { "containers": [{ "name": "a", "image": "i" }] },
    });
    api.put(&format!("/api/v1/namespaces/shop/pods/{name}"), pod);
}

#[tokio::test]
async fn each_workload_once_and_pods_never() {
    let api = FakeApi::new();
    pod(&api, "web-1", &owned("ReplicaSet", "web-5d9c"));
    pod(&api, "web-2", &owned("ReplicaSet", "web-5d9c"));
    pod(&api, "db-0", &owned("StatefulSet", "db"));
    pod(&api, "import-x", &owned("Job", "import"));
    pod(&api, "bare", &Value::Null);
    let set = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": { "name": "web-5d9c", "namespace": "shop",
                      "ownerReferences": owned("Deployment", "web") },
    });
    api.put("/apis/apps/v1/namespaces/shop/replicasets/web-5d9c", set);
    for (plural, kind, name) in [
        ("deployments", "Deployment", "web"),
        ("statefulsets", "StatefulSet", "db"),
    ] {
        let object = json!({ "apiVersion": "apps/v1", "kind": kind,
            "metadata": { "name": name, "namespace": "shop" }, "spec": { "replicas": 2 } });
        api.put(
            &format!("/apis/apps/v1/namespaces/shop/{plural}/{name}"),
            object,
        );
    }
    let configuration = Configuration::new(
        Values::default(),
        MeshConfig::default(),
        ClusterVersion::CURRENT,
        Home::default(),
    );
    let shop = Namespace {
        name: "shop".to_owned(),
        labels: Labels::from([("istio-injection".to_owned(), "enabled".to_owned())]),
    };
    let client = api.client();
    let report = missing::look(&client, &configuration, &[shop])
        .await
        .unwrap();
    assert_eq!(report.missing.len(), 5);
    let plan = restart::plan(&client, &report.missing).await.unwrap();
    let shown: Vec<String> = plan
        .restart
        .iter()
        .map(|(target, pods)| format!("{target}: {pods}"))
        .collect();
    assert_eq!(shown, ["Deployment shop/web: 2", "StatefulSet shop/db: 1"]);
    assert_eq!(plan.left.len(), 2);
    assert!(
        plan.left
            .iter()
            .any(|left| left.contains("bare: nothing owns it"))
    );
    let failures = restart::restart_all(&client, &plan, std::time::Duration::ZERO).await;
    assert!(failures.is_empty(), "{failures:?}");
    for path in ["deployments/web", "statefulsets/db"] {
        let object = api
            .object(&format!("/apis/apps/v1/namespaces/shop/{path}"))
            .unwrap();
        let annotations = &object["spec"]["template"]["metadata"]["annotations"];
        assert!(
            annotations["kubectl.kubernetes.io/restartedAt"].is_string(),
            "{object}"
        );
        assert_eq!(object["spec"]["replicas"], 2);
    }
    assert!(
        api.seen()
            .iter()
            .all(|one| one.method != http::Method::DELETE)
    );
}
