//! The validating webhook: whether an object of the mesh may be stored, and what to tell whoever
//! wrote it.
//!
//! An object is judged by itself: decoded and checked as everywhere else, then compiled together
//! with what it refers to ([`stage`]), so that what cannot be enforced is refused by the same
//! decision that would refuse it later. Other objects have a say only where it takes what is theirs
//! ([`neighbours`]); apart from that the order in which objects are applied must not matter. Nothing
//! is changed by a review, so a dry run is like any other.

mod answer;
mod neighbours;
mod places;
mod question;
mod settings;
mod stage;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::StatusCode;
use mesh_runtime::admin::{AdminResponse, Router};
use mesh_runtime::shares::Crowded;

use tokio::sync::watch;

use crate::compile::diagnostics::codes;
use crate::compile::{Code, Diagnostic};
use crate::crd::{Kind, Object, Severity, decode};
use crate::model::MeshSettings;
use crate::push::board::Examined;

pub use answer::{Answer, Cause, Failure};
use places::{Places, WITHIN};
pub use question::NotAReview;
use question::Question;

/// Where the API server asks.
pub const PATH: &str = "/validate";
/// Largest object that is looked at; what API servers store is half of it.
const LARGEST_OBJECT: usize = 3 << 20;
/// Answers reviews.
#[derive(Clone, Debug, Default)]
pub struct Reviewer {
    settings: Arc<MeshSettings>,
    /// The mesh as it is, once it is known.
    mesh: Option<watch::Receiver<Option<Arc<Examined>>>>,
}

impl Reviewer {
    /// Judges by these settings of the mesh: its domain and its root namespace.
    pub fn new(settings: MeshSettings) -> Self {
        Self {
            settings: Arc::new(settings),
            mesh: None,
        }
    }

    /// Looks at the objects of the mesh, too.
    #[must_use]
    pub fn beside(self, mesh: watch::Receiver<Option<Arc<Examined>>>) -> Self {
        Self {
            mesh: Some(mesh),
            ..self
        }
    }

    /// What the object does to others that are there.
    fn neighbours(&self, object: &Object) -> Vec<Diagnostic> {
        let mesh = self.mesh.as_ref().and_then(|mesh| mesh.borrow().clone());
        mesh.map_or_else(Vec::new, |examined| {
            neighbours::findings(object, &examined.input.world)
        })
    }

    /// Answers one review, given as the body of a request.
    pub fn review(&self, body: &[u8]) -> Result<Answer, NotAReview> {
        let question = Question::read(body)?;
        let answering = AssertUnwindSafe(|| self.judge(&question, body.len()));
        // A mistake of ours must not leave the API server without an answer.
        let answer = catch_unwind(answering).unwrap_or_else(|_panic| {
            Answer::refused(
                Failure::Internal,
                "the control plane failed on this object, which is a mistake of its own; please \
                 report it with the object",
            )
        });
        Ok(answer.to(&question))
    }

    fn judge(&self, question: &Question, size: usize) -> Answer {
        if let Some(why) = &question.unreadable {
            return Answer::refused(
                Failure::Malformed,
                format!("the request of the review cannot be read: {why}"),
            );
        }
        if !matches!(question.operation.as_str(), "CREATE" | "UPDATE")
            || !question.sub_resource.is_empty()
        {
            return Answer::allowed();
        }
        if question.kind.group.is_empty() && question.kind.kind == "ConfigMap" {
            return settings::judge(question, &self.settings.root_namespace);
        }
        let kind = Kind::find(&question.kind.group, &question.kind.kind);
        let Some(kind) = kind.filter(|kind| kind.is_mesh_resource()) else {
            return Answer::allowed().warn(format!(
                "{} of {:?} is not a kind of this mesh; nothing was checked",
                question.kind.kind, question.kind.group
            ));
        };
        if !question.object.is_object() {
            return Answer::refused(Failure::Malformed, "the review has no object in it");
        }
        if question.leaves_spec_alone() {
            return Answer::allowed();
        }
        if size > LARGEST_OBJECT {
            let object = serde_json::to_vec(&question.object).map_or(size, |text| text.len());
            if object > LARGEST_OBJECT {
                return Answer::refused(
                    Failure::TooLarge,
                    format!(
                        "the {kind} is {object} bytes long; at most {LARGEST_OBJECT} are looked \
                         at; split it into several objects"
                    ),
                );
            }
        }
        self.check(kind, question)
    }

    fn check(&self, kind: Kind, question: &Question) -> Answer {
        let decoded = decode(question.document());
        let (errors, others): (Vec<_>, Vec<_>) = decoded
            .problems
            .iter()
            .partition(|problem| problem.severity == Severity::Error);
        let mut answer = match decoded.object() {
            None => {
                let causes = errors.into_iter().map(Cause::from).collect();
                Answer::denied(Failure::Invalid, kind, causes)
            }
            Some(object) => {
                let own = stage::findings(object, &self.settings);
                let foreign = self.neighbours(object);
                let is_error = |one: &&Diagnostic| one.severity() == Severity::Error;
                let (refusals, mut warnings): (Vec<_>, Vec<_>) = own.iter().partition(is_error);
                let (takes, gives): (Vec<_>, Vec<_>) = foreign.iter().partition(is_error);
                warnings.extend(gives);
                let wrong = |one: &&Diagnostic| WRONG.contains(&one.code);
                let failure = if refusals.is_empty() {
                    Failure::Foreign
                } else if refusals.iter().any(wrong) {
                    Failure::Invalid
                } else {
                    Failure::NotEnforceable
                };
                let causes: Vec<_> = refusals.into_iter().chain(takes).map(Cause::from).collect();
                let answer = if causes.is_empty() {
                    Answer::allowed()
                } else {
                    Answer::denied(failure, kind, causes)
                };
                let warnings = warnings.into_iter().map(Cause::from);
                warnings.fold(answer, |answer, one| answer.warn(one.to_string()))
            }
        };
        for problem in others {
            if problem.severity == Severity::Warning {
                answer = answer.warn(problem.to_string());
            }
        }
        answer
    }
}

/// What is refused for what it says, and not for what cannot be enforced yet.
const WRONG: [Code; 3] = [
    codes::BAD_PATTERN,
    codes::RESERVED_ADDRESS,
    codes::EXPRESSIONS_TOO_LARGE,
];

/// Tells the exporter what the metrics of the webhook mean.
pub fn describe() {
    metrics::describe_counter!(
        "galley_validation_passed",
        "Objects let through at admission, by kind."
    );
    metrics::describe_counter!(
        "galley_validation_failed",
        "Objects refused at admission, by kind and reason."
    );
}

/// Adds the webhook to the routes of a listener with TLS.
#[must_use]
pub fn mount(router: Router, reviewer: Reviewer) -> Router {
    let places = Places::new();
    router.post(
        PATH,
        "whether an object of the mesh may be stored (AdmissionReview)",
        move |request| {
            let reviewer = reviewer.clone();
            let (body, peer) = (request.body().clone(), request.peer());
            let places = places.clone();
            async move {
                let place = match places.take(peer.ip(), body.len()).await {
                    Ok(place) => place,
                    Err(crowded) => return busy(peer, crowded),
                };
                // Whoever asks may leave; the place is taken until the work is done.
                let reviewing = tokio::task::spawn_blocking(move || {
                    let answer = reviewer.review(&body);
                    drop(place);
                    answer
                });
                match reviewing.await {
                    Ok(answer) => respond(peer, answer),
                    Err(error) => AdminResponse::error(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        format!("the review was not finished: {error}"),
                    ),
                }
            }
        },
    )
}

fn busy(peer: SocketAddr, crowded: Crowded) -> AdminResponse {
    let (status, reason, who) = match crowded {
        Crowded::Source => (StatusCode::TOO_MANY_REQUESTS, "busy_source", "by you"),
        Crowded::Full => (StatusCode::SERVICE_UNAVAILABLE, "busy", "by everybody"),
    };
    metrics::counter!(
        "galley_validation_failed",
        "group" => "", "version" => "", "resource" => "", "reason" => reason
    )
    .increment(1);
    let why =
        format!("more reviews are asked for {who} than are answered in {WITHIN:?}; try again");
    tracing::warn!(%peer, "a review was not answered: {why}");
    AdminResponse::error(status, why)
}

fn respond(peer: SocketAddr, answer: Result<Answer, NotAReview>) -> AdminResponse {
    match answer {
        Ok(answer) => {
            answer.count(peer);
            AdminResponse::json(&answer.to_review())
        }
        Err(error) => {
            metrics::counter!(
                "galley_validation_failed",
                "group" => "", "version" => "", "resource" => "", "reason" => "malformed"
            )
            .increment(1);
            tracing::warn!(%peer, %error, "a request to the webhook is no review");
            AdminResponse::error(StatusCode::BAD_REQUEST, error.to_string())
        }
    }
}

#[cfg(test)]
mod tests;
