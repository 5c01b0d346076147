//! Whether another mesh is here already. Two meshes in one cluster fight over the same pods and
//! objects, so an installation never starts beside one.

use anyhow::{Result, bail};
use serde_json::Value;

use super::kubectl::{Kubectl, SHORT, items, name_of, parse, text_at};
use super::manifests::{NAMESPACES, is_ours, kind_of, list, spelled};

/// Fails with everything that belongs to another mesh.
///
/// `objects` is what would be applied, `status` what microk8s says of itself.
pub(crate) fn refuse(kubectl: &Kubectl, objects: &[Value], status: Option<&str>) -> Result<()> {
    let kinds = "customresourcedefinitions,deployments,mutatingwebhookconfigurations,\
                 validatingwebhookconfigurations";
    let all = kubectl.json(&["get", kinds, "--all-namespaces", "-o", "json"])?;
    let mut found = strangers(&all);
    if status.is_some_and(has_addon) {
        found.push("the addon `istio` of microk8s: `microk8s disable istio`".to_owned());
    }
    found.extend(taken(&live(kubectl, objects)?));
    found.sort();
    found.dedup();
    if found.is_empty() {
        return Ok(());
    }
    bail!(
        "another mesh is here, or objects that nobody marked as ours; nothing was changed:\n  {}\n\
         Remove it first (for Istio: `istioctl uninstall --purge`, then `kubectl delete crd` for \
         its definitions; keep a copy of your objects). Objects that are ours carry the label \
         app.kubernetes.io/managed-by=mesh.",
        found.join("\n  ")
    )
}

/// What is in the cluster under the names we would use.
pub(crate) fn live(kubectl: &Kubectl, objects: &[Value]) -> Result<Value> {
    let list = list(objects)?;
    let get = ["get", "--ignore-not-found", "-o", "json", "-f", "-"];
    let text = kubectl.succeed(&get, Some(&list), SHORT)?;
    let found = parse(&text)?;
    // A single object comes without a list around it.
    Ok(match kind_of(&found) {
        "List" | "" => found,
        _ => serde_json::json!({"items": [found]}),
    })
}

/// Objects of another mesh, wherever they are.
fn strangers(all: &Value) -> Vec<String> {
    items(all)
        .filter(|object| !is_ours(object))
        .filter(|object| match kind_of(object) {
            "CustomResourceDefinition" => text_at(object, "/spec/group")
                .is_some_and(|group| group == "istio.io" || group.ends_with(".istio.io")),
            "Deployment" => {
                text_at(object, "/metadata/labels/app") == Some("istiod")
                    || name_of(object) == "istiod"
            }
            _ => name_of(object).starts_with("istio") || calls_injector(object),
        })
        .map(spelled)
        .collect()
}

/// Whether a webhook leads to an injector or validator of Istio, whatever it is called.
fn calls_injector(object: &Value) -> bool {
    let webhooks = object.pointer("/webhooks").and_then(Value::as_array);
    webhooks.into_iter().flatten().any(|webhook| {
        text_at(webhook, "/clientConfig/service/name").is_some_and(|name| name.starts_with("istio"))
    })
}

/// Objects that have a name of ours but not our label. Namespaces may be there before us, and so
/// may the Secret of an authority that its owner brings.
fn taken(live: &Value) -> Vec<String> {
    let may_be_there = |object: &Value| match kind_of(object) {
        "Namespace" => NAMESPACES.contains(&name_of(object)),
        "Secret" => true,
        _ => false,
    };
    items(live)
        .filter(|object| !is_ours(object) && !may_be_there(object))
        .map(spelled)
        .collect()
}

/// Whether microk8s lists its own Istio among what is enabled.
fn has_addon(status: &str) -> bool {
    let mut enabled = false;
    for line in status.lines().map(str::trim) {
        match line {
            "enabled:" => enabled = true,
            "disabled:" => enabled = false,
            _ => {
                if enabled && line.split_whitespace().next() == Some("istio") {
                    return true;
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn one(kind: &str, name: &str, more: &Value) -> Value {
        let mut object = json!({"kind": kind, "metadata": {"name": name, "labels": {}}});
        for (key, value) in more.as_object().unwrap() {
            object[key] = value.clone();
        }
        object
    }

    fn ours(mut object: Value) -> Value {
        object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "mesh".into();
        object
    }

    #[test]
    fn an_istio_is_recognised_by_each_of_its_parts() {
        let crd = one(
            "CustomResourceDefinition",
            "virtualservices.networking.istio.io",
            &json!({"spec": {"group": "networking.istio.io"}}),
        );
        let mut renamed = one("Deployment", "istiod-1-20", &json!({}));
        renamed["metadata"]["labels"]["app"] = "istiod".into();
        renamed["metadata"]["namespace"] = "mesh-old".into();
        let webhook = one(
            "MutatingWebhookConfiguration",
            "sidecars",
            &json!({"webhooks": [{"clientConfig": {"service": {"name": "istiod"}}}]}),
        );
        let all = json!({"items": [crd, renamed, webhook]});
        assert_eq!(
            strangers(&all),
            [
                "customresourcedefinition/virtualservices.networking.istio.io",
                "deployment/istiod-1-20 in mesh-old",
                "mutatingwebhookconfiguration/sidecars",
            ]
        );
    }

    #[test]
    fn our_own_installation_and_other_software_are_no_strangers() {
        let crd = json!({"spec": {"group": "networking.istio.io"}});
        let other = json!({"spec": {"group": "cert-manager.io"}});
        let all = json!({"items": [
            ours(one("CustomResourceDefinition", "gateways.networking.istio.io", &crd)),
            ours(one("Deployment", "istiod", &json!({}))),
            one("CustomResourceDefinition", "certificates.cert-manager.io", &other),
            one("Deployment", "nginx", &json!({})),
            one("ValidatingWebhookConfiguration", "cert-manager-webhook", &json!({})),
        ]});
        assert_eq!(strangers(&all), Vec::<String>::new());
    }

    #[test]
    fn a_name_that_is_taken_is_told_and_an_empty_namespace_is_not() {
        let live = json!({"items": [
            one("Namespace", NAMESPACES[0], &json!({})),
            one("Namespace", NAMESPACES[1], &json!({})),
            one("Secret", "istio-ca-secret", &json!({})),
            one("ServiceAccount", "istiod", &json!({})),
            ours(one("Service", "istiod", &json!({}))),
        ]});
        assert_eq!(taken(&live), ["serviceaccount/istiod"]);
    }

    #[test]
    fn the_addon_counts_only_when_it_is_enabled() {
        let status = |enabled: &str, disabled: &str| {
            format!(
                "microk8s is running\naddons:\n  enabled:\n    dns   # (core) CoreDNS\n{enabled}  \
                 disabled:\n{disabled}    metallb # (core)\n"
            )
        };
        let line = "    istio                # (community) Core Istio service mesh services\n";
        assert!(has_addon(&status(line, "")));
        assert!(!has_addon(&status("", line)));
        assert!(!has_addon("microk8s is running"));
    }
}
