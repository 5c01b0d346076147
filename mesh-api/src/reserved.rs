//! Where configuration may not lead a proxy: addresses that mean its own machine, its neighbours
//! on the wire or everybody at once, and the ports a proxy keeps for itself.
//!
//! The control plane leaves such endpoints out and the proxy does not connect to them; both ask
//! here. Without it, whoever may declare a service may read a gateway's admin pages or a cloud's
//! metadata service through that gateway.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Admin pages.
pub const ADMIN_PORT: u16 = 15_000;
/// Outbound connections that were redirected; HTTP of applications that call their proxy.
pub const OUTBOUND_PORT: u16 = 15_001;
/// Inbound connections that were redirected.
pub const INBOUND_PORT: u16 = 15_006;
/// Metrics of proxy and application, readiness, the application's probes.
pub const POD_PORT: u16 = 15_020;
/// Readiness.
pub const HEALTH_PORT: u16 = 15_021;
/// Metrics of the proxy.
pub const METRICS_PORT: u16 = 15_090;

/// Every port that is the proxy's own on a workload: the above, and those that have been an Istio
/// sidecar's for as long as applications have been kept off them (debug, tunnel, DNS).
pub const PROXY_PORTS: [u16; 9] = [
    ADMIN_PORT,
    OUTBOUND_PORT,
    15_004,
    INBOUND_PORT,
    15_008,
    POD_PORT,
    HEALTH_PORT,
    15_053,
    METRICS_PORT,
];

/// Of those, the ports the kernel leaves alone where it redirects everything else.
pub const UNCAPTURED_PORTS: [u16; 3] = [POD_PORT, HEALTH_PORT, METRICS_PORT];

/// Whether a port is the proxy's own.
pub fn is_proxy_port(port: u16) -> bool {
    PROXY_PORTS.contains(&port)
}

/// What makes an address one that no endpoint may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedAddress {
    /// `0.0.0.0/8` and `::`: the machine itself, or nobody (RFC 1122 3.2.1.3, RFC 4291 2.5.2).
    Unspecified,
    /// `127.0.0.0/8` and `::1`: the machine itself.
    Loopback,
    /// `169.254.0.0/16` and `fe80::/10`: neighbours on the wire, and in clouds the service that
    /// hands out the machine's credentials (RFC 3927, RFC 4291 2.5.6).
    LinkLocal,
    /// `224.0.0.0/4`, `255.255.255.255` and `ff00::/8`: more than one machine.
    Multicast,
}

impl ReservedAddress {
    /// What an address is reserved for; `None` for one that an endpoint may have. An IPv4 address
    /// inside an IPv6 one (mapped, compatible, or behind the prefix of a translator) counts as
    /// what it is translated to.
    pub fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    /// What a name is reserved for: `localhost` and all below it are the machine itself
    /// (RFC 6761 6.3), and an address written as a name is that address.
    pub fn of_name(name: &str) -> Option<Self> {
        let name = name.trim_end_matches('.');
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse() {
            return Self::of(address);
        }
        let last = name.rsplit('.').next().unwrap_or(name);
        last.eq_ignore_ascii_case("localhost")
            .then_some(Self::Loopback)
    }

    fn of_v4(address: Ipv4Addr) -> Option<Self> {
        let [first, ..] = address.octets();
        if first == 0 {
            Some(Self::Unspecified)
        } else if address.is_loopback() {
            Some(Self::Loopback)
        } else if address.is_link_local() {
            Some(Self::LinkLocal)
        } else if address.is_multicast() || address.is_broadcast() {
            Some(Self::Multicast)
        } else {
            None
        }
    }

    fn of_v6(address: Ipv6Addr) -> Option<Self> {
        if address.is_unspecified() {
            Some(Self::Unspecified)
        } else if address.is_loopback() {
            Some(Self::Loopback)
        } else if address.is_unicast_link_local() {
            Some(Self::LinkLocal)
        } else if address.is_multicast() {
            Some(Self::Multicast)
        } else {
            embedded(address).and_then(Self::of_v4)
        }
    }
}

/// The IPv4 address that an IPv6 address stands for: mapped (`::ffff:0:0/96`), compatible
/// (`::/96`), or translated (`64:ff9b::/96`, RFC 6052 2.1).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([h1, h2], [l1, l2]) = (high.to_be_bytes(), low.to_be_bytes());
            Some(Ipv4Addr::new(h1, h2, l1, l2))
        }
        _ => None,
    }
}

impl fmt::Display for ReservedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Multicast => "a multicast or broadcast address",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_addresses_in_every_spelling() {
        use ReservedAddress::{LinkLocal, Loopback, Multicast, Unspecified};
        for (address, expected) in [
            ("0.0.0.0", Some(Unspecified)),
            ("0.1.2.3", Some(Unspecified)),
            ("127.0.0.1", Some(Loopback)),
            ("127.80.1.1", Some(Loopback)),
            ("169.254.169.254", Some(LinkLocal)),
            ("224.0.0.1", Some(Multicast)),
            ("239.255.255.255", Some(Multicast)),
            ("255.255.255.255", Some(Multicast)),
            ("::", Some(Unspecified)),
            ("::1", Some(Loopback)),
            ("fe80::1", Some(LinkLocal)),
            ("febf::1", Some(LinkLocal)),
            ("ff02::1", Some(Multicast)),
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("::ffff:169.254.169.254", Some(LinkLocal)),
            ("::ffff:0.0.0.0", Some(Unspecified)),
            ("::127.0.0.1", Some(Loopback)),
            ("64:ff9b::169.254.169.254", Some(LinkLocal)),
            ("64:ff9b::10.0.0.1", None),
            ("::ffff:10.0.0.1", None),
            ("10.0.0.1", None),
            ("128.0.0.1", None),
            ("169.253.0.1", None),
            ("fec0::1", None),
            ("fd00::1", None),
            ("2001:db8::1", None),
        ] {
            assert_eq!(
                ReservedAddress::of(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn names_that_mean_the_machine_itself() {
        use ReservedAddress::{LinkLocal, Loopback};
        for (name, expected) in [
            ("localhost", Some(Loopback)),
            ("LocalHost.", Some(Loopback)),
            ("a.localhost", Some(Loopback)),
            ("127.0.0.1", Some(Loopback)),
            ("[::1]", Some(Loopback)),
            ("169.254.169.254.", Some(LinkLocal)),
            ("localhost.example.com", None),
            ("example.com", None),
            ("", None),
        ] {
            assert_eq!(ReservedAddress::of_name(name), expected, "{name:?}");
        }
    }
}
