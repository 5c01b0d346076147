//! `cargo xtask undeploy`: takes an installation out of a cluster again, in the order in which
//! nobody is left calling something that is gone.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cluster::progress::step;
use crate::deploy::installed::{self, ROOTS};
use crate::deploy::kubectl::{Kubectl, SHORT, items, name_of, text_at};
use crate::deploy::manifests::{NAMESPACES, OWNER_SELECTOR, is_ours, kind_of, spelled};
use crate::deploy::target::{ClusterArgs, Target};

const DELETE: Duration = Duration::from_mins(3);
/// What control plane and injector keep for themselves in their namespaces.
const OWN_STATE: &[(&str, &[&str])] = &[
    ("secrets", &["istio-ca-secret", "istio-sidecar-injector-ca"]),
    (
        "leases",
        &["istiod-leader", "istio-sidecar-injector-leader"],
    ),
];
/// Kinds that, found in the namespace, are somebody's work.
const SOMEBODYS: &str = "deployments,statefulsets,daemonsets,jobs,cronjobs,services,secrets,\
                         persistentvolumeclaims,configmaps";
/// Objects every namespace has.
const EVERYWHERE: &[&str] = &["kube-root-ca.crt", ROOTS];

/// Remove the mesh from a Kubernetes cluster
///
/// Removes what `cargo xtask deploy` installed: webhooks first, then everything else. Your
/// VirtualServices and other objects stay, and so do their definitions, unless you say --purge.
/// Labels of your namespaces stay as they are. Pods keep their proxy, and its last
/// configuration, until they are restarted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask undeploy
  cargo xtask undeploy --purge          lists the objects that would be lost
  cargo xtask undeploy --purge --yes    and deletes them")]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Also delete the definitions, and with them every object of the mesh
    #[arg(long)]
    purge: bool,
    /// Really delete the objects --purge lists
    #[arg(long, requires = "purge")]
    yes: bool,
}

/// Removes the installation.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let target = Target::of(&args.cluster)?;
    let kubectl = &target.kubectl;
    target.wait_ready()?;
    let definitions = installed::definitions(kubectl)?;
    if args.purge && !definitions.is_empty() {
        let lost = users_objects(kubectl, &definitions)?;
        if !lost.is_empty() {
            println!(
                "objects of the mesh in this cluster:\n  {}",
                lost.join("\n  ")
            );
            if !args.yes {
                bail!(
                    "--purge would delete these {} objects; save them if you need them \
                     (`{} get KIND -A -o yaml`), then say --purge --yes. Nothing was changed",
                    lost.len(),
                    kubectl.spelled()
                );
            }
        }
    }
    let installed = installed::objects(kubectl)?;
    if installed.is_empty() && definitions.is_empty() {
        println!("no mesh is installed in this cluster");
        return Ok(ExitCode::SUCCESS);
    }
    remove(kubectl, &installed)?;
    if args.purge {
        step("definitions and all their objects are removed", |_| {
            let all: Vec<&Value> = definitions.iter().collect();
            installed::delete(kubectl, &all)
        })?;
    } else if !definitions.is_empty() {
        println!(
            "{} definitions and the objects made by them stay; --purge removes them",
            definitions.len()
        );
    }
    leftovers(kubectl)?;
    Ok(ExitCode::SUCCESS)
}

fn remove(kubectl: &Kubectl, installed: &[Value]) -> Result<()> {
    let (webhooks, others): (Vec<&Value>, Vec<&Value>) = installed
        .iter()
        .partition(|object| kind_of(object).ends_with("WebhookConfiguration"));
    // While a webhook leads nowhere, pods of labelled namespaces are refused.
    step("webhooks are removed", |_| {
        installed::delete(kubectl, &webhooks)
    })?;
    step("control plane, injector and gateways are removed", |_| {
        installed::delete(kubectl, &others)
    })?;
    step(
        "their keys, root certificates and temporary namespaces are removed",
        |_| {
            for namespace in NAMESPACES {
                for (kind, names) in OWN_STATE {
                    let mut delete = vec!["delete", kind, "-n", namespace, "--ignore-not-found"];
                    delete.extend(names.iter());
                    kubectl.succeed(&delete, None, DELETE)?;
                }
            }
            let roots = format!("--field-selector=metadata.name={ROOTS}");
            kubectl.succeed(
                &["delete", "configmaps", "--all-namespaces", &roots],
                None,
                DELETE,
            )?;
            temporary_namespaces(kubectl)
        },
    )?;
    step("namespaces", |_| {
        NAMESPACES
            .iter()
            .try_for_each(|name| namespace(kubectl, name))
    })
}

/// Namespaces in which an installation was to be proved, if that was cut short.
fn temporary_namespaces(kubectl: &Kubectl) -> Result<()> {
    let all = kubectl.json(&["get", "namespaces", "-l", OWNER_SELECTOR, "-o", "json"])?;
    for namespace in items(&all).filter(|one| !NAMESPACES.contains(&name_of(one))) {
        kubectl.succeed(&["delete", "namespace", name_of(namespace)], None, DELETE)?;
    }
    Ok(())
}

/// Removes a namespace of the mesh unless somebody else lives in it.
fn namespace(kubectl: &Kubectl, name: &str) -> Result<()> {
    let found = kubectl.json(&["get", "namespace", name, "--ignore-not-found", "-o", "json"])?;
    if !is_ours(&found) {
        return Ok(());
    }
    let inside = kubectl.json(&["get", SOMEBODYS, "-n", name, "-o", "json"])?;
    let others: Vec<String> = others(&inside);
    if others.is_empty() {
        kubectl.succeed(&["delete", "namespace", name], None, DELETE)?;
        return Ok(());
    }
    println!(
        "namespace {name} stays, because of what is not ours in it: {}",
        others.join(", ")
    );
    Ok(())
}

fn others(inside: &Value) -> Vec<String> {
    items(inside)
        .filter(|object| !is_ours(object) && !EVERYWHERE.contains(&name_of(object)))
        // What has an owner goes with it.
        .filter(|object| object.pointer("/metadata/ownerReferences/0").is_none())
        .map(spelled)
        .collect()
}

/// The objects users made of the mesh's kinds.
fn users_objects(kubectl: &Kubectl, definitions: &[Value]) -> Result<Vec<String>> {
    let kinds: Vec<&str> = definitions.iter().map(name_of).collect();
    let get = ["get", &kinds.join(","), "--all-namespaces", "-o", "json"];
    let all = kubectl.json(&get).context("the objects of the mesh")?;
    Ok(items(&all)
        .map(|object| {
            let namespace = text_at(object, "/metadata/namespace").unwrap_or_default();
            format!("{} {namespace}/{}", kind_of(object), name_of(object))
        })
        .collect())
}

/// Tells what is not removed because it is not ours to change.
fn leftovers(kubectl: &Kubectl) -> Result<()> {
    for label in ["istio-injection", "istio.io/rev"] {
        let get = ["get", "namespaces", "-l", label, "-o", "json"];
        let labelled = kubectl.json(&get)?;
        let names: Vec<&str> = items(&labelled)
            .map(name_of)
            .filter(|name| !NAMESPACES.contains(name))
            .collect();
        if !names.is_empty() {
            println!("still labelled {label}: {}", names.join(", "));
        }
    }
    let pods = kubectl.succeed(
        &["get", "pods", "--all-namespaces", "-o", "json"],
        None,
        SHORT * 2,
    )?;
    let pods: Value = serde_json::from_str(&pods).context("pods")?;
    let proxied = items(&pods)
        .filter(|pod| text_at(pod, "/metadata/annotations/sidecar.istio.io~1status").is_some())
        .count();
    if proxied > 0 {
        println!(
            "{proxied} pods still run with their proxy and its last configuration; restart them: \
             {} rollout restart deployment -n NAMESPACE",
            kubectl.spelled()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_put_into_the_namespace_keeps_it() {
        let object = |kind: &str, name: &str, labels: Value| {
            json!({"kind": kind, "metadata": {"name": name, "namespace": NAMESPACES[0],
                                              "labels": labels}})
        };
        let inside = json!({"items": [
            object("ConfigMap", "kube-root-ca.crt", json!({})),
            object("ConfigMap", ROOTS, json!({})),
            object("Service", "istiod", json!({"app.kubernetes.io/managed-by": "mesh"})),
            object("Deployment", "kiali", json!({})),
            json!({"kind": "ConfigMap", "metadata": {"name": "report", "namespace": NAMESPACES[0],
                   "ownerReferences": [{"kind": "Pod"}]}}),
        ]});
        assert_eq!(others(&inside), ["deployment/kiali"]);
    }

    /// A cluster that knows what a script answers, and writes down what it is asked to delete.
    fn scripted(script: &str) -> (Kubectl, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("deleted");
        let script = format!(
            "[ \"$1\" = delete ] && {{ echo \"$*\" >> {0}; cat >> {0}; echo >> {0}; exit; }}\n\
             {script}",
            log.display()
        );
        let kubectl = Kubectl::new("sh", vec!["-c".into(), script.into(), "kubectl".into()]);
        (kubectl, folder)
    }

    #[test]
    fn webhooks_go_first_and_the_namespace_last() {
        let (kubectl, folder) = scripted(
            r#"case "$2" in
                namespace) echo '{"kind": "Namespace", "metadata": {"name": "istio-system",
                    "labels": {"app.kubernetes.io/managed-by": "mesh"}}}' ;;
                *) echo '{"items": []}' ;;
            esac"#,
        );
        let installed = ["Deployment", "MutatingWebhookConfiguration"]
            .map(|kind| json!({"kind": kind, "metadata": {"name": "x"}}));
        remove(&kubectl, &installed).unwrap();
        let deleted = std::fs::read_to_string(folder.path().join("deleted")).unwrap();
        let at = |part: &str| {
            deleted
                .find(part)
                .unwrap_or_else(|| panic!("{part}: {deleted}"))
        };
        assert!(at("MutatingWebhookConfiguration") < at("\"Deployment\""));
        assert!(at("\"Deployment\"") < at("istio-ca-secret"));
        assert!(at("istio-ca-secret") < at("delete namespace istio-system"));
        assert!(at("-n istio-injector") < at("delete namespace istio-injector"));
    }

    #[test]
    fn the_users_objects_are_listed() {
        let (kubectl, _folder) = scripted(
            r#"echo '{"items": [{"kind": "VirtualService",
                "metadata": {"name": "reviews", "namespace": "shop"}}]}'"#,
        );
        let definitions = [json!({"metadata": {"name": "virtualservices.networking.istio.io"}})];
        let listed = users_objects(&kubectl, &definitions).unwrap();
        assert_eq!(listed, ["VirtualService shop/reviews"]);
    }
}
