//! A user's own wishes for a container of ours, written as a container of that name in the pod:
//! its fields are laid over ours, lists by the key that identifies their elements.

use serde_json::Value;

use crate::draft::{self, Draft};
use crate::names::{INIT_CONTAINER, PROXY_CONTAINER};
use crate::refusal::Refusal;

/// The word that stands for our image, where Kubernetes wants some image.
const AUTO: &str = "auto";

/// Fields that make the container what it is.
const FIXED: [&str; 4] = ["command", "args", "restartPolicy", "workingDir"];

/// Fields of the init container that may be changed. It runs as root with a capability that pods
/// may not have, so what it does, sees and may do is ours.
const OF_INIT: [&str; 7] = [
    "name",
    "image",
    "imagePullPolicy",
    "resources",
    "env",
    "terminationMessagePath",
    "terminationMessagePolicy",
];

/// Where the API server mounts the pod's service account into every container it is sent.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Removes the container of this name from the pod.
pub(crate) fn take(draft: &mut Draft, name: &str) -> Result<Option<Value>, Refusal> {
    let mut found: Option<Value> = None;
    for list in [&mut draft.init_containers, &mut draft.containers] {
        while let Some(position) = list.iter().position(|one| draft::name(one) == name) {
            let one = list.remove(position);
            if found.replace(one).is_some() {
                return Err(Refusal::new(format!(
                    "the pod has more than one container named {name}; that name is the mesh's, \
                     and one container of it may say what is different about ours"
                )));
            }
        }
    }
    Ok(found)
}

/// Lays a user's container over ours.
pub(crate) fn merge(ours: Value, theirs: Option<Value>) -> Result<Value, Refusal> {
    let Some(Value::Object(mut theirs)) = theirs else {
        return Ok(ours);
    };
    let name = draft::name(&ours).to_owned();
    if let Some(field) = FIXED.iter().find(|field| {
        theirs
            .get(**field)
            .is_some_and(|value| !value.is_null() && ours.get(**field) != Some(value))
    }) {
        return Err(Refusal::new(format!(
            "container {name} is added by the mesh, and its {field} cannot be changed; remove \
             {field}, or rename the container if it is not about the mesh"
        )));
    }
    let automatic = theirs.get("image").and_then(Value::as_str);
    if automatic.is_some_and(|image| image == AUTO || image.is_empty()) {
        theirs.remove("image");
        // What the API server filled in for the word.
        theirs.remove("imagePullPolicy");
    } else if name == INIT_CONTAINER
        && automatic.is_some_and(|image| image != draft::text(&ours, "image"))
        || name == PROXY_CONTAINER && automatic.is_some_and(|image| !image.contains("proxy"))
    {
        return Err(Refusal::new(format!(
            "container {name} has an image of its own, but that name is the mesh's; rename the \
             container, or write image: {AUTO} to say what is different about ours"
        )));
    }
    if name == INIT_CONTAINER {
        limit_init(&mut theirs)?;
    }
    Ok(overlay(ours, Value::Object(theirs)))
}

/// Refuses what a user may not change about the init container.
fn limit_init(theirs: &mut draft::Object) -> Result<(), Refusal> {
    if let Some(Value::Array(mounts)) = theirs.get_mut("volumeMounts") {
        mounts.retain(|mount| draft::text(mount, "mountPath") != ACCOUNT);
        if mounts.is_empty() {
            theirs.remove("volumeMounts");
        }
    }
    let mut said = theirs.iter().filter(|(_, value)| !value.is_null());
    match said.find(|(field, _)| !OF_INIT.contains(&field.as_str())) {
        Some((field, _)) => Err(Refusal::new(format!(
            "container {INIT_CONTAINER} is added by the mesh and runs as root with NET_ADMIN, so \
             its {field} cannot be changed; remove {field}, or rename the container if it is not \
             about the mesh"
        ))),
        None => Ok(()),
    }
}

/// The key that identifies elements of a list.
fn identity(list: &str) -> Option<&'static str> {
    match list {
        "env" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        _ => None,
    }
}

fn overlay(ours: Value, theirs: Value) -> Value {
    match (ours, theirs) {
        (Value::Object(mut ours), Value::Object(theirs)) => {
            for (key, value) in theirs {
                let merged = match (ours.remove(&key), identity(&key)) {
                    (Some(Value::Array(list)), Some(identity)) => join(list, value, identity),
                    // Of two ways to probe only one may be there.
                    (Some(_), _) if key.ends_with("Probe") => value,
                    (Some(below), _) => overlay(below, value),
                    (None, _) => value,
                };
                ours.insert(key, merged);
            }
            Value::Object(ours)
        }
        (ours, Value::Null) => ours,
        (_, theirs) => theirs,
    }
}

fn join(mut ours: Vec<Value>, theirs: Value, identity: &str) -> Value {
    let theirs = match theirs {
        Value::Array(theirs) => theirs,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Vec::new()
        }
    };
    for element in theirs {
        let same = |one: &&mut Value| one.get(identity) == element.get(identity);
        match ours.iter_mut().find(same) {
            // Replaced whole: a value and a reference to one exclude each other.
            Some(slot) => *slot = element,
            None => ours.push(element),
        }
    }
    Value::Array(ours)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ours() -> Value {
        json!({
            "name": "istio-proxy", "image": "m", "imagePullPolicy": "IfNotPresent",
            "args": ["sidecar"],
            "env": [{ "name": "A", "valueFrom": {} }, { "name": "B", "value": "1" }],
            "resources": { "requests": { "cpu": "10m", "memory": "32Mi" } },
        })
    }

    #[test]
    fn what_the_user_says_wins_and_the_rest_stays() {
        let theirs = json!({
            "name": "istio-proxy", "image": "auto", "imagePullPolicy": "Always",
            "env": [{ "name": "A", "value": "x" }, { "name": "C", "value": "2" }],
            "resources": { "requests": { "cpu": "1" }, "limits": { "memory": "1Gi" } },
            "ports": [{ "containerPort": 1 }], "lifecycle": null,
        });
        let expected = json!({
            "name": "istio-proxy", "image": "m", "imagePullPolicy": "IfNotPresent",
            "args": ["sidecar"],
            "env": [
                { "name": "A", "value": "x" }, { "name": "B", "value": "1" },
                { "name": "C", "value": "2" }
            ],
            "resources": {
                "requests": { "cpu": "1", "memory": "32Mi" }, "limits": { "memory": "1Gi" }
            },
            "ports": [{ "containerPort": 1 }], "lifecycle": null,
        });
        assert_eq!(merge(ours(), Some(theirs)).unwrap(), expected);
        assert_eq!(merge(ours(), None).unwrap(), ours());
    }

    #[test]
    fn what_makes_it_the_proxy_cannot_be_changed() {
        for (theirs, word) in [
            (json!({"name": "istio-proxy", "args": ["--x"]}), "args"),
            (json!({"name": "istio-proxy", "command": ["sh"]}), "command"),
            (json!({"name": "istio-proxy", "image": "nginx"}), "rename"),
        ] {
            let error = merge(ours(), Some(theirs)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let init = json!({"name": "istio-init", "image": "m"});
        for (theirs, word) in [
            (
                json!({"name": "istio-init", "image": "evil/proxy"}),
                "rename",
            ),
            (
                json!({"name": "istio-init", "securityContext": {"privileged": true}}),
                "NET_ADMIN",
            ),
            (
                json!({"name": "istio-init", "volumeMounts": [{"mountPath": "/x"}]}),
                "volumeMounts",
            ),
            (
                json!({"name": "istio-init", "lifecycle": {"postStart": {}}}),
                "lifecycle",
            ),
        ] {
            let error = merge(init.clone(), Some(theirs)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        // What the API server adds to every container, and what is of no consequence.
        let theirs = json!({
            "name": "istio-init", "image": "auto", "securityContext": null,
            "resources": {"limits": {"cpu": "1"}},
            "volumeMounts": [{"name": "t", "mountPath": ACCOUNT}],
        });
        let merged = merge(init, Some(theirs)).unwrap();
        assert_eq!(merged["image"], "m");
        assert_eq!(merged["resources"]["limits"]["cpu"], "1");
        assert_eq!(merged.get("volumeMounts"), None);
        let same = json!({"name": "istio-proxy", "args": ["sidecar"]});
        assert_eq!(merge(ours(), Some(same)).unwrap(), ours());
    }
}
