//! `HTTPRetry` into a retry policy.
//!
//! No `retries` at all is the mesh's default. A block that is there replaces the default whole:
//! `attempts: 0`, or `{}`, turns retries off, and an empty `retryOn` stands for the default list.

use std::time::Duration;

use http::HeaderName;
use mesh_api::mesh_config::Span;
use mesh_api::route::{Backoff, RetryCondition, RetryConditions, RetryPolicy};

use crate::crd::virtual_service::HttpRetry;
use crate::model::MeshSettings;

/// The policy of a route, and the tokens of `retryOn` that say nothing.
pub(super) fn policy(
    written: Option<&HttpRetry>,
    settings: &MeshSettings,
) -> (RetryPolicy, Vec<String>) {
    let Some(written) = written else {
        return (default(settings), Vec::new());
    };
    read(written)
}

/// The policy of routes that set none.
pub(super) fn default(settings: &MeshSettings) -> RetryPolicy {
    let Some(default) = &settings.default_retries else {
        return RetryPolicy::mesh_default();
    };
    let time = |span: Option<Span>| span.and_then(|span| span.to_string().parse().ok());
    let written = HttpRetry {
        attempts: default.attempts.unwrap_or_default(),
        per_try_timeout: time(default.per_try_timeout),
        retry_on: default.retry_on.clone(),
        retry_remote_localities: default.retry_remote_localities,
        retry_ignore_previous_hosts: default.retry_ignore_previous_hosts,
        backoff: time(default.backoff),
    };
    read(&written).0
}

fn read(written: &HttpRetry) -> (RetryPolicy, Vec<String>) {
    if written.attempts == 0 {
        return (RetryPolicy::off(), Vec::new());
    }
    let mut policy = RetryPolicy {
        attempts: written.attempts,
        per_try_timeout: written.per_try_timeout.map(Duration::from),
        on: RetryConditions::DEFAULT,
        ignore_previous_hosts: written.retry_ignore_previous_hosts.unwrap_or(true),
        remote_localities: written.retry_remote_localities.unwrap_or_default(),
        ..RetryPolicy::off()
    };
    if let Some(base) = written.backoff.map(Duration::from) {
        policy.backoff = Backoff {
            base,
            max: base.saturating_mul(10),
        };
    }
    let mut unknown = Vec::new();
    let tokens = written.retry_on.as_deref().unwrap_or_default();
    if !tokens.trim().is_empty() {
        unknown = conditions(tokens, &mut policy);
    }
    (policy, unknown)
}

/// Reads `retryOn`: conditions, and bare numbers for statuses.
fn conditions(tokens: &str, policy: &mut RetryPolicy) -> Vec<String> {
    let mut conditions = Vec::new();
    let mut unknown = Vec::new();
    for token in tokens.split(',').map(str::trim).filter(|t| !t.is_empty()) {
        if let Ok(condition) = token.parse::<RetryCondition>() {
            conditions.push(condition);
        } else if let Some(status) = token.parse().ok().filter(|s| (100..600).contains(s)) {
            conditions.push(RetryCondition::RetriableStatusCodes);
            if !policy.statuses.contains(&status) {
                policy.statuses.push(status);
            }
        } else {
            unknown.push(token.to_owned());
        }
    }
    policy.statuses.sort_unstable();
    policy.headers = Vec::<HeaderName>::new();
    policy.on = conditions.into_iter().collect();
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(written: Option<&HttpRetry>) -> (RetryPolicy, Vec<String>) {
        super::policy(written, &MeshSettings::default())
    }

    fn read(json: serde_json::Value) -> RetryPolicy {
        let written: HttpRetry = serde_json::from_value(json).unwrap();
        policy(Some(&written)).0
    }

    #[test]
    fn the_mesh_may_have_another_default() {
        let settings = |json: serde_json::Value| MeshSettings {
            default_retries: serde_json::from_value(json).unwrap(),
            ..MeshSettings::default()
        };
        let off = settings(serde_json::json!({"attempts": 0}));
        assert_eq!(super::policy(None, &off).0, RetryPolicy::off());
        let json = serde_json::json!({
            "attempts": 4, "perTryTimeout": "1.5s", "retryOn": "5xx,429"
        });
        let own = settings(json.clone());
        assert_eq!(super::policy(None, &own).0, read(json));
        // A route that speaks for itself is not concerned.
        let written: HttpRetry = serde_json::from_value(serde_json::json!({})).unwrap();
        assert_eq!(super::policy(Some(&written), &own).0, RetryPolicy::off());
    }

    #[test]
    fn the_table_of_defaults() {
        assert_eq!(policy(None).0, RetryPolicy::mesh_default());
        assert_eq!(policy(None).0.attempts, 2);
        assert_eq!(read(serde_json::json!({})), RetryPolicy::off());
        assert_eq!(read(serde_json::json!({"attempts": 0})), RetryPolicy::off());
        let plain = read(serde_json::json!({"attempts": 3}));
        assert_eq!(plain.attempts, 3);
        assert_eq!(plain.on, RetryConditions::DEFAULT);
        assert_eq!(plain.per_try_timeout, None);
        assert!(plain.ignore_previous_hosts);
        assert_eq!(plain.backoff, Backoff::DEFAULT);
    }

    #[test]
    fn an_explicit_list_replaces_the_default() {
        let policy = read(serde_json::json!({
            "attempts": 3, "perTryTimeout": "1s", "backoff": "10ms",
            "retryOn": "gateway-error,connect-failure, retriable-4xx,503,418",
            "retryIgnorePreviousHosts": false,
        }));
        assert!(policy.on.contains(RetryCondition::GatewayError));
        assert!(policy.on.contains(RetryCondition::Retriable4xx));
        assert!(policy.on.contains(RetryCondition::RetriableStatusCodes));
        assert!(!policy.on.contains(RetryCondition::RefusedStream));
        assert_eq!(policy.statuses, [418, 503]);
        assert_eq!(policy.per_try_timeout, Some(Duration::from_secs(1)));
        assert_eq!(policy.backoff.max, Duration::from_millis(100));
        assert!(!policy.ignore_previous_hosts);
    }

    #[test]
    fn unknown_tokens_are_named() {
        let written: HttpRetry =
            serde_json::from_value(serde_json::json!({"attempts": 1, "retryOn": "5xx,nonsense"}))
                .unwrap();
        assert_eq!(policy(Some(&written)).1, ["nonsense"]);
    }
}
