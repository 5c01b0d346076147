//! `kubectl wait` means what it says: the rule is in force everywhere, or it says where not.

use examples::cluster::{Cluster, Stopped, name, processes_of, text};
use serde_json::Value;

use super::support::{SHOP, SOON, shop, split};

#[tokio::test]
async fn waiting_for_programmed_ends_when_all_have_applied_and_names_who_has_not() {
    let Some(cluster) = Cluster::connect("cluster status").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    cluster.apply(&split(80, 20)).unwrap();
    wait(&cluster, "30s").unwrap();

    let pods = cluster.ready_pods(SHOP, "app=caller").unwrap();
    let pod = name(pods.first().unwrap()).to_owned();
    let pids = processes_of(&["sidecar", &format!("{SHOP}/{pod}")]).unwrap();
    let stopped = Stopped::stop(*pids.first().unwrap()).unwrap();
    cluster.apply(&split(70, 30)).unwrap();
    let refused = wait(&cluster, "6s").unwrap_err().to_string();
    assert!(refused.contains("timed out"), "{refused}");
    cluster
        .until("the condition's message", SOON, |cluster| {
            let condition = programmed(cluster)?;
            let message = text(&condition, "/message");
            anyhow::ensure!(
                text(&condition, "/status") == "False" && message.contains(&pod),
                "{condition}"
            );
            Ok(())
        })
        .await
        .unwrap();
    drop(stopped);
    wait(&cluster, "30s").unwrap();
}

#[tokio::test]
async fn what_is_wrong_or_not_acted_on_is_said_in_status_and_at_admission() {
    let Some(cluster) = Cluster::connect("cluster admission").await.unwrap() else {
        return;
    };
    shop(&cluster).unwrap();
    let broken = split(50, 50).replace("weight: 50", "weight: -1");
    let refused = cluster.apply(&broken).unwrap_err().to_string();
    assert!(refused.contains("weight"), "{refused}");
    let misspelled = split(50, 50).replace("subsets:", "subset:");
    let refused = cluster.apply(&misspelled).unwrap_err().to_string();
    assert!(refused.contains("subset"), "{refused}");

    let dangling = split(50, 50).replace("subset: v2", "subset: v3");
    cluster.apply(&dangling).unwrap();
    cluster
        .until("ResolvedRefs", SOON, |cluster| {
            let condition = condition(cluster, "ResolvedRefs")?;
            anyhow::ensure!(
                text(&condition, "/status") == "False"
                    && text(&condition, "/message").contains("v3"),
                "{condition}"
            );
            Ok(())
        })
        .await
        .unwrap();

    let said = cluster
        .apply(&format!(
            "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: store, namespace: {SHOP}}}
spec:
  host: store
  trafficPolicy:
    connectionPool: {{tcp: {{maxRetries: 3}}}}
"
        ))
        .unwrap();
    assert!(
        said.contains("Warning") && said.contains("maxRetries"),
        "{said}"
    );
}

#[tokio::test]
async fn waiting_for_what_does_nothing_fails_and_the_object_says_why() {
    let Some(cluster) = Cluster::connect("cluster does nothing").await.unwrap() else {
        return;
    };
    cluster.fresh_namespace(NOTHING, false).unwrap();
    cluster.apply(DOES_NOTHING).unwrap();
    for (object, status, reason, word) in [
        // Its selector matches no gateway.
        (
            "gateway/nobodys",
            "Unknown",
            "NoProxies",
            "carries these labels",
        ),
        // Its gateway is that one.
        (
            "virtualservice/nowhere",
            "Unknown",
            "NoProxies",
            "no connected proxy",
        ),
        ("envoyfilter/lua", "False", "NotSupported", "not acted on"),
        ("telemetry/all", "False", "NotSupported", "not acted on"),
    ] {
        let said = |cluster: &Cluster| {
            let object = cluster.json(&[object, "-n", NOTHING])?;
            let condition = condition_of(&object, "Programmed")?;
            let found = (text(&condition, "/status"), text(&condition, "/reason"));
            anyhow::ensure!(found == (status, reason), "{object}");
            Ok(text(&condition, "/message").to_owned())
        };
        let message = cluster.until(object, SOON, said).await.unwrap();
        assert!(message.contains(word), "{object}: {message}");
        let wait = ["wait", "--for=condition=Programmed", object];
        let flags = ["-n", NOTHING, "--timeout=2s"];
        let waited = cluster.kubectl(&[&wait[..], &flags].concat());
        let refused = waited.unwrap_err().to_string();
        assert!(refused.contains("timed out"), "{object}: {refused}");
        // People see it without asking for the object as it is stored.
        let row = cluster.kubectl(&["get", object, "-n", NOTHING]).unwrap();
        assert!(row.contains("PROGRAMMED") && row.contains(status), "{row}");
    }
    cluster.remove_namespace(NOTHING).unwrap();
}

const NOTHING: &str = "cluster-does-nothing";
const DOES_NOTHING: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: nobodys, namespace: cluster-does-nothing}
spec:
  selector: {istio: nobody}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [nowhere.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: nowhere, namespace: cluster-does-nothing}
spec:
  hosts: [nowhere.example.com]
  gateways: [nobodys]
  http: [{directResponse: {status: 200}}]
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: lua, namespace: cluster-does-nothing}
spec:
  configPatches:
  - applyTo: CLUSTER
    patch: {operation: MERGE, value: {connect_timeout: 3s}}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: all, namespace: cluster-does-nothing}
spec:
  accessLogging: [{disabled: true}]
";

fn wait(cluster: &Cluster, timeout: &str) -> anyhow::Result<String> {
    cluster.kubectl(&[
        "wait",
        "-n",
        SHOP,
        "--for=condition=Programmed",
        "virtualservice/backend",
        &format!("--timeout={timeout}"),
    ])
}

fn programmed(cluster: &Cluster) -> anyhow::Result<Value> {
    condition(cluster, "Programmed")
}

fn condition(cluster: &Cluster, wanted: &str) -> anyhow::Result<Value> {
    let object = cluster.json(&["virtualservice", "backend", "-n", SHOP])?;
    condition_of(&object, wanted)
}

fn condition_of(object: &Value, wanted: &str) -> anyhow::Result<Value> {
    let conditions = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let found = conditions
        .into_iter()
        .flatten()
        .find(|one| text(one, "/type") == wanted);
    found
        .cloned()
        .ok_or_else(|| anyhow::anyhow!("no condition {wanted}: {object}"))
}
