//! What a pod's proxy does beside carrying traffic: it answers the kubelet, Prometheus and
//! scripts, on the application's behalf where that cannot be reached past the proxy.

pub(crate) mod client;
pub mod metrics;
pub mod probes;

use std::net::IpAddr;

use serde_json::Value;

use metrics::AppMetrics;
use probes::AppProbes;

/// What the proxy knows about the application beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSettings {
    /// Its probes, as the kubelet would have asked them.
    pub probes: AppProbes,
    /// Where its own metrics are.
    pub metrics: AppMetrics,
}

/// How the application is reached from inside its pod.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// The pod's address, which the kubelet would have used.
    pub address: IpAddr,
    /// Where calls must come from, so that they are not redirected to the proxy.
    pub source: Option<IpAddr>,
}

/// A string without its quotes, anything else as JSON: annotations write numbers in quotes.
fn as_text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
