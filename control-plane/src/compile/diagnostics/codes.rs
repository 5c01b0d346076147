//! The codes of findings. A code never changes its meaning and is never used again for another.

use std::fmt;

use crate::crd::Severity;

/// What kind of finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    text: &'static str,
    severity: Severity,
}

impl Code {
    const fn error(text: &'static str) -> Self {
        Self {
            text,
            severity: Severity::Error,
        }
    }

    const fn warning(text: &'static str) -> Self {
        Self {
            text,
            severity: Severity::Warning,
        }
    }

    const fn info(text: &'static str) -> Self {
        Self {
            text,
            severity: Severity::Info,
        }
    }

    /// The code as text.
    pub const fn as_str(self) -> &'static str {
        self.text
    }

    /// How bad findings of this kind are.
    pub const fn severity(self) -> Severity {
        self.severity
    }
}

impl PartialOrd for Code {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Code {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(other.text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// A route leads to a service that does not exist, or that its namespace may not see.
pub const UNKNOWN_SERVICE: Code = Code::error("MESH0101");
/// A route leads to a subset no destination rule has.
pub const UNKNOWN_SUBSET: Code = Code::error("MESH0102");
/// A route leads to a port the service does not have, or names none of several.
pub const UNKNOWN_PORT: Code = Code::error("MESH0103");
/// The former form of an object stays in effect until what the newest refers to is there.
pub const HELD_BACK: Code = Code::warning("MESH0104");
/// A route can never be reached.
pub const UNREACHABLE_ROUTE: Code = Code::warning("MESH0105");
/// A virtual service has no effect on a host because another one is nearer.
pub const SHADOWED: Code = Code::warning("MESH0106");
/// A host of a virtual service is neither a service nor reachable any other way.
pub const UNROUTABLE_HOST: Code = Code::warning("MESH0107");
/// A regular expression cannot be used.
pub const BAD_PATTERN: Code = Code::error("MESH0108");
/// A value cannot be used.
pub const BAD_VALUE: Code = Code::error("MESH0109");
/// A route does nothing with a request.
pub const NO_ACTION: Code = Code::error("MESH0110");
/// Several virtual services share a host; their routes are joined.
pub const MERGED: Code = Code::info("MESH0111");
/// A delegate cannot be followed.
pub const BAD_DELEGATE: Code = Code::error("MESH0112");
/// A virtual service acts on a host of another namespace for as long as nobody nearer does.
pub const BY_STRANGER: Code = Code::warning("MESH0113");
/// Destinations of one route are chosen by weight before clients are kept at one endpoint.
pub const HASH_ACROSS_WEIGHTS: Code = Code::warning("MESH0114");
/// A match no request can fulfil.
pub const NEVER_MATCHES: Code = Code::warning("MESH0115");
/// A setting of a route that its delegate replaces by its own.
pub const REPLACED_BY_DELEGATE: Code = Code::warning("MESH0116");
/// A regular expression takes more than the object, the namespace or the proxy has left for it.
pub const EXPRESSIONS_TOO_LARGE: Code = Code::error("MESH0117");

/// Two destination rules define one subset; the older one counts.
pub const DUPLICATE_SUBSET: Code = Code::warning("MESH0201");
/// Two destination rules set one part of the policy; the older one counts.
pub const POLICY_CONFLICT: Code = Code::warning("MESH0202");
/// A destination rule is for a host no service has.
pub const RULE_WITHOUT_SERVICE: Code = Code::warning("MESH0203");
/// A destination rule sets a port its service does not have.
pub const RULE_UNKNOWN_PORT: Code = Code::warning("MESH0204");
/// A destination rule for hosts of other namespaces holds for clients of its own only.
pub const RULE_OF_STRANGER: Code = Code::info("MESH0205");
/// A subset no endpoint belongs to.
pub const EMPTY_SUBSET: Code = Code::warning("MESH0206");

/// Two objects declare one service, or one port of it.
pub const DUPLICATE_SERVICE: Code = Code::warning("MESH0301");
/// Two services want one listener.
pub const LISTENER_CONFLICT: Code = Code::warning("MESH0302");
/// Two services want one name in the Host header.
pub const DOMAIN_CONFLICT: Code = Code::warning("MESH0303");
/// A port whose protocol is not said is taken for HTTP.
pub const ASSUMED_HTTP: Code = Code::info("MESH0304");
/// A port cannot be used.
pub const UNUSABLE_PORT: Code = Code::warning("MESH0305");
/// A host is declared that Kubernetes gives to another namespace.
pub const FOREIGN_HOST: Code = Code::error("MESH0306");
/// An address is declared that belongs to a Service of Kubernetes.
pub const FOREIGN_ADDRESS: Code = Code::error("MESH0307");
/// An endpoint is at an address that would lead proxies into themselves; it is left out.
pub const RESERVED_ADDRESS: Code = Code::error("MESH0308");
/// A port does not say what it speaks; the first bytes decide.
pub const DETECTED_PROTOCOL: Code = Code::info("MESH0312");
/// A TCP port without an address takes every connection to its number.
pub const TAKES_A_WHOLE_PORT: Code = Code::warning("MESH0313");
/// A port is declared to speak HTTP, and its number usually means TLS.
pub const HTTP_WHERE_TLS_IS_USUAL: Code = Code::info("MESH0314");

/// A gateway port needs something the mesh cannot do yet and is closed.
pub const GATEWAY_REFUSED: Code = Code::error("MESH0401");
/// Two gateway servers want one port in different ways; the older one has it.
pub const GATEWAY_CONFLICT: Code = Code::error("MESH0402");
/// A gateway selects no workload.
pub const GATEWAY_WITHOUT_WORKLOAD: Code = Code::warning("MESH0403");
/// A virtual service is bound to a gateway that does not exist.
pub const UNKNOWN_GATEWAY: Code = Code::error("MESH0404");
/// A virtual service shares no host with the gateway it is bound to.
pub const GATEWAY_HOST_MISMATCH: Code = Code::warning("MESH0405");
/// A server name is claimed twice on one gateway port; the older one has it.
pub const DUPLICATE_SNI: Code = Code::warning("MESH0406");

/// Several Sidecars apply to one workload; the oldest counts.
pub const SEVERAL_SIDECARS: Code = Code::warning("MESH0501");
/// A workload that is not redirected has no Sidecar that says where its application listens.
pub const NO_INGRESS: Code = Code::warning("MESH0502");
/// An address of a Sidecar cannot be used.
pub const BAD_ADDRESS: Code = Code::error("MESH0503");

/// Protection that cannot be enforced yet: the target refuses everything.
pub const NOT_ENFORCEABLE: Code = Code::error("MESH0601");
/// Encryption towards a service that cannot be done yet: calls are refused.
pub const TLS_NOT_ENFORCEABLE: Code = Code::error("MESH0602");
/// A selector no workload fulfils.
pub const NO_WORKLOAD: Code = Code::warning("MESH0603");

/// Accepted, but the proxy does not act on it yet.
pub const NOT_ACTED_ON: Code = Code::warning("MESH0901");
/// A setting of the mesh that is accepted, but that nothing acts on yet.
pub const SETTING_NOT_ACTED_ON: Code = Code::warning("MESH0902");
