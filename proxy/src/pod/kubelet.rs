//! Who may have the application's hooks run: the kubelet of the pod's node.
//!
//! A probe only asks how the application is; a hook makes it do something. The kubelet calls from
//! an address of its node: the one Kubernetes tells the pod, or, where pods hang on a bridge, the
//! one by which the pod leaves its network.

use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use mesh_runtime::neighbours::{self, Neighbours};

use super::is_the_pod;

/// The addresses the kubelet may call from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kubelet(Vec<IpNet>);

impl Kubelet {
    /// The node's address as Kubernetes tells it, the pod's default gateways as the kernel does
    /// (`proc` is where), and what an operator adds.
    pub fn new(node: Option<IpAddr>, added: Vec<IpNet>, proc: &Path) -> Self {
        let single = node
            .into_iter()
            .chain(neighbours::gateways(proc))
            .map(IpNet::from);
        Self(added.into_iter().chain(single).collect())
    }

    /// The single addresses it may call from.
    pub(crate) fn neighbours(&self) -> Neighbours {
        let single = self
            .0
            .iter()
            .filter(|block| block.prefix_len() == block.max_prefix_len());
        Neighbours::new(single.map(IpNet::addr))
    }

    /// Whether who calls from there may have hooks run. The pod itself may.
    pub(crate) fn may_ask(&self, peer: IpAddr) -> bool {
        let canonical = peer.to_canonical();
        is_the_pod(peer) || self.0.iter().any(|block| block.contains(&canonical))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(node: Option<&str>, added: &[&str], routes: &[(&str, &str)]) -> Kubelet {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir(proc.path().join("net")).unwrap();
        for (file, text) in routes {
            std::fs::write(proc.path().join("net").join(file), text).unwrap();
        }
        let added = added.iter().map(|block| block.parse().unwrap()).collect();
        Kubelet::new(node.map(|node| node.parse().unwrap()), added, proc.path())
    }

    fn may(kubelet: &Kubelet, peer: &str) -> bool {
        kubelet.may_ask(peer.parse().unwrap())
    }

    #[test]
    fn the_node_and_the_way_out_may_and_other_pods_may_not() {
        let gateway = u32::from_ne_bytes([10, 1, 0, 1]);
        let v4 = format!(
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n\
             eth0\t00000000\t{gateway:08X}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
             eth0\t0000010A\t0900010A\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        );
        let zero = "0".repeat(32);
        let v6 = format!(
            "{zero} 00 {zero} 00 fd770000000000000000000000000001 400 1 0 3 eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 1 0 200200 lo\n"
        );
        let routes = [("route", v4.as_str()), ("ipv6_route", v6.as_str())];
        let kubelet = of(Some("192.168.0.5"), &["100.64.0.0/10"], &routes);
        for peer in [
            "192.168.0.5",
            "::ffff:192.168.0.5",
            "10.1.0.1",
            "fd77::1",
            "100.64.3.3",
            "127.0.0.1",
            "::1",
        ] {
            assert!(may(&kubelet, peer), "{peer}");
        }
        for peer in [
            "10.1.0.9",
            "10.1.0.7",
            "fd77::2",
            "127.0.0.6",
            "::",
            "0.0.0.0",
        ] {
            assert!(!may(&kubelet, peer), "{peer}");
        }
    }

    #[test]
    fn where_nothing_is_known_only_the_pod_itself_may() {
        let kubelet = of(None, &[], &[("route", "nonsense\n\n1 2\n")]);
        assert!(may(&kubelet, "127.0.0.1") && !may(&kubelet, "10.1.0.1"));
    }
}
