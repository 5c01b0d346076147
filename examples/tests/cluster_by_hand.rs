//! The mesh installed by kubectl alone, as `deploy/README.md` says: once and once more, with objects
//! of the user's own behind it.
//!
//! `cargo xtask test --cluster` runs this last, when what it installed itself is gone; the images are
//! on the node still.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use examples::cluster::{Cluster, text};
use serde_json::{Value, json};

const SYSTEM: &str = "istio-system";
const SOON: Duration = Duration::from_mins(1);
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");
const OWN: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: own, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]
";

#[tokio::test]
async fn kubectl_installs_it_and_the_second_time_changes_nothing() {
    let Some(cluster) = Cluster::connect("cluster by hand").await.unwrap() else {
        return;
    };
    let there = ["get", "namespace", SYSTEM, "--ignore-not-found", "-o=name"];
    assert_eq!(cluster.kubectl(&there).unwrap(), "", "a mesh is installed");
    let folder = tempfile::tempdir().unwrap();
    kustomization(&cluster, folder.path()).unwrap();
    let folder = folder.path().to_str().unwrap();
    let apply = ["apply", "--server-side", "-k", folder];
    cluster.kubectl(&apply).unwrap();
    for (namespace, deployment) in [
        (SYSTEM, "istiod"),
        ("istio-injector", "istio-sidecar-injector"),
        (SYSTEM, "istio-ingressgateway"),
    ] {
        let deployment = format!("deployment/{deployment}");
        cluster.rolled_out(namespace, &deployment).unwrap();
    }
    // Objects come after the control plane, which checks them; nothing else is to be waited for.
    cluster
        .until("objects to be taken", SOON, |cluster| cluster.apply(OWN))
        .await
        .unwrap();
    let wait = ["wait", "--for=condition=Programmed", "gateway/own"];
    let all = [&wait[..], &["-n", "default", "--timeout=60s"]].concat();
    cluster.kubectl(&all).unwrap();

    // By now the mesh has filled in what it keeps itself.
    let before = applied(&cluster, folder).unwrap();
    assert!(before.len() > 40, "{before:?}");
    let diff = ["diff", "--server-side", "-k", folder];
    assert_eq!(cluster.kubectl(&diff).unwrap(), "");
    cluster.kubectl(&apply).unwrap();
    assert_eq!(applied(&cluster, folder).unwrap(), before);
    assert_eq!(cluster.kubectl(&diff).unwrap(), "");
    cluster
        .kubectl(&["delete", "gateway/own", "-n", "default"])
        .unwrap();
}

/// Each object of the folder with its generation and the fields that are kubectl's. The time of its
/// last apply would say more, but the API server renews it for admission policies each time.
fn applied(cluster: &Cluster, folder: &str) -> anyhow::Result<BTreeMap<String, Value>> {
    let objects = cluster.json(&["-k", folder, "--show-managed-fields"])?;
    let objects = objects.get("items").and_then(Value::as_array);
    let mut found = BTreeMap::new();
    for object in objects.into_iter().flatten() {
        let managers = object.pointer("/metadata/managedFields");
        let managers = managers.and_then(Value::as_array);
        let own = managers
            .into_iter()
            .flatten()
            .find(|one| text(one, "/manager") == "kubectl" && text(one, "/operation") == "Apply");
        let name = format!(
            "{} {}/{}",
            text(object, "/kind"),
            text(object, "/metadata/namespace"),
            text(object, "/metadata/name")
        );
        let own = own.with_context(|| format!("kubectl did not apply {name}"))?;
        let generation = object.pointer("/metadata/generation");
        let fields = own.get("fieldsV1");
        found.insert(name, json!({ "generation": generation, "fields": fields }));
    }
    Ok(found)
}

/// The folder of `deploy/README.md`, with the images that are on the node.
fn kustomization(cluster: &Cluster, folder: &Path) -> anyhow::Result<()> {
    copy(Path::new(DEPLOY), &folder.join("deploy"))?;
    let nodes = cluster.json(&["nodes"])?;
    let image = |name: &str| -> anyhow::Result<(String, String)> {
        let images = nodes.pointer("/items/0/status/images");
        let names = images.and_then(Value::as_array).into_iter().flatten();
        names
            .filter_map(|image| image.get("names")?.as_array())
            .flatten()
            .filter_map(Value::as_str)
            .filter_map(|found| found.rsplit_once(':'))
            .find(|(found, tag)| found.ends_with(name) && !found.contains('@') && !tag.is_empty())
            .map(|(found, tag)| (found.to_owned(), tag.to_owned()))
            .with_context(|| format!("the node has no {name}"))
    };
    let mut images = String::new();
    for name in ["mesh-control-plane", "mesh-injector", "mesh-proxy"] {
        let (found, tag) = image(name)?;
        let line = format!("  - {{name: localhost/{name}, newName: {found}, newTag: {tag}}}\n");
        images.push_str(&line);
    }
    let (proxy, tag) = image("mesh-proxy")?;
    let text = format!(
        r#"
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [./deploy/profiles/default]
images:
{images}
patches:
  - target: {{kind: ConfigMap, name: istio-sidecar-injector}}
    patch: |
      - op: replace
        path: /data/values
        value: |
          {{"global": {{"proxy": {{"image": "{proxy}:{tag}"}}}}}}
"#
    );
    fs::write(folder.join("kustomization.yaml"), text)?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
