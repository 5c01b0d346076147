//! Rules over several fields that an API server checks by itself, even while the control plane
//! is away.
//!
//! Each says no more than the validation of its kind does. All stand at the top of `spec` and none
//! walks a list, so that they cost next to nothing.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, ValidationRule,
};

use crate::Kind;

/// Most objects one policy can be attached to.
const MAX_TARGETS: i64 = 16;

const SELECTOR_OR_TARGETS: (&str, &str) = (
    "!has(self.selector) || (!has(self.targetRef) && (!has(self.targetRefs) || \
     size(self.targetRefs) == 0))",
    "selector cannot stand beside targetRefs; keep one of them",
);
const SELECTOR_OR_TARGET_LIST: (&str, &str) = (
    "!has(self.selector) || !has(self.targetRefs) || size(self.targetRefs) == 0",
    "selector cannot stand beside targetRefs; keep one of them",
);

/// Each rule and what is said about who breaks it.
fn of(kind: Kind) -> &'static [(&'static str, &'static str)] {
    match kind {
        Kind::VirtualService => &[(
            "has(self.http) || has(self.tls) || has(self.tcp)",
            "has no routes; add at least one of http, tls and tcp",
        )],
        Kind::Gateway => &[(
            "has(self.servers) && size(self.servers) > 0",
            "servers needs at least one entry",
        )],
        Kind::ServiceEntry => &[
            (
                "has(self.hosts) && size(self.hosts) > 0 && size(self.hosts) <= 256",
                "hosts needs 1 to 256 entries",
            ),
            (
                "!has(self.workloadSelector) || !has(self.endpoints) || size(self.endpoints) == 0",
                "has both endpoints and workloadSelector; keep one of them",
            ),
        ],
        Kind::Sidecar => &[(
            "has(self.ingress) || has(self.egress) || has(self.outboundTrafficPolicy) || \
             has(self.inboundConnectionPool)",
            "is empty; set at least one of egress, ingress and outboundTrafficPolicy",
        )],
        Kind::WorkloadGroup => &[(
            "!has(self.template.address) || self.template.address == ''",
            "template.address is that of each workload, not of the group; remove it",
        )],
        Kind::EnvoyFilter => &[(
            "!has(self.workloadSelector) || !has(self.targetRefs) || size(self.targetRefs) == 0",
            "workloadSelector cannot stand beside targetRefs; keep one of them",
        )],
        Kind::PeerAuthentication => &[(
            "!has(self.portLevelMtls) || size(self.portLevelMtls) == 0 || (has(self.selector) && \
             has(self.selector.matchLabels) && size(self.selector.matchLabels) > 0)",
            "portLevelMtls needs a selector; add selector.matchLabels, since ports are those of \
             single workloads",
        )],
        Kind::AuthorizationPolicy => &[
            SELECTOR_OR_TARGETS,
            (
                "!has(self.action) || self.action != 'CUSTOM' || has(self.provider)",
                "action CUSTOM needs provider.name",
            ),
            (
                "!has(self.action) || self.action != 'DENY' || (has(self.rules) && \
                 size(self.rules) > 0)",
                "action DENY needs rules; use rules: [{}] to match every request",
            ),
        ],
        Kind::RequestAuthentication | Kind::Telemetry | Kind::WasmPlugin => &[SELECTOR_OR_TARGETS],
        Kind::TrafficExtension => &[
            SELECTOR_OR_TARGET_LIST,
            (
                "has(self.wasm) != has(self.lua)",
                "needs exactly one extension; set one of wasm and lua",
            ),
        ],
        Kind::DestinationRule
        | Kind::WorkloadEntry
        | Kind::ProxyConfig
        | Kind::Service
        | Kind::EndpointSlice
        | Kind::Pod
        | Kind::Namespace
        | Kind::Node => &[],
    }
}

/// Adds the rules of a kind to the schema of its specification.
pub(super) fn add(kind: Kind, spec: &mut JSONSchemaProps) {
    let rules: Vec<_> = of(kind)
        .iter()
        .map(|(rule, message)| ValidationRule {
            rule: (*rule).to_owned(),
            message: Some((*message).to_owned()),
            ..ValidationRule::default()
        })
        .collect();
    if !rules.is_empty() {
        spec.x_kubernetes_validations = Some(rules);
    }
    if let Some(properties) = &mut spec.properties
        && let Some(ports) = properties.get_mut("portLevelMtls")
    {
        ports.min_properties = Some(1);
    }
    if let Some(properties) = &mut spec.properties
        && let Some(targets) = properties.get_mut("targetRefs")
    {
        targets.max_items = Some(MAX_TARGETS);
    }
}
