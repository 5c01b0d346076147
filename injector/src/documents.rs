//! Injection into files: every workload in a stream of YAML documents gets the sidecar its pods
//! would get from the webhook. Other objects pass through as they are; comments do not.

use serde_json::{Value, json};

use crate::names::{DEFAULT_REVISION, INJECTION, REVISION};
use crate::{Configuration, Decision, Labels, Namespace, Workload, inject};

/// What came of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injected {
    /// The documents, as YAML.
    pub text: String,
    /// What the user should know, each beginning with the object it is about.
    pub notes: Vec<String>,
    /// How many workloads got a sidecar.
    pub workloads: usize,
}

/// A file that cannot be injected into.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It is no YAML.
    #[error("not YAML: {0}")]
    Yaml(String),
    /// A workload in it is refused.
    #[error("{object}: {why}")]
    Refused {
        /// Which.
        object: String,
        /// Why.
        why: String,
    },
    /// The outcome cannot be written.
    #[error("{object} cannot be written as YAML: {why}")]
    Unwritable {
        /// Which.
        object: String,
        /// Why.
        why: String,
    },
}

/// Injects into every workload of a text. Objects that name no namespace count to `namespace`.
///
/// Every namespace counts as enabled: whoever runs this on a file wants it. Pods still refuse by
/// label or annotation, and namespaces of Kubernetes are left alone.
pub fn inject_documents(
    configuration: &Configuration,
    namespace: &str,
    text: &str,
) -> Result<Injected, Failure> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)
        .map_err(|error| Failure::Yaml(error.without_snippet().to_string()))?;
    let mut run = Run {
        configuration,
        namespace,
        notes: Vec::new(),
        workloads: 0,
    };
    let mut written = Vec::new();
    for mut document in documents {
        run.visit(&mut document)?;
        let text = serde_saphyr::to_string(&document).map_err(|error| Failure::Unwritable {
            object: described(&document),
            why: error.to_string(),
        })?;
        written.push(text);
    }
    Ok(Injected {
        text: written.join("---\n"),
        notes: run.notes,
        workloads: run.workloads,
    })
}

struct Run<'c> {
    configuration: &'c Configuration,
    namespace: &'c str,
    notes: Vec<String>,
    workloads: usize,
}

impl Run<'_> {
    fn visit(&mut self, object: &mut Value) -> Result<(), Failure> {
        let kind = object
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if kind == "List" || kind.ends_with("List") {
            let items = object.get_mut("items").and_then(Value::as_array_mut);
            for item in items.into_iter().flatten() {
                self.visit(item)?;
            }
            return Ok(());
        }
        let Some(path) = template_path(object) else {
            return Ok(());
        };
        let what = described(object);
        let text = |key: &str| {
            let metadata = object.get("metadata")?;
            metadata.get(key)?.as_str().map(str::to_owned)
        };
        let name = text("name").unwrap_or_default();
        let namespace = self.enabled(text("namespace"));
        let kind = kind.to_owned();
        let Some(template) = object.pointer_mut(path) else {
            self.notes.push(format!("{what}: it has no pod template"));
            return Ok(());
        };
        let workload = Workload {
            kind: &kind,
            name: &name,
        };
        let workload = (kind != "Pod" && !name.is_empty()).then_some(workload);
        let before = as_pod(template);
        let outcome = inject(self.configuration, &namespace, workload, &before);
        let outcome = outcome.map_err(|refusal| Failure::Refused {
            object: what.clone(),
            why: refusal.to_string(),
        })?;
        let warnings = outcome.warnings.iter();
        self.notes
            .extend(warnings.map(|text| format!("{what}: {text}")));
        match outcome.decision {
            Decision::Inject { .. } => {
                put_back(template, outcome.pod);
                self.workloads += 1;
            }
            Decision::Skip { reason } => self.notes.push(format!("{what}: no sidecar: {reason}")),
        }
        Ok(())
    }

    fn enabled(&self, name: Option<String>) -> Namespace {
        let revision = &self.configuration.settings.revision;
        let label = if revision == DEFAULT_REVISION {
            (INJECTION, "enabled")
        } else {
            (REVISION, revision.as_str())
        };
        Namespace {
            name: name.unwrap_or_else(|| self.namespace.to_owned()),
            labels: Labels::from([(label.0.to_owned(), label.1.to_owned())]),
        }
    }
}

/// Where the pod is in a workload; `None`: the object is none.
fn template_path(object: &Value) -> Option<&'static str> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let version = text("apiVersion");
    let group = version.split_once('/').map_or("", |(group, _)| group);
    match (group, text("kind")) {
        ("", "Pod") => Some(""),
        ("", "ReplicationController")
        | ("apps" | "extensions", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job") => Some("/spec/template"),
        ("batch", "CronJob") => Some("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// A template as the pod it makes.
fn as_pod(template: &Value) -> Value {
    let mut pod = template.as_object().cloned().unwrap_or_default();
    pod.entry("apiVersion").or_insert_with(|| json!("v1"));
    pod.entry("kind").or_insert_with(|| json!("Pod"));
    Value::Object(pod)
}

fn put_back(template: &mut Value, pod: Value) {
    let had_kind = template.get("kind").is_some();
    *template = pod;
    if let Value::Object(template) = template
        && !had_kind
    {
        template.remove("apiVersion");
        template.remove("kind");
    }
}

fn described(object: &Value) -> String {
    let kind = object.get("kind").and_then(Value::as_str);
    let name = object.pointer("/metadata/name").and_then(Value::as_str);
    format!(
        "{} {}",
        kind.unwrap_or("an object"),
        name.unwrap_or("without a name")
    )
}

#[cfg(test)]
mod tests;
