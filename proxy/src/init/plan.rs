//! Which connections are redirected, as data: rules that can be read, tested against packets,
//! printed and sent to the kernel.
//!
//! A rule applies to a packet that meets all of its conditions; the first that applies decides;
//! a packet that meets none goes its way.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::options::{Capture, Chosen};

/// The name of our tables, which are ours alone.
pub(super) const TABLE: &str = "mesh";
/// Where destination NAT happens, as the kernel counts priorities.
pub(super) const PRIORITY: i32 = -100;

/// The rules of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) tables: Vec<Table>,
}

/// The rules for one kind of address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) family: Family,
    pub(super) inbound: Chain,
    pub(super) outbound: Chain,
}

/// One kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// The rules that packets meet at one place on their way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) hook: Hook,
    pub(super) rules: Vec<Rule>,
}

/// A place on a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    /// Arriving from outside.
    Prerouting,
    /// Leaving a process of this pod.
    Output,
}

/// What happens to which packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Vec<Condition>,
    pub(super) verdict: Verdict,
    /// Why, for whoever lists the rules.
    pub(super) comment: &'static str,
}

/// What a packet may have to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Tcp,
    ToPort(u16),
    ByLoopback,
    ByUser(u32),
    NotByUser(u32),
    ByGroup(u32),
    From(IpAddr),
    To(IpNet),
    NotTo(IpNet),
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes its way.
    Return,
    /// It goes to this port of this pod.
    Redirect(u16),
}

/// A packet that opens a TCP connection, as far as rules can tell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) from: IpAddr,
    pub(super) to: SocketAddr,
    pub(super) by_loopback: bool,
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Family {
    /// Whether an address is of this kind.
    pub(super) fn has(self, address: IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }

    fn loopback(self) -> IpNet {
        match self {
            Self::V4 => IpNet::new_assert(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
            Self::V6 => IpNet::from(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        }
    }

    /// Where the proxy calls the application from.
    pub(super) fn proxy_source(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl Plan {
    /// The rules that capture just that.
    pub(super) fn of(capture: &Capture, families: &[Family]) -> Self {
        let tables = families.iter().map(|family| Table {
            family: *family,
            inbound: inbound(capture),
            outbound: outbound(capture, *family),
        });
        Self {
            tables: tables.collect(),
        }
    }
}

fn inbound(capture: &Capture) -> Chain {
    let mut rules = Vec::new();
    for port in &capture.not_inbound {
        rules.push(rule(
            [Condition::ToPort(*port)],
            Verdict::Return,
            "not captured",
        ));
    }
    let redirect = Verdict::Redirect(capture.inbound_port);
    let comment = "to the proxy";
    match &capture.inbound {
        Chosen::All => rules.push(rule([Condition::Tcp], redirect, comment)),
        Chosen::These(ports) => {
            for port in ports {
                rules.push(rule([Condition::ToPort(*port)], redirect, comment));
            }
        }
    }
    Chain {
        hook: Hook::Prerouting,
        rules,
    }
}

fn outbound(capture: &Capture, family: Family) -> Chain {
    use Condition::{ByGroup, ByLoopback, ByUser, From, NotByUser, NotTo, Tcp, To, ToPort};
    let mut rules = Vec::new();
    for port in &capture.not_outbound_ports {
        rules.push(rule([ToPort(*port)], Verdict::Return, "not captured"));
    }
    let redirect = Verdict::Redirect(capture.outbound_port);
    rules.extend([
        rule(
            [ByLoopback, From(family.proxy_source())],
            Verdict::Return,
            "the proxy calls the application",
        ),
        rule(
            [
                ByLoopback,
                NotTo(family.loopback()),
                ByUser(capture.user),
                Tcp,
            ],
            Verdict::Redirect(capture.inbound_port),
            "the application calls itself by way of the proxy",
        ),
        rule(
            [ByLoopback, NotByUser(capture.user)],
            Verdict::Return,
            "the pod talks to itself",
        ),
        rule([ByUser(capture.user)], Verdict::Return, "the proxy's own"),
        rule([ByGroup(capture.group)], Verdict::Return, "the proxy's own"),
        rule(
            [To(family.loopback())],
            Verdict::Return,
            "the pod talks to itself",
        ),
    ]);
    let here = |range: &&IpNet| family.has(range.addr());
    for range in capture.not_outbound.iter().filter(here) {
        rules.push(rule([To(*range)], Verdict::Return, "not captured"));
    }
    let comment = "to the proxy";
    let mut all = capture.outbound == Chosen::All;
    match &capture.outbound_ports {
        Chosen::All => all = true,
        Chosen::These(ports) => {
            for port in ports {
                rules.push(rule([ToPort(*port)], redirect, comment));
            }
        }
    }
    match &capture.outbound {
        Chosen::These(ranges) if !all => {
            for range in ranges.iter().filter(here) {
                rules.push(rule([To(*range), Tcp], redirect, comment));
            }
        }
        Chosen::These(_) | Chosen::All => rules.push(rule([Tcp], redirect, comment)),
    }
    Chain {
        hook: Hook::Output,
        rules,
    }
}

fn rule<const N: usize>(
    conditions: [Condition; N],
    verdict: Verdict,
    comment: &'static str,
) -> Rule {
    Rule {
        conditions: conditions.to_vec(),
        verdict,
        comment,
    }
}

impl Chain {
    /// Where a packet goes: to this port, or (`None`) its way.
    pub(super) fn redirects(&self, packet: &Packet) -> Option<u16> {
        let applies = |rule: &&Rule| rule.conditions.iter().all(|is| is.met_by(packet));
        match self.rules.iter().find(applies)?.verdict {
            Verdict::Return => None,
            Verdict::Redirect(port) => Some(port),
        }
    }
}

impl Condition {
    fn met_by(self, packet: &Packet) -> bool {
        match self {
            Self::Tcp => true,
            Self::ToPort(port) => packet.to.port() == port,
            Self::ByLoopback => packet.by_loopback,
            Self::ByUser(user) => packet.user == user,
            Self::NotByUser(user) => packet.user != user,
            Self::ByGroup(group) => packet.group == group,
            Self::From(address) => packet.from == address,
            Self::To(range) => range.contains(&packet.to.ip()),
            Self::NotTo(range) => !range.contains(&packet.to.ip()),
        }
    }
}

#[cfg(test)]
mod tests;
