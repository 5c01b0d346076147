//! Whether the settings of the mesh may be stored as they are: ConfigMap `istio` of the root
//! namespace, read by the same function as when they take effect.

use serde_json::Value;

use super::answer::{Answer, Cause, Failure};
use super::question::Question;
use crate::crd::Severity;
use crate::model::kept::KeptSettings;
use crate::source::mesh_config::{Found, KEY, NAME, resolve};

/// Judges a ConfigMap. Others than that of the settings are let through: nobody asked for them to
/// be checked.
pub(super) fn judge(question: &Question, root_namespace: &str) -> Answer {
    let text = |object: &Value| {
        let data = object.get("data").and_then(|data| data.get(KEY));
        data.and_then(Value::as_str).map(str::to_owned)
    };
    let new = text(&question.object);
    let is_old = question.operation == "UPDATE" && text(&question.old_object) == new;
    if question.about() != format!("{root_namespace}/{NAME}") || is_old {
        return Answer::allowed();
    }
    // With values to fall back to, whatever they are, every mistake is only named.
    let resolved = resolve(Found::There(new.as_deref()), Some(&KeptSettings::new()));
    let (errors, others): (Vec<_>, Vec<_>) = resolved
        .problems
        .iter()
        .partition(|problem| problem.severity == Severity::Error);
    let mut answer = if errors.is_empty() {
        Answer::allowed()
    } else {
        let causes = errors.into_iter().map(Cause::from).collect();
        Answer::denied(Failure::Invalid, "MeshConfig", causes)
    };
    for problem in others {
        answer = answer.warn(problem.to_string());
    }
    for key in &resolved.reading.not_acted_on {
        answer = answer.warn(format!("{KEY}.{key} is accepted, but not acted on"));
    }
    answer
}
