//! What an API server asks and what it is answered: `AdmissionReview` in, `AdmissionReview` out.
//!
//! Total: whatever comes in, the answer is a review with the uid of the question, or, where there
//! is no uid to answer to, one line of text. Nothing else happens, so a dry run is like any other.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use k8s_openapi::ByteString;
use mesh_runtime::json::{MOST_VALUES, values};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Configuration, Decision, Labels, Namespace, Outcome, Refusal, SkipReason, inject};

/// Where the labels of namespaces come from.
pub trait Namespaces {
    /// What is known already; may be a moment old.
    fn known(&self, name: &str) -> Option<Labels>;

    /// What the API server says now; `None`: there is no such namespace.
    fn read(&self, name: &str) -> impl Future<Output = Result<Option<Labels>, String>> + Send;
}

/// The answer to one review.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What came of it.
    pub verdict: Verdict,
    /// The pod it was about, for the log: namespace and name.
    pub about: String,
    /// What its author should know, for the log: whoever creates a pod for a Deployment shows
    /// nobody what it is warned of.
    pub warnings: Vec<String>,
    /// The review to send back.
    pub review: Value,
}

/// What came of a review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The pod gets a sidecar.
    Injected,
    /// It has one already.
    AlreadyInjected,
    /// It gets none, for this reason.
    Skipped(String),
    /// It is refused, for this reason.
    Refused(String),
}

/// Something that is no review, and so has no uid to answer to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoReview(String);

/// The versions of reviews we know, which are the same to us.
const VERSIONS: [&str; 2] = ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"];

/// The question, as far as it matters. Everything but the uid may be missing.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Question {
    uid: String,
    operation: String,
    namespace: String,
    name: String,
    sub_resource: String,
    kind: Asked,
    object: Value,
}

/// What kind of object a review is about.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    group: String,
    version: String,
    kind: String,
}

/// Answers one review.
pub async fn answer(
    body: &[u8],
    configuration: &Configuration,
    namespaces: &(impl Namespaces + Sync),
) -> Result<Answer, NoReview> {
    let (version, question) = read(body)?;
    let about = about(&question);
    let reply = match unconcerned(&question) {
        Some(reply) => reply,
        None => concerned(&question, configuration, namespaces).await,
    };
    Ok(reply.into_answer(&version, &question.uid, about))
}

fn read(body: &[u8]) -> Result<(String, Question), NoReview> {
    let values = values(body);
    if values > MOST_VALUES {
        return Err(NoReview(format!(
            "the body has {values} values; a review of more than {MOST_VALUES} is not read"
        )));
    }
    let mut review: Value = serde_json::from_slice(body)
        .map_err(|error| NoReview(format!("the body is no JSON: {error}")))?;
    let text = |key: &str| review.get(key).and_then(Value::as_str).unwrap_or_default();
    let (kind, version) = (text("kind").to_owned(), text("apiVersion").to_owned());
    if kind != "AdmissionReview" || !VERSIONS.contains(&version.as_str()) {
        return Err(NoReview(format!(
            "expected an AdmissionReview of {}, not kind \"{kind}\" of \"{version}\"",
            VERSIONS.join(" or ")
        )));
    }
    let mut request = review
        .get_mut("request")
        .map(Value::take)
        .unwrap_or_default();
    without_nulls(&mut request);
    let uid = request
        .get("uid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if uid.is_empty() {
        return Err(NoReview(
            "the AdmissionReview has no request with a uid".to_owned(),
        ));
    }
    let uid = uid.to_owned();
    let question = Question::deserialize(&request).unwrap_or_else(|error| Question {
        // Told to whoever sent it: the answer needs a uid and nothing else.
        uid,
        operation: format!("unreadable: {error}"),
        ..Question::default()
    });
    Ok((version, question))
}

/// Null and absent are the same.
fn without_nulls(request: &mut Value) {
    if let Value::Object(request) = request {
        request.retain(|_, value| !value.is_null());
    }
}

fn about(question: &Question) -> String {
    let metadata = |key: &str| {
        let metadata = question.object.get("metadata")?;
        metadata.get(key)?.as_str().map(str::to_owned)
    };
    let name = Some(question.name.clone()).filter(|name| !name.is_empty());
    let name = name.or_else(|| metadata("name"));
    // A pod of a controller gets its name after it was reviewed.
    let name = name.or_else(|| Some(format!("{}…", metadata("generateName")?)));
    format!("{}/{}", question.namespace, name.unwrap_or_default())
}

/// The reply to what this webhook has nothing to say about.
fn unconcerned(question: &Question) -> Option<Reply> {
    let Asked {
        group,
        version,
        kind,
    } = &question.kind;
    if question.operation.starts_with("unreadable") {
        return Some(Reply::refused(
            400,
            format!(
                "the review's request cannot be read ({})",
                question.operation
            ),
        ));
    }
    if (group.as_str(), version.as_str(), kind.as_str()) != ("", "v1", "Pod") {
        return Some(Reply::skipped(
            format!("it is a {kind}, not a Pod of v1"),
            vec![format!(
                "the sidecar injector was asked about a {kind} and knows only pods; limit the \
                 rules of its webhook to pods"
            )],
        ));
    }
    if question.operation != "CREATE" {
        let why = format!("nothing is injected on {}", question.operation);
        return Some(Reply::skipped(why, Vec::new()));
    }
    if !question.sub_resource.is_empty() {
        let why = format!("nothing is injected through {}", question.sub_resource);
        return Some(Reply::skipped(why, Vec::new()));
    }
    None
}

async fn concerned(
    question: &Question,
    configuration: &Configuration,
    namespaces: &(impl Namespaces + Sync),
) -> Reply {
    let name = &question.namespace;
    if name.is_empty() {
        return Reply::refused(400, "the review names no namespace".to_owned());
    }
    if !question.object.is_object() {
        return Reply::refused(400, "the review has no pod in it".to_owned());
    }
    let known = namespaces.known(name);
    if let Some(labels) = &known {
        let outcome = consider(configuration, name, labels, &question.object);
        if !may_be_outdated(&outcome) {
            return Reply::of(outcome, &question.object);
        }
    }
    // Either nothing is known of the namespace, or it says no. Labels may have changed since:
    // the API server asks because of labels it sees.
    let labels = match (namespaces.read(name).await, known) {
        (Ok(Some(labels)), _) | (Err(_), Some(labels)) => labels,
        (Ok(None), _) => {
            return Reply::refused(
                404,
                format!(
                    "namespace {name} does not exist (any more), so its labels cannot say \
                         whether the pod gets a sidecar"
                ),
            );
        }
        (Err(why), None) => {
            return Reply::refused(
                503,
                format!(
                    "the labels of namespace {name} cannot be read, so it is unknown whether \
                         the pod gets a sidecar: {why}; try again"
                ),
            );
        }
    };
    let outcome = consider(configuration, name, &labels, &question.object);
    Reply::of(outcome, &question.object)
}

/// Whether newer labels of the namespace could make another answer.
fn may_be_outdated(outcome: &Result<Outcome, Refusal>) -> bool {
    let Ok(Outcome {
        decision: Decision::Skip { reason },
        ..
    }) = outcome
    else {
        return false;
    };
    match reason {
        SkipReason::NamespaceDisabled
        | SkipReason::NamespaceValue(_)
        | SkipReason::OtherRevision(_)
        | SkipReason::NobodyAsks => true,
        SkipReason::SystemNamespace
        | SkipReason::ControlPlaneNamespace
        | SkipReason::InjectorNamespace
        | SkipReason::HostNetwork
        | SkipReason::Windows
        | SkipReason::LabelRefuses
        | SkipReason::AnnotationRefuses
        | SkipReason::NeverSelected
        | SkipReason::PolicyDisabled
        | SkipReason::AlreadyInjected => false,
    }
}

fn consider(
    configuration: &Configuration,
    namespace: &str,
    labels: &Labels,
    pod: &Value,
) -> Result<Outcome, Refusal> {
    let namespace = Namespace {
        name: namespace.to_owned(),
        labels: labels.clone(),
    };
    let injecting = AssertUnwindSafe(|| inject(configuration, &namespace, None, pod));
    // A mistake of ours must not leave the API server without an answer.
    catch_unwind(injecting).unwrap_or_else(|_panic| {
        Err(Refusal::new(
            "the sidecar injector failed on this pod, which is a mistake of its own; label the \
             pod sidecar.istio.io/inject=false to create it without a sidecar, and report it",
        ))
    })
}

/// An answer before it becomes JSON.
struct Reply {
    verdict: Verdict,
    code: u16,
    warnings: Vec<String>,
    patch: Option<Vec<u8>>,
}

impl Reply {
    fn skipped(why: String, warnings: Vec<String>) -> Self {
        Self {
            verdict: Verdict::Skipped(why),
            code: 200,
            warnings,
            patch: None,
        }
    }

    fn refused(code: u16, why: String) -> Self {
        Self {
            verdict: Verdict::Refused(why),
            code,
            warnings: Vec::new(),
            patch: None,
        }
    }

    fn of(outcome: Result<Outcome, Refusal>, before: &Value) -> Self {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(refusal) => return Self::refused(422, refusal.to_string()),
        };
        let patch = json_patch::diff(before, &outcome.pod);
        let patch = if patch.is_empty() {
            None
        } else {
            match serde_json::to_vec(&patch) {
                Ok(patch) => Some(patch),
                Err(error) => {
                    return Self::refused(500, format!("the patch cannot be written: {error}"));
                }
            }
        };
        Self {
            verdict: match outcome.decision {
                Decision::Inject { .. } => Verdict::Injected,
                Decision::Skip {
                    reason: SkipReason::AlreadyInjected,
                } => Verdict::AlreadyInjected,
                Decision::Skip { reason } => Verdict::Skipped(reason.to_string()),
            },
            code: 200,
            warnings: outcome.warnings,
            patch,
        }
    }

    fn into_answer(self, version: &str, uid: &str, about: String) -> Answer {
        let mut response = json!({ "uid": uid, "allowed": self.code == 200 });
        if let Value::Object(response) = &mut response {
            if let Verdict::Refused(why) = &self.verdict {
                let status = json!({
                    "status": "Failure", "code": self.code, "reason": reason(self.code),
                    "message": format!("sidecar injection: {why}"),
                });
                response.insert("status".to_owned(), status);
            }
            if let Some(patch) = self.patch {
                response.insert("patchType".to_owned(), json!("JSONPatch"));
                response.insert("patch".to_owned(), json!(ByteString(patch)));
            }
            if !self.warnings.is_empty() {
                let warnings: Vec<String> = self.warnings.iter().map(|text| short(text)).collect();
                response.insert("warnings".to_owned(), json!(warnings));
            }
        }
        Answer {
            verdict: self.verdict,
            about,
            warnings: self.warnings,
            review: json!({
                "apiVersion": version, "kind": "AdmissionReview", "response": response,
            }),
        }
    }
}

fn reason(code: u16) -> &'static str {
    match code {
        404 => "NotFound",
        422 => "Invalid",
        503 => "ServiceUnavailable",
        500 => "InternalError",
        _ => "BadRequest",
    }
}

/// Warnings above 256 characters may be dropped, so they are cut.
fn short(text: &str) -> String {
    const LONGEST: usize = 250;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let cut: String = text.chars().take(LONGEST).collect();
    format!("{cut}…")
}

#[cfg(test)]
mod tests;
