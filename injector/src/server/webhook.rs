//! The page the API server posts reviews to, and what is counted and logged about them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{StatusCode, header};
use mesh_runtime::admin::{AdminRequest, AdminResponse, Router};
use metrics::{counter, describe_counter, describe_histogram, histogram};
use tokio::sync::watch as channel;

use super::budget::Budget;
use crate::Configuration;
use crate::review::{self, Namespaces, Verdict};

const REQUESTS: &str = "sidecar_injection_requests_total";
const SUCCESS: &str = "sidecar_injection_success_total";
const FAILURE: &str = "sidecar_injection_failure_total";
const SKIP: &str = "sidecar_injection_skip_total";
const TIME: &str = "sidecar_injection_time_seconds";

/// Bounds of the histogram of times, in seconds.
pub const BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Less than the API server waits by default, so that it hears our reason and not its own.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// Says what the numbers mean, and makes them appear before the first review.
pub fn describe_metrics() {
    describe_counter!(REQUESTS, "Reviews that were asked for.");
    describe_counter!(SUCCESS, "Reviews after which the pod had a sidecar.");
    describe_counter!(
        FAILURE,
        "Reviews that refused the pod, or could not be read."
    );
    describe_counter!(SKIP, "Reviews of pods that get no sidecar.");
    describe_histogram!(TIME, "How long a review took.");
    for name in [REQUESTS, SUCCESS, FAILURE, SKIP] {
        counter!(name).absolute(0);
    }
}

/// Answers reviews at `/inject`.
pub fn router<N: Namespaces + Clone + Send + Sync + 'static>(
    configuration: channel::Receiver<Arc<Configuration>>,
    namespaces: N,
) -> Router {
    let budget = Budget::new();
    Router::new("sidecar injector").post(
        "/inject",
        "AdmissionReview in, AdmissionReview out",
        move |request: AdminRequest| {
            let configuration = Arc::clone(&configuration.borrow());
            let (namespaces, budget) = (namespaces.clone(), budget.clone());
            async move {
                let namespaces = budget.of(request.peer().ip(), &namespaces);
                respond(&request, &configuration, &namespaces).await
            }
        },
    )
}

async fn respond(
    request: &AdminRequest,
    configuration: &Configuration,
    namespaces: &(impl Namespaces + Sync),
) -> AdminResponse {
    let (begun, peer) = (Instant::now(), request.peer());
    counter!(REQUESTS).increment(1);
    let response = if is_json(request) {
        let answering = review::answer(request.body(), configuration, namespaces);
        match tokio::time::timeout(ANSWER_WITHIN, answering).await {
            Ok(Ok(answer)) => {
                count(peer, &answer);
                AdminResponse::json(&answer.review)
            }
            Ok(Err(no_review)) => failed(peer, StatusCode::BAD_REQUEST, no_review.to_string()),
            Err(_elapsed) => failed(
                peer,
                StatusCode::GATEWAY_TIMEOUT,
                format!("the API server did not answer within {ANSWER_WITHIN:?}; try again"),
            ),
        }
    } else {
        failed(
            peer,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "send an AdmissionReview with content-type: application/json".to_owned(),
        )
    };
    histogram!(TIME).record(begun.elapsed());
    response
}

fn is_json(request: &AdminRequest) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    content_type
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("application/json"))
}

fn failed(peer: SocketAddr, status: StatusCode, why: String) -> AdminResponse {
    counter!(FAILURE).increment(1);
    tracing::warn!(%peer, %status, "a review could not be answered: {why}");
    AdminResponse::error(status, why)
}

/// Warnings of one review that are logged; whoever asks is told all.
const SHOWN_WARNINGS: usize = 5;

/// Lines of reviews are limited in number, as whoever asks decides on that: what became of every
/// pod stands in the metrics, and of those without a sidecar at /debug/missing.
fn count(peer: SocketAddr, answer: &review::Answer) {
    let about = &answer.about;
    for warning in answer.warnings.iter().take(SHOWN_WARNINGS) {
        tracing::warn!(%peer, pod = %about, "{}", warning.escape_debug());
    }
    match &answer.verdict {
        Verdict::Injected => {
            counter!(SUCCESS).increment(1);
            tracing::info!(%peer, pod = %about, "sidecar added");
        }
        // Asked again because another webhook changed the pod, as the API server may.
        Verdict::AlreadyInjected => {
            counter!(SKIP).increment(1);
            tracing::debug!(pod = %about, "has its sidecar already");
        }
        Verdict::Skipped(why) => {
            counter!(SKIP).increment(1);
            tracing::info!(%peer, pod = %about, "no sidecar: {why}");
        }
        Verdict::Refused(why) => {
            counter!(FAILURE).increment(1);
            tracing::warn!(%peer, pod = %about, "refused: {why}");
        }
    }
}
