//! What a pod's proxy does beside carrying traffic: it answers the kubelet, Prometheus and
//! scripts, on the application's behalf where that cannot be reached past the proxy.

pub(crate) mod client;
pub mod kubelet;
pub(crate) mod listening;
pub mod metrics;
pub mod probes;

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use kubelet::Kubelet;
use metrics::AppMetrics;
use probes::AppProbes;

/// What the proxy knows about the application beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSettings {
    /// Its probes, as the kubelet would have asked them.
    pub probes: AppProbes,
    /// Where its own metrics are.
    pub metrics: AppMetrics,
    /// Who may have its hooks run.
    pub kubelet: Kubelet,
}

/// How the application is reached from inside its pod.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// The pod's address, which the kubelet would have used.
    pub address: IpAddr,
    /// Where calls must come from, so that they are not redirected to the proxy.
    pub source: Option<IpAddr>,
}

/// Where the proxy's own calls to the application come from, which it makes on behalf of others.
const ON_BEHALF: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));

/// Whether who calls from there is in this pod, and speaks for itself.
pub(crate) fn is_the_pod(peer: IpAddr) -> bool {
    let peer = peer.to_canonical();
    peer.is_loopback() && peer != ON_BEHALF
}

/// A string without its quotes, anything else as JSON: annotations write numbers in quotes.
fn as_text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
