//! What people do to pods and to the mesh's own objects without looking anything up: it works, or
//! it says why not.

use examples::cluster::{Cluster, text};
use serde_json::Value;

use super::support::{SOON, image, load};

const SPACE: &str = "cluster-at-home";
const WEBHOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/base/webhooks.yaml");
const GUARDED: &str = "mutatingwebhookconfiguration/istio-sidecar-injector";

/// A pod that serves; `metadata` and `spec` are more fields of both, in flow style.
fn pod(name: &str, image: &str, metadata: &str, spec: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}{metadata}}}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: app
    image: {image}
    args: [store, --listen, "0.0.0.0:8080"]
{spec}
"#
    )
}

fn create(cluster: &Cluster, namespace: &str, yaml: &str) -> anyhow::Result<String> {
    let output = cluster.run(&["create", "-n", namespace, "-f", "-"], yaml)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(output.status.success(), "{said}");
    Ok(said)
}

fn ready(cluster: &Cluster, namespace: &str, pod: &str) -> anyhow::Result<()> {
    let pod = format!("pod/{pod}");
    let wait = [
        "wait",
        "-n",
        namespace,
        "--for=condition=Ready",
        &pod,
        "--timeout=90s",
    ];
    if let Err(error) = cluster.kubectl(&wait) {
        let said = cluster.kubectl(&["describe", "-n", namespace, &pod]);
        anyhow::bail!("{error}\n{said:?}");
    }
    Ok(())
}

fn is_injected(cluster: &Cluster, namespace: &str, pod: &str) -> anyhow::Result<bool> {
    let object = cluster.json(&["pod", pod, "-n", namespace])?;
    Ok(!text(&object, "/metadata/annotations/sidecar.istio.io~1status").is_empty())
}

#[tokio::test]
async fn a_pod_starts_without_a_warning_whatever_its_dns_is() {
    let Some(cluster) = Cluster::connect("cluster pod starts").await.unwrap() else {
        return;
    };
    let image = image(&cluster).unwrap();
    cluster.fresh_namespace(SPACE, true).unwrap();
    for (name, spec) in [
        ("plain", ""),
        ("node-dns", "  dnsPolicy: Default"),
        (
            "own-dns",
            "  dnsPolicy: None\n  dnsConfig: {nameservers: [192.0.2.53]}",
        ),
    ] {
        create(&cluster, SPACE, &pod(name, &image, "", spec)).unwrap();
        ready(&cluster, SPACE, name).unwrap();
    }
    let events = ["events", "-n", SPACE, "--field-selector=type=Warning"];
    let events = cluster.json(&events).unwrap();
    let warned: Vec<String> = events["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| text(event, "/message").to_owned())
        .collect();
    assert_eq!(warned, Vec::<String>::new());
    cluster.remove_namespace(SPACE).unwrap();
}

#[tokio::test]
async fn who_asks_is_injected_and_a_label_without_a_meaning_is_told() {
    let Some(cluster) = Cluster::connect("cluster asking").await.unwrap() else {
        return;
    };
    let image = image(&cluster).unwrap();
    cluster.fresh_namespace(SPACE, false).unwrap();
    let annotated = r#", annotations: {sidecar.istio.io/inject: "true"}"#;
    create(&cluster, SPACE, &pod("asks", &image, annotated, "")).unwrap();
    create(&cluster, SPACE, &pod("silent", &image, "", "")).unwrap();
    assert!(is_injected(&cluster, SPACE, "asks").unwrap());
    assert!(!is_injected(&cluster, SPACE, "silent").unwrap());

    let label = ["label", "namespace", SPACE, "istio-injection=true"];
    let said = cluster.run(&label, "").unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("istio-injection=enabled"), "{said}");

    let taken = pod(
        "taken",
        &image,
        r#", labels: {sidecar.istio.io/inject: "true"}"#,
        "",
    )
    .replace(
        "    args:",
        "    ports: [{containerPort: 15001}]\n    args:",
    );
    let unlabel = ["label", "namespace", SPACE, "istio-injection-"];
    cluster.kubectl(&unlabel).unwrap();
    let refused = create(&cluster, SPACE, &taken).unwrap_err().to_string();
    assert!(refused.contains("containerPort 15001"), "{refused}");
    cluster.remove_namespace(SPACE).unwrap();
}

#[tokio::test]
async fn a_gateway_is_made_from_the_template_but_not_beside_the_control_plane() {
    let Some(cluster) = Cluster::connect("cluster gateway template").await.unwrap() else {
        return;
    };
    image(&cluster).unwrap();
    let gateway = r#"
apiVersion: v1
kind: Pod
metadata:
  name: own-gateway
  labels: {sidecar.istio.io/inject: "true", istio: own}
  annotations: {inject.istio.io/templates: gateway}
spec:
  containers:
  - {name: istio-proxy, image: auto}
"#;
    cluster.fresh_namespace(SPACE, false).unwrap();
    create(&cluster, SPACE, gateway).unwrap();
    ready(&cluster, SPACE, "own-gateway").unwrap();
    // Who broke into the injector would get a pod there; so it is not asked, and that is told.
    let dry = [
        "create",
        "--dry-run=server",
        "-n",
        "istio-system",
        "-f",
        "-",
    ];
    let said = cluster.run(&dry, gateway).unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("namespace of its own"), "{said}");
    cluster.remove_namespace(SPACE).unwrap();
}

#[tokio::test]
async fn webhooks_that_are_gone_come_back_by_their_manifest_any_number_of_times() {
    let Some(cluster) = Cluster::connect("cluster webhooks repaired").await.unwrap() else {
        return;
    };
    let image = image(&cluster).unwrap();
    cluster.fresh_namespace(SPACE, true).unwrap();
    cluster.kubectl(&["delete", GUARDED]).unwrap();
    for _ in 0..3 {
        cluster
            .kubectl(&["apply", "--server-side", "-f", WEBHOOKS])
            .unwrap();
        // The mesh fills in what it keeps; the next apply must not mind.
        cluster
            .until("injection again", SOON, |cluster| {
                let gone = ["delete", "pod", "again", "-n", SPACE, "--now"];
                cluster.kubectl(&[&gone[..], &["--ignore-not-found"]].concat())?;
                create(cluster, SPACE, &pod("again", &image, "", ""))?;
                anyhow::ensure!(is_injected(cluster, SPACE, "again")?, "no sidecar");
                Ok(())
            })
            .await
            .unwrap();
    }
    let ours = cluster.json(&[GUARDED]).unwrap();
    assert_eq!(
        text(&ours, "/metadata/labels/app.kubernetes.io~1managed-by"),
        "mesh"
    );
    cluster.remove_namespace(SPACE).unwrap();
}

#[tokio::test]
async fn running_proxies_log_when_the_mesh_says_so() {
    let Some(cluster) = Cluster::connect("cluster access log").await.unwrap() else {
        return;
    };
    image(&cluster).unwrap();
    // A path for each look, so that lines of an earlier one do not count.
    let looks = std::cell::Cell::new(0);
    let logged = |cluster: &Cluster| -> anyhow::Result<usize> {
        looks.set(looks.get() + 1);
        let path = format!("/logged-{}", looks.get());
        let flags = ["--to", "backend.shop:8080", "--path", &path, "-n", "5"];
        load(cluster, &flags)?;
        let logs = [
            "logs",
            "-n",
            "shop",
            "deploy/caller",
            "-c",
            "istio-proxy",
            "--tail=200",
        ];
        let text = cluster.kubectl(&logs)?;
        Ok(text
            .lines()
            .filter(|line| line.contains(&format!("GET {path} ")))
            .count())
    };
    assert_eq!(logged(&cluster).unwrap(), 0);
    let before = settings(&cluster).unwrap();
    set(&cluster, &format!("{before}\naccessLogFile: /dev/stdout\n")).unwrap();
    cluster
        .until("lines of a running sidecar", SOON, |cluster| {
            anyhow::ensure!(logged(cluster)? > 0, "none yet");
            Ok(())
        })
        .await
        .unwrap();
    set(&cluster, &format!("{before}\naccessLogFile: \"\"\n")).unwrap();
    cluster
        .until("no more lines", SOON, |cluster| {
            let lines = logged(cluster)?;
            anyhow::ensure!(lines == 0, "{lines} lines");
            Ok(())
        })
        .await
        .unwrap();
    set(&cluster, &before).unwrap();
}

fn settings(cluster: &Cluster) -> anyhow::Result<String> {
    let map = cluster.json(&["configmap", "istio", "-n", "istio-system"])?;
    Ok(text(&map, "/data/mesh").to_owned())
}

fn set(cluster: &Cluster, mesh: &str) -> anyhow::Result<()> {
    let patch: Value = serde_json::json!({ "data": { "mesh": mesh } });
    let patch = patch.to_string();
    let words = [
        "patch",
        "configmap",
        "istio",
        "-n",
        "istio-system",
        "--type=merge",
        "-p",
        &patch,
    ];
    cluster.kubectl(&words).map(drop)
}
