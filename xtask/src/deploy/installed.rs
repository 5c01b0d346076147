//! What an installation left in the cluster, found by its label and by the names it uses.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::guard;
use super::kubectl::{Kubectl, items, name_of, text_at};
use super::manifests::{NAMESPACES, OWNER_SELECTOR, kind_of, list};

/// Kinds of the cluster, not of a namespace, webhooks first: what calls must go before what
/// answers.
const CLUSTER_KINDS: &str = "mutatingwebhookconfigurations,validatingwebhookconfigurations,\
                             clusterrolebindings,clusterroles";
const NAMESPACE_KINDS: &str = "horizontalpodautoscalers,poddisruptionbudgets,deployments,services,\
                               configmaps,rolebindings,roles,serviceaccounts,resourcequotas,networkpolicies";
/// The bundle of roots the control plane publishes in every namespace.
pub(crate) const ROOTS: &str = "istio-ca-root-cert";
const DELETE: Duration = Duration::from_mins(3);

/// Everything an installation applied, but definitions, the namespaces, and the Secrets with the
/// keys of control plane and injector.
pub(crate) fn objects(kubectl: &Kubectl) -> Result<Vec<Value>> {
    let select = ["-l", OWNER_SELECTOR, "-o", "json"];
    let mut kinds = CLUSTER_KINDS.to_owned();
    if guard::is_known(kubectl)? {
        kinds = format!("{kinds},{}", guard::KINDS);
    }
    let mut get = vec!["get", &kinds];
    get.extend(select);
    let mut lists = vec![kubectl.json(&get)?];
    for namespace in NAMESPACES {
        let mut inside = vec!["get", NAMESPACE_KINDS, "-n", namespace];
        inside.extend(select);
        lists.push(kubectl.json(&inside)?);
    }
    Ok(lists
        .iter()
        .flat_map(items)
        // The control plane made it and keeps it.
        .filter(|object| name_of(object) != ROOTS)
        .cloned()
        .collect())
}

/// The definitions an installation applied.
pub(crate) fn definitions(kubectl: &Kubectl) -> Result<Vec<Value>> {
    let get = [
        "get",
        "customresourcedefinitions",
        "-l",
        OWNER_SELECTOR,
        "-o",
        "json",
    ];
    Ok(items(&kubectl.json(&get)?).cloned().collect())
}

/// What is installed but no longer wanted, as after a change of profile.
pub(crate) fn superfluous<'v>(installed: &'v [Value], wanted: &[Value]) -> Vec<&'v Value> {
    let wanted: BTreeSet<_> = wanted.iter().map(key).collect();
    let gone = installed
        .iter()
        .filter(|object| !wanted.contains(&key(object)));
    gone.collect()
}

fn key(object: &Value) -> (&str, &str, &str) {
    let namespace = text_at(object, "/metadata/namespace").unwrap_or_default();
    (kind_of(object), namespace, name_of(object))
}

/// Deletes objects and waits until they are gone.
pub(crate) fn delete(kubectl: &Kubectl, objects: &[&Value]) -> Result<()> {
    if objects.is_empty() {
        return Ok(());
    }
    let list = list(objects.iter().copied())?;
    // Pods, too, must be gone: a control plane that is ending still writes.
    let delete = [
        "delete",
        "--ignore-not-found",
        "--wait=true",
        "--cascade=foreground",
        "-f",
        "-",
    ];
    kubectl.succeed(&delete, Some(&list), DELETE)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_no_longer_wanted_goes() {
        let object = |kind: &str, name: &str| json!({"kind": kind, "metadata": {"name": name, "namespace": NAMESPACES[0]}});
        let wanted = [object("Deployment", "istiod"), object("Service", "istiod")];
        let mut installed = wanted.to_vec();
        installed.push(object("Deployment", "istio-egressgateway"));
        installed.push(object("ServiceAccount", "istiod"));
        let names: Vec<_> = superfluous(&installed, &wanted)
            .into_iter()
            .map(kind_of)
            .collect();
        assert_eq!(names, ["Deployment", "ServiceAccount"]);
        assert!(superfluous(&wanted, &installed).is_empty());
    }
}
