//! Annotations that are known and have no effect here: each is named with the reason, so that
//! nobody waits for what does not come.

use super::Reading;

/// Annotations that are known and have no effect here, and why.
const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "istio.io/reroute-virtual-interfaces",
        "virtual interfaces are captured like others",
    ),
    (
        "proxy.istio.io/overrides",
        "write the fields into a container named istio-proxy",
    ),
    (
        "readiness.status.sidecar.istio.io/applicationPorts",
        "readiness of the application is its own probe's matter",
    ),
    (
        "sidecar.istio.io/agentLogLevel",
        "there is no agent beside the proxy; use sidecar.istio.io/logLevel",
    ),
    (
        "sidecar.istio.io/bootstrapOverride",
        "the proxy is not Envoy",
    ),
    (
        "sidecar.istio.io/capNetBindService",
        "the proxy needs no capability for its ports",
    ),
    (
        "sidecar.istio.io/componentLogLevel",
        "the proxy has other components; use sidecar.istio.io/logLevel",
    ),
    (
        "sidecar.istio.io/proxyImageType",
        "there is one image, without a shell",
    ),
    (
        "sidecar.istio.io/extraStatTags",
        "labels of metrics are set with Telemetry",
    ),
    (
        "sidecar.istio.io/statsHistogramBuckets",
        "the buckets are fixed",
    ),
    (
        "sidecar.istio.io/statsInclusionPrefixes",
        "the proxy has no Envoy statistics",
    ),
    (
        "sidecar.istio.io/statsInclusionRegexps",
        "the proxy has no Envoy statistics",
    ),
    (
        "sidecar.istio.io/statsInclusionSuffixes",
        "the proxy has no Envoy statistics",
    ),
    (
        "traffic.sidecar.istio.io/excludeInterfaces",
        "all interfaces are captured; exclude ports or addresses",
    ),
];

/// Names those that a pod has.
pub(super) fn name(reading: &mut Reading<'_>) {
    for (name, why) in UNSUPPORTED {
        if reading.annotation(name).is_some() {
            reading.warn(format!("annotation {name} has no effect: {why}"));
        }
    }
    let port = reading.annotation("status.sidecar.istio.io/port");
    if port.is_some_and(|port| !matches!(port, "15021" | "15020" | "")) {
        reading.warn(
            "annotation status.sidecar.istio.io/port has no effect: probes are always answered \
             at ports 15020 and 15021",
        );
    }
}

/// Those that never have an effect.
#[cfg(test)]
pub(super) fn all() -> Vec<&'static str> {
    UNSUPPORTED.iter().map(|(name, _)| *name).collect()
}
