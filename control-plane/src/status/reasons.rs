//! What each kind of finding says about an object: which condition it speaks to, and with which
//! reason. One table, total over all codes.

use crate::compile::diagnostics::codes;
use crate::compile::diagnostics::{Code, Severity};

/// What a finding does to the conditions of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The object, or a part of it, does not count.
    NotAccepted(&'static str),
    /// Something it refers to is not there.
    Unresolved(&'static str),
    /// Its former form stays in effect.
    HeldBack,
    /// A setting is accepted but not acted on.
    NotActedOn,
    /// Worth knowing; nothing is wrong.
    Note,
}

/// The reason of what cannot be used as it is written.
pub const INVALID: &str = "Invalid";
/// The reason of what lost against another object.
pub const CONFLICT: &str = "Conflict";
/// The reason of protection that cannot be given yet.
pub const NOT_ENFORCEABLE: &str = "NotEnforceable";
/// The reason of what nothing acts on.
pub const NOT_SUPPORTED: &str = "NotSupported";
/// The reason of what concerns no proxy that is connected.
pub const NO_PROXIES: &str = "NoProxies";
/// The reason of what proxies refuse.
pub const REJECTED: &str = "Rejected";
/// The reason of what proxies have not applied yet.
pub const PENDING: &str = "Pending";
/// The reason of a former form that stays in effect.
pub const HELD_BACK: &str = "HeldBack";

/// Findings whose meaning is decided here; others are judged by how bad they are.
const TABLE: &[(Code, Verdict)] = &[
    (
        codes::UNKNOWN_SERVICE,
        Verdict::Unresolved("DestinationNotFound"),
    ),
    (codes::UNKNOWN_SUBSET, Verdict::Unresolved("SubsetNotFound")),
    (codes::UNKNOWN_PORT, Verdict::Unresolved("PortNotFound")),
    (codes::HELD_BACK, Verdict::HeldBack),
    (codes::UNREACHABLE_ROUTE, Verdict::Note),
    (codes::SHADOWED, Verdict::NotAccepted(CONFLICT)),
    (codes::UNROUTABLE_HOST, Verdict::Unresolved("HostNotFound")),
    (codes::BAD_PATTERN, Verdict::NotAccepted(INVALID)),
    (codes::BAD_VALUE, Verdict::NotAccepted(INVALID)),
    (codes::NO_ACTION, Verdict::NotAccepted(INVALID)),
    (codes::MERGED, Verdict::Note),
    (codes::BAD_DELEGATE, Verdict::Unresolved("DelegateNotFound")),
    (codes::BY_STRANGER, Verdict::Note),
    (codes::HASH_ACROSS_WEIGHTS, Verdict::Note),
    (codes::NEVER_MATCHES, Verdict::Note),
    (codes::REPLACED_BY_DELEGATE, Verdict::Note),
    (codes::EXPRESSIONS_TOO_LARGE, Verdict::NotAccepted(INVALID)),
    (codes::EMPTY_SUBSET, Verdict::Note),
    (codes::NO_WORKLOAD, Verdict::Unresolved("WorkloadNotFound")),
    (codes::DUPLICATE_SUBSET, Verdict::NotAccepted(CONFLICT)),
    (codes::POLICY_CONFLICT, Verdict::NotAccepted(CONFLICT)),
    (
        codes::RULE_WITHOUT_SERVICE,
        Verdict::Unresolved("HostNotFound"),
    ),
    (
        codes::RULE_UNKNOWN_PORT,
        Verdict::Unresolved("PortNotFound"),
    ),
    (codes::RULE_OF_STRANGER, Verdict::Note),
    (codes::FOREIGN_HOST, Verdict::NotAccepted(CONFLICT)),
    (codes::FOREIGN_ADDRESS, Verdict::NotAccepted(CONFLICT)),
    (codes::DUPLICATE_SERVICE, Verdict::NotAccepted(CONFLICT)),
    (codes::LISTENER_CONFLICT, Verdict::NotAccepted(CONFLICT)),
    (codes::DOMAIN_CONFLICT, Verdict::NotAccepted(CONFLICT)),
    (codes::ASSUMED_HTTP, Verdict::Note),
    (codes::UNUSABLE_PORT, Verdict::NotAccepted(INVALID)),
    (codes::DETECTED_PROTOCOL, Verdict::Note),
    (codes::TAKES_A_WHOLE_PORT, Verdict::Note),
    (codes::HTTP_WHERE_TLS_IS_USUAL, Verdict::Note),
    (codes::RESERVED_ADDRESS, Verdict::NotAccepted(INVALID)),
    (
        codes::GATEWAY_REFUSED,
        Verdict::NotAccepted(NOT_ENFORCEABLE),
    ),
    (codes::GATEWAY_CONFLICT, Verdict::NotAccepted(CONFLICT)),
    (
        codes::GATEWAY_WITHOUT_WORKLOAD,
        Verdict::Unresolved("WorkloadNotFound"),
    ),
    (
        codes::UNKNOWN_GATEWAY,
        Verdict::Unresolved("GatewayNotFound"),
    ),
    (
        codes::GATEWAY_HOST_MISMATCH,
        Verdict::Unresolved("NoCommonHost"),
    ),
    (codes::DUPLICATE_SNI, Verdict::NotAccepted(CONFLICT)),
    (codes::SEVERAL_SIDECARS, Verdict::NotAccepted(CONFLICT)),
    (codes::NO_INGRESS, Verdict::Note),
    (codes::BAD_ADDRESS, Verdict::NotAccepted(INVALID)),
    (
        codes::NOT_ENFORCEABLE,
        Verdict::NotAccepted(NOT_ENFORCEABLE),
    ),
    (
        codes::TLS_NOT_ENFORCEABLE,
        Verdict::NotAccepted(NOT_ENFORCEABLE),
    ),
    (codes::NOT_ACTED_ON, Verdict::NotActedOn),
    (codes::SETTING_NOT_ACTED_ON, Verdict::NotActedOn),
];

/// What a finding of this kind does to the conditions of its object.
pub fn verdict(code: Code) -> Verdict {
    let known = TABLE.iter().find(|(known, _)| *known == code);
    known.map_or_else(|| by_severity(code.severity()), |(_, verdict)| *verdict)
}

fn by_severity(severity: Severity) -> Verdict {
    match severity {
        Severity::Error => Verdict::NotAccepted(INVALID),
        Severity::Warning | Severity::Info => Verdict::Note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes as they are written down, so that a new one cannot be forgotten here.
    const SOURCE: &str = include_str!("../compile/diagnostics/codes.rs");

    #[test]
    fn every_code_has_its_verdict() {
        let declared: Vec<&str> = SOURCE
            .lines()
            .filter(|line| line.starts_with("pub const"))
            .filter_map(|line| line.split('"').nth(1))
            .collect();
        assert!(declared.len() > 30, "{declared:?}");
        for code in &declared {
            let entries = TABLE.iter().filter(|(known, _)| known.as_str() == *code);
            assert_eq!(entries.count(), 1, "{code} has no verdict, or several");
        }
        assert_eq!(TABLE.len(), declared.len());
    }

    #[test]
    fn nothing_that_is_an_error_passes_for_a_note() {
        for (code, verdict) in TABLE {
            let harmless = matches!(verdict, Verdict::Note | Verdict::NotActedOn);
            assert!(!harmless || code.severity() != Severity::Error, "{code}");
        }
    }
}
