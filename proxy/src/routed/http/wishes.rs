//! What the local application asks of its own proxy for one request, in the headers that Envoy
//! documents for its router filter.
//!
//! A sidecar believes its application about the application's own requests, and nobody else: at a
//! gateway and inbound these headers are taken off unread, as all `x-envoy-` headers are everywhere
//! before a request goes on. A value that cannot be read counts as not there, as in Envoy.

use std::borrow::Cow;
use std::time::Duration;

use http::HeaderMap;
use mesh_api::route::{RetryCondition, RetryPolicy};

/// Milliseconds for the whole request; 0 for no limit.
const TIMEOUT: &str = "x-envoy-upstream-rq-timeout-ms";
/// Milliseconds for one try; 0 for no limit.
const TRY_TIMEOUT: &str = "x-envoy-upstream-rq-per-try-timeout-ms";
/// Tries after the first.
const RETRIES: &str = "x-envoy-max-retries";
/// Conditions besides the route's.
const RETRY_ON: &str = "x-envoy-retry-on";
/// The same, of gRPC statuses.
const RETRY_GRPC_ON: &str = "x-envoy-retry-grpc-on";
/// Statuses for the condition `retriable-status-codes`.
const STATUSES: &str = "x-envoy-retriable-status-codes";

/// What one request asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    timeout: Option<Duration>,
    try_timeout: Option<Duration>,
    retries: Option<u32>,
    on: Vec<RetryCondition>,
    statuses: Vec<u16>,
}

impl Wishes {
    /// What these headers ask for.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let millis = |name| text(name)?.trim().parse().ok().map(Duration::from_millis);
        let tokens = |name| {
            let list = text(name).unwrap_or_default().split(',');
            list.map(str::trim).filter(|token| !token.is_empty())
        };
        let conditions = tokens(RETRY_ON).chain(tokens(RETRY_GRPC_ON));
        Self {
            timeout: millis(TIMEOUT),
            try_timeout: millis(TRY_TIMEOUT),
            retries: text(RETRIES).and_then(|count| count.trim().parse().ok()),
            on: conditions.filter_map(|token| token.parse().ok()).collect(),
            statuses: tokens(STATUSES)
                .filter_map(|status| status.parse().ok())
                .filter(|status| (100..600).contains(status))
                .collect(),
        }
    }

    /// The limit of the request, where the route has `route`.
    pub(super) fn timeout(&self, route: Option<Duration>) -> Option<Duration> {
        match self.timeout {
            Some(Duration::ZERO) => None,
            Some(asked) => Some(asked),
            None => route,
        }
    }

    /// When the request is tried again, where the route has `route`.
    pub(super) fn retry<'a>(&self, route: &'a RetryPolicy) -> Cow<'a, RetryPolicy> {
        let Self {
            timeout: _,
            try_timeout,
            retries,
            on,
            statuses,
        } = self;
        if try_timeout.is_none() && retries.is_none() && on.is_empty() {
            return Cow::Borrowed(route);
        }
        let mut policy = route.clone();
        if let Some(limit) = *try_timeout {
            policy.per_try_timeout = (!limit.is_zero()).then_some(limit);
        }
        if !on.is_empty() {
            policy.on = policy.on.iter().chain(on.iter().copied()).collect();
            policy.statuses.extend_from_slice(statuses);
            policy.attempts = policy.attempts.max(1);
        }
        if let Some(retries) = *retries
            && policy.on.iter().next().is_some()
        {
            policy.attempts = retries;
        }
        Cow::Owned(policy)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn wishes(fields: &[(&'static str, &'static str)]) -> Wishes {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        Wishes::of(&headers)
    }

    #[test]
    fn a_timeout_takes_the_place_of_the_routes() {
        let (second, route) = (Duration::from_secs(1), Some(Duration::from_secs(15)));
        assert_eq!(wishes(&[(TIMEOUT, "1000")]).timeout(route), Some(second));
        assert_eq!(wishes(&[(TIMEOUT, "0")]).timeout(route), None);
        for unread in ["", "-1", "1s", "1.5"] {
            assert_eq!(
                wishes(&[(TIMEOUT, unread)]).timeout(route),
                route,
                "{unread}"
            );
        }
        assert_eq!(wishes(&[]).timeout(None), None);
    }

    #[test]
    fn retries_are_added_to_the_routes() {
        let default = RetryPolicy::mesh_default();
        assert!(matches!(wishes(&[]).retry(&default), Cow::Borrowed(_)));
        let asked = wishes(&[
            (RETRY_ON, "5xx, nonsense"),
            (RETRIES, "5"),
            (TRY_TIMEOUT, "20"),
        ]);
        let policy = asked.retry(&default);
        assert_eq!(policy.attempts, 5);
        assert_eq!(policy.per_try_timeout, Some(Duration::from_millis(20)));
        assert!(policy.on.contains(RetryCondition::ServerError));
        assert!(policy.on.contains(RetryCondition::ConnectFailure));
        // Conditions alone mean one more try, a number alone means nothing without conditions.
        let off = RetryPolicy::off();
        assert_eq!(
            wishes(&[(RETRY_GRPC_ON, "internal")]).retry(&off).attempts,
            1
        );
        assert_eq!(wishes(&[(RETRIES, "3")]).retry(&off).attempts, 0);
        assert_eq!(wishes(&[(RETRIES, "0")]).retry(&default).attempts, 0);
        let listed = wishes(&[
            (RETRY_ON, "retriable-status-codes"),
            (STATUSES, "409,x,503"),
        ]);
        assert_eq!(listed.retry(&off).statuses, [409, 503]);
    }
}
