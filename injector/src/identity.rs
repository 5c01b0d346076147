//! Which workload a pod belongs to, as dashboards group pods: the canonical name and revision.

use serde_json::Value;

use crate::Labels;
use crate::draft::{Draft, Object, texts};

const NAME: &str = "service.istio.io/canonical-name";
const REVISION: &str = "service.istio.io/canonical-revision";
/// The longest value of a label.
const LONGEST: usize = 63;

/// Labels the pod with its canonical name and revision. `workload` is the name of what owns the
/// pod, where that is known already.
pub(crate) fn label(draft: &mut Draft, workload: Option<&str>) {
    let labels = texts(&draft.labels);
    let first = |names: [&str; 2]| {
        let mut values = names.into_iter().filter_map(|name| labels.get(name));
        values.find(|value| !value.is_empty()).cloned()
    };
    let name = first(["app.kubernetes.io/name", "app"])
        .or_else(|| workload.map(str::to_owned))
        .or_else(|| owner(&draft.metadata, &labels));
    if let Some(name) = name.map(|name| as_label(&name)).filter(|n| !n.is_empty()) {
        draft.label_if_absent(NAME, name);
    }
    let revision = first(["app.kubernetes.io/version", "version"]);
    draft.label_if_absent(REVISION, revision.unwrap_or_else(|| "latest".to_owned()));
}

/// What controls a pod: its kind and name.
pub(crate) fn controller(metadata: &Object) -> Option<(String, String)> {
    let owners = metadata.get("ownerReferences")?.as_array()?;
    let owner = owners
        .iter()
        .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    let text = |key: &str| Some(owner.get(key)?.as_str()?.to_owned());
    Some((text("kind")?, text("name")?))
}

/// The name of the workload a user made: the Deployment behind a ReplicaSet, the CronJob behind a
/// Job.
fn owner(metadata: &Object, labels: &Labels) -> Option<String> {
    let text = |key: &str| metadata.get(key).and_then(Value::as_str);
    let Some((kind, name)) = controller(metadata) else {
        let own = text("name").or(text("generateName"))?;
        return Some(own.trim_end_matches('-').to_owned());
    };
    Some(workload_name(&kind, &name, labels))
}

/// The name of the workload behind a controller.
pub(crate) fn workload_name(kind: &str, name: &str, labels: &Labels) -> String {
    let behind = match kind {
        "ReplicaSet" => labels.get("pod-template-hash").and_then(|hash| {
            let before = name.strip_suffix(hash.as_str())?;
            before.strip_suffix('-')
        }),
        // A CronJob names its Jobs by the minute they are for.
        "Job" => name.rsplit_once('-').and_then(|(before, minute)| {
            let digits = minute.bytes().all(|byte| byte.is_ascii_digit());
            (digits && (8..=10).contains(&minute.len())).then_some(before)
        }),
        _ => None,
    };
    behind.unwrap_or(name).to_owned()
}

/// The name as a label may have it.
fn as_label(name: &str) -> String {
    let short: String = name.chars().take(LONGEST).collect();
    short
        .trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn labelled(metadata: &Value, workload: Option<&str>) -> (String, String) {
        let mut draft = Draft::of(&json!({ "metadata": metadata })).unwrap();
        label(&mut draft, workload);
        let labels = texts(&draft.labels);
        let value = |name: &str| labels.get(name).cloned().unwrap_or_default();
        (value(NAME), value(REVISION))
    }

    #[test]
    fn labels_then_owner_then_name() {
        let owned = |kind: &str, name: &str| {
            json!({
                "labels": { "pod-template-hash": "5d9c" },
                "ownerReferences": [
                    { "kind": "Other", "name": "o" },
                    { "kind": kind, "name": name, "controller": true }
                ],
            })
        };
        for (metadata, workload, expected) in [
            (
                json!({"labels": {"app.kubernetes.io/name": "n", "app": "a", "version": "v1"}}),
                None,
                ("n", "v1"),
            ),
            (json!({"labels": {"app": "a"}}), Some("w"), ("a", "latest")),
            (json!({"name": "p"}), Some("w"), ("w", "latest")),
            (owned("ReplicaSet", "shop-5d9c"), None, ("shop", "latest")),
            (
                owned("ReplicaSet", "shop-other"),
                None,
                ("shop-other", "latest"),
            ),
            (
                owned("Job", "nightly-28412345"),
                None,
                ("nightly", "latest"),
            ),
            (owned("Job", "import-7"), None, ("import-7", "latest")),
            (owned("StatefulSet", "db"), None, ("db", "latest")),
            (json!({"generateName": "bare-"}), None, ("bare", "latest")),
            (json!({}), None, ("", "latest")),
            (
                json!({"name": "p", "labels": {NAME: "own", REVISION: "r"}}),
                None,
                ("own", "r"),
            ),
        ] {
            let (name, revision) = labelled(&metadata, workload);
            assert_eq!((name.as_str(), revision.as_str()), expected, "{metadata}");
        }
    }

    #[test]
    fn a_long_name_is_cut_to_a_label() {
        let name = format!("{}-.x", "a".repeat(62));
        assert_eq!(as_label(&name), "a".repeat(62));
    }
}
