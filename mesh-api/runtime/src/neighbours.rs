//! Who is at home here: this machine or pod itself, and the node it runs on.
//!
//! The kubelet calls from an address of its node: the one Kubernetes tells the pod, or, where pods
//! hang on a bridge, the one by which the pod leaves its network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// The variable by which a pod is told `status.hostIP`.
const HOST_IP: &str = "HOST_IP";

/// The addresses of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours(Vec<IpAddr>);

impl Neighbours {
    /// Those of this process: `HOST_IP`, and the default gateways the kernel knows.
    pub fn of_this_process() -> Self {
        let node = std::env::var(HOST_IP).ok();
        let node = node.and_then(|text| text.parse::<IpAddr>().ok());
        let gateways = gateways(Path::new("/proc"));
        Self(node.into_iter().chain(gateways).collect())
    }

    /// These addresses.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        Self(addresses.into_iter().collect())
    }

    /// Whether who calls from there is this machine or pod, or its node.
    pub fn include(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_loopback() || self.0.iter().any(|known| known.to_canonical() == peer)
    }
}

/// The default gateways that the kernel knows; `proc` is where it says so.
pub fn gateways(proc: &Path) -> Vec<IpAddr> {
    let read = |file: &str| std::fs::read_to_string(proc.join("net").join(file));
    let v4 = read("route").unwrap_or_default();
    let v6 = read("ipv6_route").unwrap_or_default();
    let of_v4 = v4.lines().filter_map(gateway_v4).map(IpAddr::V4);
    let of_v6 = v6.lines().filter_map(gateway_v6).map(IpAddr::V6);
    of_v4.chain(of_v6).collect()
}

/// The gateway of a line of `/proc/net/route`, if it is the default route: interface, destination
/// and gateway first, the mask eighth, addresses as the machine holds them.
fn gateway_v4(line: &str) -> Option<Ipv4Addr> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| u32::from_str_radix(columns.get(at)?, 16).ok();
    let (to, gateway, mask) = (number(1)?, number(2)?, number(7)?);
    let default = to == 0 && mask == 0 && gateway != 0;
    default.then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
}

/// The gateway of a line of `/proc/net/ipv6_route`, if it is the default route: destination and
/// its length first, the gateway fifth.
fn gateway_v6(line: &str) -> Option<Ipv6Addr> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| u128::from_str_radix(columns.get(at)?, 16).ok();
    let (to, length, gateway) = (number(0)?, number(1)?, number(4)?);
    let default = to == 0 && length == 0 && gateway != 0;
    default.then(|| Ipv6Addr::from(gateway))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_its_node_are_known_by_any_spelling() {
        let known = Neighbours::new(["10.0.0.5".parse().unwrap()]);
        for (peer, included) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("10.0.0.5", true),
            ("::ffff:10.0.0.5", true),
            ("10.0.0.6", false),
            ("fd00::1", false),
        ] {
            assert_eq!(known.include(peer.parse().unwrap()), included, "{peer}");
        }
    }
}
