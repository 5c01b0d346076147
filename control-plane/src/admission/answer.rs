//! What an API server is answered, and what is counted of it.

use std::fmt;
use std::net::SocketAddr;

use serde_json::{Value, json};

use super::question::Question;
use crate::compile::Diagnostic;
use crate::crd::{Kind, Problem};

/// Longest warning API servers are sure to pass on.
const LONGEST_WARNING: usize = 256;
/// Most of all warnings together that API servers are sure to pass on.
const ALL_WARNINGS: usize = 4096;
/// Kept free for saying how many are left out.
const REMAINDER: usize = 64;
/// Most problems that are listed; a document with more says enough about itself.
const MOST_CAUSES: usize = 50;

/// Why an object is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The review cannot be read.
    Malformed,
    /// The object is not what its kind may be.
    Invalid,
    /// It asks for protection that cannot be given yet.
    NotEnforceable,
    /// It takes what belongs to others.
    Foreign,
    /// It is too large.
    TooLarge,
    /// The fault is ours.
    Internal,
}

impl Failure {
    const fn code(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Invalid | Self::NotEnforceable | Self::Foreign => 422,
            Self::TooLarge => 413,
            Self::Internal => 500,
        }
    }

    /// The reason as API servers know it.
    const fn status(self) -> &'static str {
        match self {
            Self::Malformed => "BadRequest",
            Self::Invalid | Self::NotEnforceable | Self::Foreign => "Invalid",
            Self::TooLarge => "RequestEntityTooLarge",
            Self::Internal => "InternalError",
        }
    }

    /// The reason in metrics.
    const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Invalid => "invalid",
            Self::NotEnforceable => "not_enforceable",
            Self::Foreign => "foreign",
            Self::TooLarge => "too_large",
            Self::Internal => "internal",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Path of the field; empty for the whole object.
    pub field: String,
    /// What is wrong, and the way out.
    pub message: String,
}

impl Cause {
    fn new(field: &str, message: &str, hint: Option<&String>) -> Self {
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        Self {
            field: field.to_owned(),
            message: format!("{message}{hint}"),
        }
    }
}

impl From<&Problem> for Cause {
    fn from(problem: &Problem) -> Self {
        let field = problem.field.as_deref().unwrap_or_default();
        Self::new(field, &problem.message, problem.hint.as_ref())
    }
}

impl From<&Diagnostic> for Cause {
    fn from(finding: &Diagnostic) -> Self {
        Self::new(&finding.field, &finding.message, finding.hint.as_ref())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    failure: Failure,
    message: String,
    causes: Vec<Cause>,
}

/// The answer to one review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    refusal: Option<Refusal>,
    warnings: Vec<String>,
    /// To whom.
    review_version: String,
    uid: String,
    /// What it was about.
    object: String,
    kind: Option<Kind>,
    version: String,
}

impl Answer {
    /// The object may be stored.
    pub(super) fn allowed() -> Self {
        Self {
            refusal: None,
            warnings: Vec::new(),
            review_version: String::new(),
            uid: String::new(),
            object: String::new(),
            kind: None,
            version: String::new(),
        }
    }

    /// It may not, for one reason.
    pub(super) fn refused(failure: Failure, message: impl Into<String>) -> Self {
        Self {
            refusal: Some(Refusal {
                failure,
                message: message.into(),
                causes: Vec::new(),
            }),
            ..Self::allowed()
        }
    }

    /// It may not, for all of these. `kubectl` shows causes where a failure is `Invalid`, and not the
    /// message.
    pub(super) fn denied(
        failure: Failure,
        kind: impl fmt::Display,
        mut causes: Vec<Cause>,
    ) -> Self {
        let more = causes.len().saturating_sub(MOST_CAUSES);
        causes.truncate(MOST_CAUSES);
        let mut message = match causes.as_slice() {
            [cause] => format!("{kind} refused: {cause}"),
            several => several.iter().fold(
                format!("{kind} refused for {} reasons:", several.len() + more),
                |text, cause| format!("{text}\n- {cause}"),
            ),
        };
        if more > 0 {
            message = format!("{message}\n- ... and {more} more");
        }
        Self {
            refusal: Some(Refusal {
                failure,
                message,
                causes,
            }),
            ..Self::allowed()
        }
    }

    /// The same answer with a warning for whoever wrote the object; each is said once.
    #[must_use]
    pub(super) fn warn(mut self, warning: String) -> Self {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
        self
    }

    /// The same answer, to this question.
    pub(super) fn to(self, question: &Question) -> Self {
        let kind = Kind::find(&question.kind.group, &question.kind.kind);
        let kind = kind.filter(|kind| kind.is_mesh_resource());
        let version = &question.kind.version;
        let known = kind.is_some_and(|kind| kind.served_versions().contains(&version.as_str()));
        Self {
            review_version: question.review_version.clone(),
            uid: question.uid.clone(),
            object: question.about(),
            kind,
            version: version
                .clone()
                .split_off(if known { 0 } else { version.len() }),
            ..self
        }
    }

    /// Why the object is refused, if it is.
    pub fn failure(&self) -> Option<Failure> {
        self.refusal.as_ref().map(|refusal| refusal.failure)
    }

    /// Adds it to the metrics, and to the log if the object is refused.
    pub(super) fn count(&self, peer: SocketAddr) {
        let group = self.kind.map_or("", Kind::group);
        let resource = self.kind.map_or("", Kind::as_str);
        let version = self.version.clone();
        let Some(refusal) = &self.refusal else {
            metrics::counter!(
                "galley_validation_passed",
                "group" => group, "version" => version, "resource" => resource
            )
            .increment(1);
            return;
        };
        metrics::counter!(
            "galley_validation_failed",
            "group" => group, "version" => version, "resource" => resource,
            "reason" => refusal.failure.label()
        )
        .increment(1);
        tracing::info!(
            %peer,
            kind = resource,
            object = self.object,
            reason = refusal.failure.label(),
            "refused at admission: {}",
            refusal.message
        );
    }

    /// The review to send back.
    pub fn to_review(&self) -> Value {
        let mut response = json!({ "uid": self.uid, "allowed": self.refusal.is_none() });
        if let Value::Object(response) = &mut response {
            if let Some(refusal) = &self.refusal {
                response.insert("status".to_owned(), self.status(refusal));
            }
            let warnings = shortened(&self.warnings);
            if !warnings.is_empty() {
                response.insert("warnings".to_owned(), json!(warnings));
            }
        }
        json!({
            "apiVersion": self.review_version, "kind": "AdmissionReview", "response": response,
        })
    }

    fn status(&self, refusal: &Refusal) -> Value {
        let causes: Vec<Value> = refusal
            .causes
            .iter()
            .map(|cause| {
                json!({
                    "reason": "FieldValueInvalid",
                    "field": cause.field,
                    "message": cause.message,
                })
            })
            .collect();
        let (_, name) = self.object.split_once('/').unwrap_or_default();
        json!({
            "status": "Failure",
            "code": refusal.failure.code(),
            "reason": refusal.failure.status(),
            "message": refusal.message,
            "details": {
                "name": name,
                "group": self.kind.map_or("", Kind::group),
                "kind": self.kind.map_or("", Kind::as_str),
                "causes": causes,
            },
        })
    }
}

/// Warnings as API servers pass them on: none too long, and not too many.
fn shortened(warnings: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut room = ALL_WARNINGS - REMAINDER;
    for (index, warning) in warnings.iter().enumerate() {
        let warning = short(warning);
        let Some(left) = room.checked_sub(warning.len()) else {
            let more = warnings.len() - index;
            kept.push(format!("... and {more} more warnings"));
            break;
        };
        room = left;
        kept.push(warning);
    }
    kept
}

fn short(text: &str) -> String {
    // Line breaks would end the header a warning travels in.
    let line = text.replace(['\n', '\r'], " ");
    if line.len() <= LONGEST_WARNING {
        return line;
    }
    let end = line.floor_char_boundary(LONGEST_WARNING - 3);
    format!("{}...", line.get(..end).unwrap_or_default())
}
