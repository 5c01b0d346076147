//! The settings of the proxy itself: annotation `proxy.istio.io/config` over the mesh's
//! `defaultConfig`, and the environment they ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use mesh_api::mesh_config::{ProxyConfig, Span, metadata};
use serde_json::Value;

use super::Reading;
use crate::refusal::Refusal;

const NAME: &str = "proxy.istio.io/config";

/// Keys that act. The others are named when a pod sets them; those of the mesh are named by
/// the control plane.
const ACTING: &[&str] = &[
    "concurrency",
    "discoveryAddress",
    "drainDuration",
    "environmentVariables",
    "holdApplicationUntilProxyStarts",
    "interceptionMode",
    "proxyMetadata",
    "terminationDrainDuration",
];

/// Variables of the environment that the proxy acts on.
const ACTING_VARIABLES: &[&str] = &[
    "EXIT_ON_ZERO_ACTIVE_CONNECTIONS",
    "ISTIO_META_HTTP10",
    "MESH_KUBELET_ADDRESSES",
    metadata::IDLE_TIMEOUT,
    metadata::STREAM_IDLE_TIMEOUT,
    MINIMUM_DRAIN,
];

/// Those that are on or off.
const SWITCHES: &[&str] = &["EXIT_ON_ZERO_ACTIVE_CONNECTIONS", "ISTIO_META_HTTP10"];

const MINIMUM_DRAIN: &str = "MINIMUM_DRAIN_DURATION";

/// Variables that say who the proxy is; nobody may say otherwise.
const RESERVED: &[&str] = &[
    "HOST_IP",
    "INSTANCE_IP",
    "ISTIO_KUBE_APP_PROBERS",
    "ISTIO_PROMETHEUS_ANNOTATIONS",
    "POD_NAME",
    "POD_NAMESPACE",
    "SERVICE_ACCOUNT",
];

/// Puts the settings of the pod over those of the mesh.
pub(super) fn read(reading: &mut Reading<'_>) -> Result<(), Refusal> {
    let mesh = reading.configuration.mesh.default_config.clone();
    let Some(text) = reading.annotation(NAME).map(str::to_owned) else {
        reading.proxy_config = of_new_pods(mesh);
        return Ok(());
    };
    let refuse = |why: &str| {
        let why = why.lines().next().unwrap_or_default();
        Refusal::annotation(
            NAME,
            &text,
            &format!("{why}; write YAML such as concurrency: 2"),
        )
    };
    let document: Value =
        serde_saphyr::from_str(&text).map_err(|error| refuse(&error.to_string()))?;
    let (near, problems) =
        ProxyConfig::read(document).map_err(|problem| refuse(&problem.to_string()))?;
    for problem in problems {
        reading.warn(format!("annotation {NAME}: {problem}"));
    }
    if let Ok(Value::Object(set)) = serde_json::to_value(&near) {
        for key in set.keys().filter(|key| !ACTING.contains(&key.as_str())) {
            reading.warn(format!(
                "annotation {NAME}: {key} has no effect on a single pod"
            ));
        }
    }
    reading.proxy_config = near.over(of_new_pods(mesh));
    Ok(())
}

/// What of the mesh's settings is written into pods. Some reach running proxies by themselves, and
/// must not stand in the way of that: what a proxy is started with counts before them.
fn of_new_pods(mut mesh: ProxyConfig) -> ProxyConfig {
    for name in metadata::TIMES {
        mesh.proxy_metadata.remove(name);
        mesh.environment_variables.remove(name);
    }
    mesh
}

/// The least time to accept while draining, if the environment asks for one.
pub(super) fn minimum_drain(reading: &Reading<'_>) -> Option<Duration> {
    let text = reading.proxy_config.proxy_metadata.get(MINIMUM_DRAIN)?;
    text.parse::<Span>().ok().map(Duration::from)
}

/// Variables the settings ask for.
pub(super) fn environment(reading: &mut Reading<'_>) -> BTreeMap<String, String> {
    let mut variables = reading.proxy_config.environment_variables.clone();
    variables.extend(reading.proxy_config.proxy_metadata.clone());
    let annotated = reading.annotation(NAME).is_some();
    variables.retain(|name, value| {
        if RESERVED.contains(&name.as_str()) || !is_variable(name) {
            reading.warnings.push(format!(
                "proxyMetadata {name} cannot be set and is left out"
            ));
            return false;
        }
        if SWITCHES.contains(&name.as_str()) && !is_switch(value) {
            // The proxy would not start with it.
            reading.warnings.push(format!(
                "proxyMetadata {name}: \"{value}\" is neither 1 nor 0 and is left out"
            ));
            return false;
        }
        if annotated && !ACTING_VARIABLES.contains(&name.as_str()) {
            reading.warnings.push(format!(
                "proxyMetadata {name} is passed on, but the proxy does not act on it"
            ));
        }
        if name == MINIMUM_DRAIN && value.parse::<Span>().is_err() {
            reading.warnings.push(format!(
                "proxyMetadata {name}: \"{value}\" is no duration such as 5s and has no effect"
            ));
        }
        true
    });
    variables
}

fn is_switch(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    ["1", "0", "true", "false", "yes", "no", "on", "off"].contains(&value.as_str())
}

fn is_variable(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.';
    !name.is_empty() && name.chars().all(fine) && !name.starts_with(|c: char| c.is_ascii_digit())
}
