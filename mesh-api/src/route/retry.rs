//! When a request may be tried again.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use http::HeaderName;
use serde::{Serialize, Serializer};

/// Retries of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RetryPolicy {
    /// Tries after the first; 0 turns retries off.
    pub attempts: u32,
    /// Limit of one attempt, the first included; `None`: only the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// What is tried again.
    pub on: RetryConditions,
    /// Statuses the upstream really sent that are tried again.
    pub statuses: Vec<u16>,
    /// Response headers whose presence asks for another try (`retriable-headers`).
    #[serde(serialize_with = "names_as_text")]
    pub headers: Vec<HeaderName>,
    /// Waiting between tries.
    pub backoff: Backoff,
    /// Prefer an endpoint that has not been tried.
    pub ignore_previous_hosts: bool,
    /// After two tries, go to the next priority.
    pub remote_localities: bool,
}

impl RetryPolicy {
    /// No retries.
    pub fn off() -> Self {
        Self {
            attempts: 0,
            per_try_timeout: None,
            on: RetryConditions::NONE,
            statuses: Vec::new(),
            headers: Vec::new(),
            backoff: Backoff::DEFAULT,
            ignore_previous_hosts: true,
            remote_localities: false,
        }
    }

    /// What a mesh does by default: two more tries of what was provably not processed.
    pub fn mesh_default() -> Self {
        Self {
            attempts: 2,
            on: RetryConditions::DEFAULT,
            ..Self::off()
        }
    }
}

/// Full-jitter exponential back-off: try n waits between 0 and `(2^n - 1) * base`, at most `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Backoff {
    /// The base.
    pub base: Duration,
    /// The cap.
    pub max: Duration,
}

impl Backoff {
    /// Istio's: 25 ms, capped at ten times that.
    pub const DEFAULT: Self = Self {
        base: Duration::from_millis(25),
        max: Duration::from_millis(250),
    };
}

/// A token of `retryOn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RetryCondition {
    /// `5xx`: any 5xx, or no answer.
    ServerError,
    /// `gateway-error`: 502, 503, 504, or no answer.
    GatewayError,
    /// `reset`: no answer.
    Reset,
    /// `reset-before-request`: no answer and nothing sent.
    ResetBeforeRequest,
    /// `connect-failure`.
    ConnectFailure,
    /// `retriable-4xx`: 409.
    Retriable4xx,
    /// `refused-stream`: HTTP/2 REFUSED_STREAM.
    RefusedStream,
    /// `retriable-status-codes`: those listed in the policy.
    RetriableStatusCodes,
    /// `retriable-headers`: those listed in the policy.
    RetriableHeaders,
    /// `envoy-ratelimited`.
    RateLimited,
    /// `http3-post-connect-failure`; accepted, never happens here.
    Http3PostConnectFailure,
    /// gRPC status 1.
    Cancelled,
    /// gRPC status 4.
    DeadlineExceeded,
    /// gRPC status 13.
    Internal,
    /// gRPC status 8.
    ResourceExhausted,
    /// gRPC status 14.
    Unavailable,
}

impl RetryCondition {
    /// All conditions with the token users write.
    pub const ALL: [(Self, &'static str); 16] = [
        (Self::ServerError, "5xx"),
        (Self::GatewayError, "gateway-error"),
        (Self::Reset, "reset"),
        (Self::ResetBeforeRequest, "reset-before-request"),
        (Self::ConnectFailure, "connect-failure"),
        (Self::Retriable4xx, "retriable-4xx"),
        (Self::RefusedStream, "refused-stream"),
        (Self::RetriableStatusCodes, "retriable-status-codes"),
        (Self::RetriableHeaders, "retriable-headers"),
        (Self::RateLimited, "envoy-ratelimited"),
        (Self::Http3PostConnectFailure, "http3-post-connect-failure"),
        (Self::Cancelled, "cancelled"),
        (Self::DeadlineExceeded, "deadline-exceeded"),
        (Self::Internal, "internal"),
        (Self::ResourceExhausted, "resource-exhausted"),
        (Self::Unavailable, "unavailable"),
    ];

    const fn bit(self) -> u32 {
        1 << (self as u32)
    }
}

/// Text that is not a token of `retryOn`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a retry condition")]
pub struct UnknownCondition(pub String);

impl FromStr for RetryCondition {
    type Err = UnknownCondition;

    fn from_str(text: &str) -> Result<Self, UnknownCondition> {
        Self::ALL
            .iter()
            .find(|(_, token)| *token == text)
            .map(|(condition, _)| *condition)
            .ok_or_else(|| UnknownCondition(text.chars().take(100).collect()))
    }
}

impl fmt::Display for RetryCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = Self::ALL.iter().find(|(condition, _)| condition == self);
        f.write_str(token.map_or("", |(_, token)| token))
    }
}

/// A set of conditions; a test costs one instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RetryConditions(u32);

impl RetryConditions {
    /// None.
    pub const NONE: Self = Self(0);
    /// Istio's default: `connect-failure,refused-stream,unavailable,cancelled`.
    pub const DEFAULT: Self = Self(
        RetryCondition::ConnectFailure.bit()
            | RetryCondition::RefusedStream.bit()
            | RetryCondition::Unavailable.bit()
            | RetryCondition::Cancelled.bit(),
    );

    /// Whether the condition is in the set.
    pub const fn contains(self, condition: RetryCondition) -> bool {
        self.0 & condition.bit() != 0
    }

    /// Whether any of the conditions is in the set.
    pub fn any(self, conditions: &[RetryCondition]) -> bool {
        conditions.iter().any(|condition| self.contains(*condition))
    }

    /// The members, in a fixed order.
    pub fn iter(self) -> impl Iterator<Item = RetryCondition> {
        RetryCondition::ALL
            .into_iter()
            .map(|(condition, _)| condition)
            .filter(move |condition| self.contains(*condition))
    }
}

impl FromIterator<RetryCondition> for RetryConditions {
    fn from_iter<I: IntoIterator<Item = RetryCondition>>(conditions: I) -> Self {
        Self(
            conditions
                .into_iter()
                .fold(0, |bits, condition| bits | condition.bit()),
        )
    }
}

impl Serialize for RetryConditions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|condition| condition.to_string()))
    }
}

fn names_as_text<S: Serializer>(names: &[HeaderName], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(names.iter().map(HeaderName::as_str))
}
