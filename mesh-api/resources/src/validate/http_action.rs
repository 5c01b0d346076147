//! Rules of redirects, fixed responses, rewrites, retries, faults and cross-origin settings.

use super::names::is_token;
use super::{Checker, count};
use crate::string_match::StringMatch;
use crate::virtual_service::{
    CorsPolicy, FaultAbort, FaultDelay, HttpDirectResponse, HttpFaultInjection, HttpMatchRequest,
    HttpRedirect, HttpRetry, HttpRewrite,
};

const MAX_BODY: usize = 1 << 20;
const LARGE_BODY: usize = 100 << 10;

/// Conditions of `retryOn`, besides status codes.
const RETRY_CONDITIONS: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

/// Names of the gRPC status codes.
const GRPC_STATUS: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl HttpRedirect {
    pub(super) fn check(&self, check: &mut Checker, matches: &[HttpMatchRequest]) {
        if *self == Self::default() {
            check.error_hint(
                "is empty",
                "set at least one of uri, authority, scheme and port",
            );
        }
        if self.uri.is_some() && self.prefix_rewrite.is_some() {
            check.error_hint("has both uri and prefixRewrite", "keep one of them");
        }
        if self.prefix_rewrite.is_some() {
            let by_prefix =
                |one: &HttpMatchRequest| matches!(one.uri, Some(StringMatch::Prefix(_)));
            if matches.is_empty() || !matches.iter().all(by_prefix) {
                check.field("prefixRewrite", |check| {
                    check.error_hint(
                        "needs a match by uri prefix in every alternative",
                        "add match: with uri: {prefix: …}, or use uri",
                    );
                });
            }
        }
        if self.port.is_some() && self.derive_port.is_some() {
            check.error_hint("has both port and derivePort", "keep one of them");
        }
        for (name, value) in [("uri", &self.uri), ("prefixRewrite", &self.prefix_rewrite)] {
            check.optional(name, value.as_ref(), |check, text| check.header_value(text));
        }
        check.optional("authority", self.authority.as_ref(), |check, text| {
            check.host_and_port(text);
        });
        check.optional("scheme", self.scheme.as_ref(), |check, scheme| {
            if !matches!(scheme.as_str(), "http" | "https") {
                check.error_hint(format!("{scheme:?} is not a scheme"), "use http or https");
            }
        });
        check.optional(
            "redirectCode",
            self.redirect_code.as_ref(),
            |check, code| {
                if !matches!(code, 301 | 302 | 303 | 307 | 308) {
                    let hint = "use 301, 302, 303, 307 or 308";
                    check.error_hint(format!("{code} is not a redirect that can be sent"), hint);
                }
            },
        );
    }
}

impl HttpDirectResponse {
    pub(super) fn check(&self, check: &mut Checker) {
        if !(200..=599).contains(&self.status) {
            check.field("status", |check| {
                check.error_hint(format!("{} is not a status", self.status), "use 200 to 599");
            });
        }
        check.optional("body", self.body.as_ref(), |check, body| {
            let size = match (&body.string, &body.bytes) {
                (Some(text), None) => text.len(),
                (None, Some(bytes)) => bytes.0.len(),
                (None, None) => 0,
                (Some(_), Some(_)) => {
                    check.error_hint("has both string and bytes", "keep one of them");
                    return;
                }
            };
            if size > MAX_BODY {
                check.error_hint(
                    format!("is {size} bytes long; at most 1 MiB is allowed"),
                    "serve it from a workload",
                );
            } else if size > LARGE_BODY {
                check.warn(
                    format!("is {size} bytes long and is kept by every proxy"),
                    "serve it from a workload",
                );
            }
        });
    }
}

impl HttpRewrite {
    pub(super) fn check(&self, check: &mut Checker) {
        if *self == Self::default() {
            check.error_hint(
                "is empty",
                "set at least one of uri, authority and uriRegexRewrite",
            );
        }
        if self.uri.is_some() && self.uri_regex_rewrite.is_some() {
            check.error_hint("has both uri and uriRegexRewrite", "keep one of them");
        }
        check.optional("uri", self.uri.as_ref(), |check, text| {
            check_path_only(check, text);
        });
        check.optional("authority", self.authority.as_ref(), |check, text| {
            check.host_and_port(text);
        });
        check.optional(
            "uriRegexRewrite",
            self.uri_regex_rewrite.as_ref(),
            |check, rewrite| {
                match &rewrite.pattern {
                    Some(pattern) => check.field("match", |check| check.regex(pattern)),
                    None => check.field("match", |check| check.error("is required")),
                }
                match &rewrite.rewrite {
                    Some(text) => check.field("rewrite", |check| check_path_only(check, text)),
                    None => check.field("rewrite", |check| check.error("is required")),
                }
            },
        );
    }
}

/// A rewrite changes the path; it cannot bring a query, and a path has no spaces.
fn check_path_only(check: &mut Checker, text: &str) {
    check.header_value(text);
    if text.contains(['?', '#', ' ']) {
        check.warn(
            "changes the path only; what follows the first ?, # or space has no effect",
            "leave it out; the query of the request stays as it is",
        );
    }
}

impl HttpRetry {
    pub(super) fn check(&self, check: &mut Checker) {
        if self.attempts == 0 {
            let set = [
                ("perTryTimeout", self.per_try_timeout.is_some()),
                ("retryOn", self.retry_on.is_some()),
                (
                    "retryRemoteLocalities",
                    self.retry_remote_localities.is_some(),
                ),
            ];
            for (name, _) in set.into_iter().filter(|(_, set)| *set) {
                check.field("attempts", |check| {
                    check.error_hint(
                        format!("is 0 or missing, which turns retries off, but {name} is set"),
                        format!("set attempts to 1 or more, or remove {name}"),
                    );
                });
            }
        }
        if self.attempts > 1000 {
            check.field("attempts", |check| {
                check.error_hint(
                    format!("{} is more than 1000", self.attempts),
                    "use a small number",
                );
            });
        }
        check.optional("retryOn", self.retry_on.as_ref(), |check, conditions| {
            for condition in conditions.split(',') {
                let code = condition
                    .parse::<u16>()
                    .is_ok_and(|code| (100..=599).contains(&code));
                if condition != condition.trim() {
                    check.error_hint(
                        format!("has a space around {:?}", condition.trim()),
                        "separate with commas only",
                    );
                } else if !code && !RETRY_CONDITIONS.contains(&condition) {
                    let hint = format!("use status codes and {}", RETRY_CONDITIONS.join(", "));
                    check.error_hint(
                        format!("{condition:?} is not a condition for a retry"),
                        hint,
                    );
                }
            }
        });
    }
}

impl HttpFaultInjection {
    pub(super) fn check(&self, check: &mut Checker) {
        if self.delay.is_none() && self.abort.is_none() {
            check.error_hint("is empty", "add delay or abort, or remove fault");
        }
        check.optional("delay", self.delay.as_ref(), |check, delay| {
            delay.check(check);
        });
        check.optional("abort", self.abort.as_ref(), |check, abort| {
            abort.check(check);
        });
    }
}

impl FaultDelay {
    fn check(&self, check: &mut Checker) {
        if self.exponential_delay.is_some() {
            check.field("exponentialDelay", |check| {
                check.error_hint("is not implemented", "use fixedDelay");
            });
        } else if self.fixed_delay.is_none() {
            check.field("fixedDelay", |check| check.error("is required"));
        }
        check.optional("percent", self.percent.as_ref(), |check, percent| {
            if *percent > 100 {
                check.error(format!("{percent} is more than 100 percent"));
            }
            check.warn("is deprecated", "use percentage: {value: N}");
        });
        if self.percent.is_none() && self.percentage.is_none() {
            check.warn(
                "has no percentage, which is 0: nothing is delayed",
                "add percentage: {value: 100}",
            );
        }
    }
}

impl FaultAbort {
    fn check(&self, check: &mut Checker) {
        if self.http2_error.is_some() {
            check.field("http2Error", |check| {
                check.error_hint("is not implemented", "use httpStatus");
            });
        }
        let set = [
            self.http_status.is_some(),
            self.grpc_status.is_some(),
            self.http2_error.is_some(),
        ];
        if count(set) != 1 {
            check.error_hint(
                "needs exactly one of httpStatus and grpcStatus",
                "keep one of them",
            );
        }
        check.optional("httpStatus", self.http_status.as_ref(), |check, status| {
            if !(200..=599).contains(status) {
                check.error_hint(format!("{status} is not a status"), "use 200 to 599");
            }
        });
        check.optional("grpcStatus", self.grpc_status.as_ref(), |check, name| {
            if !GRPC_STATUS.contains(&name.as_str()) {
                let hint = "use a name in capitals, such as UNAVAILABLE";
                check.error_hint(format!("{name:?} is not a gRPC status"), hint);
            }
        });
        if self.percentage.is_none() {
            check.warn(
                "has no percentage, which is 0: nothing is aborted",
                "add percentage: {value: 100}",
            );
        }
    }
}

impl CorsPolicy {
    pub(super) fn check(&self, check: &mut Checker) {
        if !self.allow_origin.is_empty() {
            check.field("allowOrigin", |check| {
                check.warn("is deprecated", "use allowOrigins: [{exact: …}]");
            });
        }
        check.each("allowOrigins", &self.allow_origins, |check, origin| {
            check.string_match(origin, false);
        });
        check.each("allowMethods", &self.allow_methods, |check, method| {
            if !is_token(method) {
                check.error(format!("{method:?} is not an HTTP method"));
            }
        });
        check.each("allowHeaders", &self.allow_headers, |check, name| {
            check.header_name(name);
        });
        check.each("exposeHeaders", &self.expose_headers, |check, name| {
            check.header_name(name);
        });
        check.optional("maxAge", self.max_age.as_ref(), |check, age| {
            if !age.as_millis().is_multiple_of(1000) {
                check.error_hint(
                    format!("{age} is not a whole number of seconds"),
                    "use whole seconds",
                );
            }
        });
    }
}
