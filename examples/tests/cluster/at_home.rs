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

/// What the namespace's objects were warned of.
fn warnings(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let events = ["events", "-n", SPACE, "--field-selector=type=Warning"];
    let events = cluster.json(&events)?;
    let events = events.get("items").and_then(Value::as_array);
    let messages = events.into_iter().flatten();
    let messages = messages.map(|event| text(event, "/message").to_owned());
    Ok(messages.collect())
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
    let warned = warnings(&cluster).unwrap();
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
async fn a_quota_on_limits_is_met_by_the_annotations_its_message_leads_to() {
    let Some(cluster) = Cluster::connect("cluster quota").await.unwrap() else {
        return;
    };
    let image = image(&cluster).unwrap();
    cluster.fresh_namespace(SPACE, true).unwrap();
    cluster
        .kubectl_with(&["create", "-n", SPACE, "-f", "-"], QUOTA)
        .unwrap();
    let limited = |metadata: &str| {
        let limits = "    resources: {limits: {cpu: 100m, memory: 64Mi}}\n";
        pod("limited", &image, metadata, "").replace("    args:", &format!("{limits}    args:"))
    };
    // The quota counts once its controller has seen it; it names who lacks what.
    cluster
        .until("the quota", SOON, |cluster| {
            let gone = ["delete", "pod", "limited", "-n", SPACE, "--now"];
            cluster.kubectl(&[&gone[..], &["--ignore-not-found"]].concat())?;
            let created = create(cluster, SPACE, &limited(""));
            let refused = created.err().map(|error| error.to_string());
            let refused = refused.unwrap_or_default();
            anyhow::ensure!(
                refused.contains("limits.cpu for: istio-init,istio-proxy"),
                "{refused}"
            );
            Ok(())
        })
        .await
        .unwrap();
    let annotated = ", annotations: {sidecar.istio.io/proxyCPULimit: 500m}";
    create(&cluster, SPACE, &limited(annotated)).unwrap();
    ready(&cluster, SPACE, "limited").unwrap();
    let limited = cluster.json(&["pod", "limited", "-n", SPACE]).unwrap();
    let resources = &limited["spec"]["initContainers"][0]["resources"];
    // What nobody spoke of is as before.
    assert_eq!(text(resources, "/limits/cpu"), "500m", "{resources}");
    assert_eq!(text(resources, "/requests/memory"), "32Mi", "{resources}");
    cluster.remove_namespace(SPACE).unwrap();
}

const QUOTA: &str = "
apiVersion: v1
kind: ResourceQuota
metadata: {name: limits}
spec: {hard: {limits.cpu: '4'}}
";

#[tokio::test]
async fn a_sidecar_that_is_a_container_like_others_starts_before_its_application() {
    let Some(cluster) = Cluster::connect("cluster classic sidecar").await.unwrap() else {
        return;
    };
    let image = image(&cluster).unwrap();
    cluster.fresh_namespace(SPACE, true).unwrap();
    let classic = r#", annotations: {sidecar.istio.io/nativeSidecar: "false"}"#;
    create(&cluster, SPACE, &pod("classic", &image, classic, "")).unwrap();
    ready(&cluster, SPACE, "classic").unwrap();
    let found = cluster.json(&["pod", "classic", "-n", SPACE]).unwrap();
    assert_eq!(text(&found, "/spec/containers/0/name"), "istio-proxy");
    let warned = warnings(&cluster).unwrap();
    assert_eq!(warned, Vec::<String>::new());
    // A Job would never complete beside one: it is told so, with the ways out.
    let job = format!(
        r#"
apiVersion: batch/v1
kind: Job
metadata: {{name: done}}
spec:
  template:
    metadata: {{annotations: {{sidecar.istio.io/nativeSidecar: "false"}}}}
    spec:
      restartPolicy: Never
      containers: [{{name: app, image: {image}, args: [--help]}}]
"#
    );
    create(&cluster, SPACE, &job).unwrap();
    cluster
        .until("the Job's event", SOON, |cluster| {
            let warned = warnings(cluster)?.join("\n");
            anyhow::ensure!(
                warned.contains("keep this Job from completing") && warned.contains("quitquitquit"),
                "{warned}"
            );
            Ok(())
        })
        .await
        .unwrap();
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

#[tokio::test]
async fn settings_of_proxies_reach_those_that_run_gateways_too() {
    let Some(cluster) = Cluster::connect("cluster settings of proxies")
        .await
        .unwrap()
    else {
        return;
    };
    image(&cluster).unwrap();
    let before = settings(&cluster).unwrap();
    let more = "
accessLogFile: /dev/stdout
defaultConfig: {proxyMetadata: {ISTIO_META_IDLE_TIMEOUT: 31m, MESH_STREAM_IDLE_TIMEOUT: 7m}}
";
    set(&cluster, &format!("{before}{more}")).unwrap();
    for (namespace, deployment) in [
        ("shop", "deploy/caller"),
        ("istio-system", "deploy/istio-ingressgateway"),
    ] {
        let page = ["pilot-agent", "request", "GET"];
        let page = [&page[..], &["config_dump?resource=settings/"]].concat();
        cluster
            .until(deployment, SOON, |cluster| {
                let told = cluster.exec(namespace, deployment, "istio-proxy", &page)?;
                let all = ["\"text\"", "1860", "420"];
                anyhow::ensure!(all.iter().all(|one| told.contains(one)), "{told}");
                Ok(())
            })
            .await
            .unwrap();
    }
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
