//! Who may open a configuration stream, and what everybody else is told.
//!
//! A token is checked when a stream opens; a stream ends after a while, so that whoever lost the
//! right to it cannot keep it for long. The identity in the token wins over what Hello says.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mesh_api::workload::WorkloadId;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use super::connections::Crowded;
use crate::identity::token::{PodIdentity, TokenError, TokenReviewer};

/// One log line per reason in this time; the metric counts all.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// When a proxy should try again after we could not tell who it is.
const UNAVAILABLE: Duration = Duration::from_secs(2);
/// When one should that another stream of the same pod has taken the place of.
const REPLACED: Duration = Duration::from_secs(30);

/// How peers prove who they are.
#[derive(Clone, Debug)]
pub enum Authenticator {
    /// They do not: everybody who reaches the socket is on this machine, and believed.
    Loopback,
    /// By the service-account token of their pod.
    Tokens(Arc<TokenReviewer>),
}

impl Authenticator {
    /// The pod that opens a stream with these headers from this address; `None` where nobody has to prove anything.
    pub(super) async fn authenticate(
        &self,
        headers: &MetadataMap,
        from: Option<IpAddr>,
    ) -> Result<Option<Arc<PodIdentity>>, Refusal> {
        match self {
            Self::Loopback => Ok(None),
            Self::Tokens(reviewer) => {
                let token = bearer(headers)?;
                Ok(Some(reviewer.review(token, from).await?))
            }
        }
    }
}

fn bearer(headers: &MetadataMap) -> Result<&str, TokenError> {
    let mut values = headers.get_all("authorization").iter();
    let value = values.next().ok_or(TokenError::Missing)?;
    if values.next().is_some() {
        return Err(TokenError::Malformed);
    }
    let text = value.to_str().or(Err(TokenError::Malformed))?;
    let (scheme, token) = text.split_once(' ').ok_or(TokenError::Malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(TokenError::Malformed);
    }
    match token.trim() {
        "" => Err(TokenError::Missing),
        token => Ok(token),
    }
}

/// Why somebody gets no configuration.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// What should prove who it is does not.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// It asks for what belongs to another.
    #[error(
        "the token belongs to pod {token}, but Hello names workload {hello}; a proxy gets the \
         configuration of its own pod only: start it with --workload {token}"
    )]
    AnotherWorkload {
        /// Whose token it is.
        token: WorkloadId,
        /// Whom Hello names.
        hello: WorkloadId,
    },
    /// The name has passed to another pod, or ours is gone.
    #[error("{0}")]
    AnotherPod(Arc<str>),
    /// The pod is not there any more.
    #[error("pod {0} has been deleted; only a running pod may stay connected")]
    Gone(WorkloadId),
    /// Its pod opened too many streams one after the other.
    #[error("pod {pod} opens streams too often; wait {}", seconds(*.wait))]
    TooOften {
        /// Its pod.
        pod: WorkloadId,
        /// How long until it may open one.
        wait: Duration,
    },
    /// Another stream of its pod is newer.
    #[error("a newer stream of {0} has taken the place of this one; a pod has one stream")]
    Replaced(Arc<str>),
    /// It does not take what it is sent.
    #[error("nothing was taken of what was sent for {}", seconds(*.0))]
    Stalled(Duration),
    /// One of its messages is larger than any has to be.
    #[error("{0}")]
    TooLarge(String),
    /// Its connection had to go.
    #[error("the connection was closed: {}", .0.sentence())]
    Crowded(Crowded),
    /// It speaks no TLS.
    #[error("{0} came without TLS; proxies connect with --control-plane https://HOST:PORT")]
    Plaintext(&'static str),
    /// It speaks TLS, but we did not agree.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
}

impl Refusal {
    fn reason(&self) -> &'static str {
        match self {
            Self::Token(error) => error.reason(),
            Self::AnotherWorkload { .. } => "another_workload",
            Self::AnotherPod(_) => "another_pod",
            Self::Gone(_) => "pod_deleted",
            Self::TooOften { .. } => "streams_too_often",
            Self::Replaced(_) => "newer_stream",
            Self::Stalled(_) => "stalled",
            Self::TooLarge(_) => "message_too_large",
            Self::Crowded(why) => why.reason(),
            Self::Plaintext(_) => "plaintext",
            Self::Handshake(_) => "tls_handshake",
        }
    }

    /// What the peer is told.
    pub(super) fn status(&self) -> Status {
        let text = self.to_string();
        match self {
            Self::Token(TokenError::Unavailable(_)) => {
                pushed_back(Status::unavailable(text), UNAVAILABLE)
            }
            Self::Token(TokenError::TooMany) => {
                pushed_back(Status::resource_exhausted(text), UNAVAILABLE)
            }
            Self::Token(_) => Status::unauthenticated(text),
            Self::TooOften { wait, .. } => pushed_back(Status::resource_exhausted(text), *wait),
            Self::TooLarge(_) => Status::resource_exhausted(text),
            // Whoever lost its place and takes it back at once only loses it again.
            Self::Replaced(_) => pushed_back(Status::aborted(text), REPLACED),
            Self::Stalled(_) => Status::deadline_exceeded(text),
            Self::AnotherWorkload { .. } | Self::AnotherPod(_) | Self::Gone(_) => {
                Status::permission_denied(text)
            }
            // There is no stream to answer on.
            Self::Plaintext(_) | Self::Handshake(_) | Self::Crowded(_) => Status::unavailable(text),
        }
    }
}

/// A status that says when to try again: not before `wait`, and spread over as long again, since
/// whoever is refused together comes back together otherwise.
fn pushed_back(mut status: Status, wait: Duration) -> Status {
    let wait = wait + wait.mul_f64(rand::random::<f64>());
    let value = MetadataValue::from(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
    let metadata = status.metadata_mut();
    metadata.insert("grpc-retry-pushback-ms", value);
    status
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_millis().div_ceil(1000))
}

/// Counts every refusal, and logs some.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    logged: Mutex<BTreeMap<&'static str, (Instant, u64)>>,
}

impl Refusals {
    /// Notes a refusal of whoever is at `address`.
    pub(super) fn note(&self, refusal: &Refusal, address: Option<SocketAddr>) {
        let reason = refusal.reason();
        metrics::counter!("mesh_stream_refused_total", "reason" => reason).increment(1);
        if let Some(unlogged) = self.is_due(reason, Instant::now()) {
            let address = address.map(|address| address.to_string());
            let address = address.as_deref().unwrap_or("unknown");
            tracing::warn!(
                reason,
                address,
                unlogged,
                "configuration stream refused: {refusal}"
            );
        }
    }

    /// Whether to log now, and how many were not logged since the last time.
    fn is_due(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut logged = self.logged.lock();
        let Some((last, unlogged)) = logged.get_mut(reason) else {
            logged.insert(reason, (now, 0));
            return Some(0);
        };
        if now.saturating_duration_since(*last) < LOG_EVERY {
            *unlogged += 1;
            return None;
        }
        *last = now;
        Some(std::mem::take(unlogged))
    }
}

#[cfg(test)]
mod tests;
