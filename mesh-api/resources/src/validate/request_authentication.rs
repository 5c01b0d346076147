//! Rules of a RequestAuthentication: issuers and where their keys come from.

use serde_json::Value;

use super::{Checker, Validate};
use crate::request_authentication::{JwtRule, RequestAuthenticationSpec};
use crate::selector::{PolicyTargetReference, WorkloadSelector};

const MAX_TARGETS: usize = 16;
const MAX_CLAIMS: usize = 64;

impl Validate for RequestAuthenticationSpec {
    fn validate(&self, check: &mut Checker) {
        check_targets(
            check,
            self.selector.as_ref(),
            self.target_ref.as_ref(),
            &self.target_refs,
        );
        check.each("jwtRules", &self.jwt_rules, |check, rule| rule.check(check));
    }
}

/// Rules of the fields that say what a policy is meant for.
pub(super) fn check_targets(
    check: &mut Checker,
    selector: Option<&WorkloadSelector>,
    target_ref: Option<&PolicyTargetReference>,
    target_refs: &[PolicyTargetReference],
) {
    check.optional("selector", selector, |check, selector| {
        check.field("matchLabels", |check| check.labels(&selector.match_labels));
        if target_ref.is_some() || !target_refs.is_empty() {
            check.error_hint("cannot stand beside targetRefs", "keep one of them");
        }
    });
    check.optional("targetRef", target_ref, |check, target| {
        check.warn("is deprecated", "use targetRefs");
        if !target_refs.is_empty() {
            check.error_hint("cannot stand beside targetRefs", "keep targetRefs");
        }
        target.check(check);
    });
    check.field("targetRefs", |check| {
        if target_refs.len() > MAX_TARGETS {
            check.error(format!("at most {MAX_TARGETS} are allowed"));
        }
    });
    check.each("targetRefs", target_refs, |check, target| {
        target.check(check);
    });
}

impl PolicyTargetReference {
    fn check(&self, check: &mut Checker) {
        let known = matches!(
            (self.group.as_str(), self.kind.as_str()),
            ("gateway.networking.k8s.io", "Gateway" | "GatewayClass")
                | ("" | "core", "Service")
                | ("networking.istio.io", "ServiceEntry")
        );
        if !known {
            check.error_hint(
                format!(
                    "{:?} of group {:?} cannot be a target",
                    self.kind, self.group
                ),
                "use Gateway, GatewayClass, Service or ServiceEntry with its group",
            );
        }
        if self.name.is_empty() {
            check.field("name", |check| check.error("is required"));
        }
        if self.namespace.is_some() {
            check.field("namespace", |check| {
                check.error_hint(
                    "only objects of the same namespace can be targets",
                    "remove it",
                );
            });
        }
    }
}

impl JwtRule {
    fn check(&self, check: &mut Checker) {
        if self.issuer.is_empty() {
            check.field("issuer", |check| check.error("is required"));
        }
        if self.jwks_uri.is_some() && self.jwks.is_some() {
            check.error_hint("has both jwksUri and jwks", "keep one of them");
        }
        check.optional("jwksUri", self.jwks_uri.as_ref(), |check, uri| {
            let host = uri
                .strip_prefix("https://")
                .or_else(|| uri.strip_prefix("http://"));
            if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
                check.error_hint(format!("{uri:?} is not a URL"), "write https://host/path");
            }
        });
        check.optional("jwks", self.jwks.as_ref(), |check, keys| {
            let keys = serde_json::from_str::<Value>(keys);
            let Some(keys) = keys
                .ok()
                .and_then(|keys| keys.get("keys")?.as_array().cloned())
            else {
                check.error_hint(
                    "is not a set of keys",
                    "paste the JSON object that has \"keys\"",
                );
                return;
            };
            if keys.iter().any(|key| key.get("d").is_some()) {
                check.warn(
                    "contains a private key",
                    "paste only public keys, and replace this one",
                );
            }
        });
        check.each("fromHeaders", &self.from_headers, |check, header| {
            check.field("name", |check| check.header_name(&header.name));
        });
        check.optional(
            "outputPayloadToHeader",
            self.output_payload_to_header.as_ref(),
            |check, name| {
                check.header_name(name);
            },
        );
        check.each(
            "outputClaimToHeaders",
            &self.output_claim_to_headers,
            |check, output| {
                check.field("header", |check| check.plain_header_name(&output.header));
                if output.claim.is_empty() {
                    check.field("claim", |check| check.error("is required"));
                }
            },
        );
        for (name, list) in [
            ("audiences", &self.audiences),
            ("fromParams", &self.from_params),
            ("fromCookies", &self.from_cookies),
            ("spaceDelimitedClaims", &self.space_delimited_claims),
        ] {
            check.no_empty_text(name, list);
        }
        check.at_most(
            "spaceDelimitedClaims",
            &self.space_delimited_claims,
            MAX_CLAIMS,
        );
    }
}
