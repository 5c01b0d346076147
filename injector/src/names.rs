//! Every label and annotation that steers injection, by the names Istio gave them.

/// The revision that answers where none is named.
pub const DEFAULT_REVISION: &str = "default";

/// Namespace label: `enabled` or `disabled`.
pub const INJECTION: &str = "istio-injection";

/// Namespace and pod label: which revision injects.
pub const REVISION: &str = "istio.io/rev";

/// Pod label (and, deprecated, annotation): `true` or `false`.
pub const INJECT: &str = "sidecar.istio.io/inject";

/// Annotation of an injected pod: what was added to it.
pub const STATUS: &str = "sidecar.istio.io/status";

/// The name of the proxy's container, on which dashboards and commands rely.
pub const PROXY_CONTAINER: &str = "istio-proxy";

/// The name of the init container that redirects connections.
pub const INIT_CONTAINER: &str = "istio-init";

/// Namespaces of Kubernetes itself, which never get sidecars: a mesh that fails there takes the
/// cluster with it.
pub const SYSTEM_NAMESPACES: &[&str] = &[
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "local-path-storage",
];

/// Where the control plane runs unless somebody says otherwise.
pub const CONTROL_PLANE_NAMESPACE: &str = "istio-system";

/// Where the injector runs unless somebody says otherwise.
pub const INJECTOR_NAMESPACE: &str = "istio-injector";

/// Beginnings that belong to injection: an annotation with one of them that is not in
/// [`ANNOTATIONS`] is probably a misspelling.
pub const PREFIXES: &[&str] = &[
    "sidecar.istio.io/",
    "traffic.sidecar.istio.io/",
    "status.sidecar.istio.io/",
    "readiness.status.sidecar.istio.io/",
    "inject.istio.io/",
    "proxy.istio.io/",
];

/// Every annotation of a pod that has a meaning for its sidecar.
pub const ANNOTATIONS: &[&str] = &[
    INJECT,
    "inject.istio.io/templates",
    "istio.io/reroute-virtual-interfaces",
    "prometheus.istio.io/merge-metrics",
    "proxy.istio.io/config",
    "proxy.istio.io/overrides",
    "readiness.status.sidecar.istio.io/applicationPorts",
    "readiness.status.sidecar.istio.io/failureThreshold",
    "readiness.status.sidecar.istio.io/initialDelaySeconds",
    "readiness.status.sidecar.istio.io/periodSeconds",
    "sidecar.istio.io/agentLogLevel",
    "sidecar.istio.io/bootstrapOverride",
    "sidecar.istio.io/capNetBindService",
    "sidecar.istio.io/componentLogLevel",
    "sidecar.istio.io/discoveryAddress",
    "sidecar.istio.io/extraStatTags",
    "sidecar.istio.io/interceptionMode",
    "sidecar.istio.io/logLevel",
    "sidecar.istio.io/nativeSidecar",
    "sidecar.istio.io/proxyCPU",
    "sidecar.istio.io/proxyCPULimit",
    "sidecar.istio.io/proxyImage",
    "sidecar.istio.io/proxyImageType",
    "sidecar.istio.io/proxyMemory",
    "sidecar.istio.io/proxyMemoryLimit",
    "sidecar.istio.io/rewriteAppHTTPProbers",
    "sidecar.istio.io/statsHistogramBuckets",
    "sidecar.istio.io/statsInclusionPrefixes",
    "sidecar.istio.io/statsInclusionRegexps",
    "sidecar.istio.io/statsInclusionSuffixes",
    STATUS,
    "sidecar.istio.io/userVolume",
    "sidecar.istio.io/userVolumeMount",
    "status.sidecar.istio.io/port",
    "traffic.sidecar.istio.io/excludeInboundPorts",
    "traffic.sidecar.istio.io/excludeInterfaces",
    "traffic.sidecar.istio.io/excludeOutboundIPRanges",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "traffic.sidecar.istio.io/includeInboundPorts",
    "traffic.sidecar.istio.io/includeOutboundIPRanges",
    "traffic.sidecar.istio.io/includeOutboundPorts",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_are_listed_once_and_every_prefix_is_used() {
        let mut distinct = ANNOTATIONS.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), ANNOTATIONS.len());
        for prefix in PREFIXES {
            assert!(
                ANNOTATIONS.iter().any(|name| name.starts_with(prefix)),
                "{prefix}"
            );
        }
    }
}
