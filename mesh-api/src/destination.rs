//! Where a connection goes: the most specific destination wins.
//!
//! One structure answers for redirected connections of a sidecar ([`Table`], every port) and for
//! one socket ([`AtPort`], TLS and TCP ports of gateways included), so that there is one order of
//! precedence and not one per place. Built when configuration changes; a look-up hashes once per
//! length of prefix and once per length of wildcard that occur, however many rules there are.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::listener::{
    Bind, GatewayProtocol, Listener, ListenerKind, Outbound, Silence, TcpRoutes, TlsRoutes,
};
use crate::route::Destinations;
use names::ServerNames;

mod names;

/// What the first bytes of a connection say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBytes<'b> {
    /// They are HTTP.
    Http,
    /// They are a TLS greeting, with the server name it asks for: lower case, no trailing dot;
    /// `None` if it names none.
    Tls(Option<&'b str>),
    /// They are something else, or the client leaves the first word to the server.
    Other,
}

/// What a connection meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'t> {
    /// The tables of virtual hosts that this listener names.
    Http(&'t Arc<Listener>),
    /// One of these destinations, as bytes.
    Bytes(&'t Arc<Destinations>),
    /// It depends on the first bytes, which were not given.
    Depends(Silence),
    /// Nothing: the policy for unknown traffic decides, and where there is none the connection is
    /// closed.
    Unknown,
}

/// Every redirected connection of a proxy: by port, then as [`AtPort`] says.
#[derive(Clone, Debug, Default)]
pub struct Table(HashMap<u16, AtPort>);

impl Table {
    /// What the outbound listeners without a socket of their own take; others are left out.
    pub fn of<'l>(listeners: impl IntoIterator<Item = &'l Arc<Listener>>) -> Self {
        let mut ports: HashMap<u16, AtPort> = HashMap::new();
        for listener in listeners {
            if let (Bind::OriginalDestination { address, port }, ListenerKind::Outbound(outbound)) =
                (&listener.bind, &listener.kind)
            {
                let at = ports.entry(port.value()).or_default();
                at.add_outbound(*address, outbound, listener);
            }
        }
        for at in ports.values_mut() {
            at.put_in_order();
        }
        Self(ports)
    }

    /// What a connection to `destination` meets. Without its first bytes the answer may be
    /// [`Found::Depends`]; with them it never is.
    pub fn find(&self, destination: SocketAddr, first: Option<FirstBytes<'_>>) -> Found<'_> {
        match self.0.get(&destination.port()) {
            Some(at) => at.find(destination.ip(), first),
            None => Found::Unknown,
        }
    }
}

/// The rules of one port.
///
/// What a connection to an address meets is decided in this order; each step only chooses among
/// what the steps before left equal:
///
/// 1. **Address.** The longest prefix that contains the destination: a single address before a
///    block, a shorter block after a longer one, and last what is for any address. The block of a
///    rule is the narrower of its listener's and of one in its `destination_subnets`; of rules
///    with one block those with the longer subnet come first, and those without a subnet last.
/// 2. **Server name**, if the client greets with TLS: the name itself, then the longest wildcard,
///    then rules for any name, which also take greetings without one.
/// 3. **Protocol**: HTTP goes to the tables of virtual hosts if there are any here.
/// 4. **Bytes**: a TCP rule takes whatever got here, HTTP and TLS included.
///
/// What finds nothing at one block goes on to the next shorter one, and at the end is
/// [`Found::Unknown`]. Of rules that all this leaves equal, the first of the listener that comes
/// first wins. HTTP stops where it finds tables: a host that none of them knows is unknown
/// traffic, not a matter for a shorter block.
#[derive(Clone, Debug, Default)]
pub struct AtPort {
    blocks: HashMap<IpNet, Vec<Layer>>,
    any: Vec<Layer>,
    /// The lengths of prefixes that occur, longest first.
    lengths: Lengths,
}

#[derive(Clone, Debug, Default)]
struct Lengths {
    v4: Vec<u8>,
    v6: Vec<u8>,
}

/// The rules of one block that have a subnet of one length, or none.
#[derive(Clone, Debug)]
struct Layer {
    /// The length of their subnet.
    subnet: Option<u8>,
    names: Option<Box<ServerNames>>,
    http: Option<Arc<Listener>>,
    bytes: Option<Arc<Destinations>>,
    silence: Silence,
}

impl Layer {
    fn new(subnet: Option<u8>, silence: Silence) -> Self {
        Self {
            subnet,
            names: None,
            http: None,
            bytes: None,
            silence,
        }
    }
}

impl AtPort {
    /// What a listener with a socket of its own takes; `None` for kinds that do not look up.
    pub fn of(listener: &Arc<Listener>) -> Option<Self> {
        let mut at = Self::default();
        match &listener.kind {
            ListenerKind::Outbound(outbound) => at.add_outbound(None, outbound, listener),
            ListenerKind::Gateway(gateway) => match &gateway.protocol {
                GatewayProtocol::Tcp(routes) => at.add_tcp(None, routes, Silence::Bytes),
                GatewayProtocol::TlsPassthrough(routes) => {
                    at.add_tls(None, routes, Silence::Wait);
                }
                GatewayProtocol::Http { .. } | GatewayProtocol::Refuse { .. } => return None,
            },
            ListenerKind::OutboundCapture { .. }
            | ListenerKind::Inbound(_)
            | ListenerKind::InboundCapture { .. } => return None,
        }
        at.put_in_order();
        Some(at)
    }

    /// What a connection to `address` meets. Without its first bytes the answer may be
    /// [`Found::Depends`]; with them it never is.
    pub fn find(&self, address: IpAddr, first: Option<FirstBytes<'_>>) -> Found<'_> {
        for layer in self.layers(address.to_canonical()) {
            match first {
                None if layer.names.is_some() || layer.http.is_some() => {
                    return Found::Depends(layer.silence);
                }
                Some(FirstBytes::Tls(name)) => {
                    if let Some(found) = layer.names.as_ref().and_then(|names| names.find(name)) {
                        return Found::Bytes(found);
                    }
                }
                Some(FirstBytes::Http) => {
                    if let Some(listener) = &layer.http {
                        return Found::Http(listener);
                    }
                }
                None | Some(FirstBytes::Other) => {}
            }
            if let Some(found) = &layer.bytes {
                return Found::Bytes(found);
            }
        }
        Found::Unknown
    }

    /// The layers for an address, most specific first.
    fn layers(&self, address: IpAddr) -> impl Iterator<Item = &Layer> {
        let lengths = match address {
            IpAddr::V4(_) => &self.lengths.v4,
            IpAddr::V6(_) => &self.lengths.v6,
        };
        lengths
            .iter()
            .filter_map(move |length| {
                let block = IpNet::new(address, *length).ok()?.trunc();
                self.blocks.get(&block)
            })
            .chain([&self.any])
            .flatten()
    }

    fn add_outbound(
        &mut self,
        block: Option<IpNet>,
        outbound: &Outbound,
        listener: &Arc<Listener>,
    ) {
        let Outbound {
            http,
            tls,
            tcp,
            silence,
        } = outbound;
        if http.is_some() {
            self.put(block, None, *silence, |layer| {
                layer.http.get_or_insert_with(|| Arc::clone(listener));
            });
        }
        self.add_tls(block, tls, *silence);
        self.add_tcp(block, tcp, *silence);
    }

    fn add_tls(&mut self, block: Option<IpNet>, routes: &TlsRoutes, silence: Silence) {
        for rule in &routes.rules {
            self.put_each(block, &rule.destination_subnets, silence, |layer| {
                let names = layer.names.get_or_insert_default();
                names.add(&rule.sni_hosts, &rule.destinations);
            });
        }
    }

    fn add_tcp(&mut self, block: Option<IpNet>, routes: &TcpRoutes, silence: Silence) {
        for rule in &routes.rules {
            self.put_each(block, &rule.destination_subnets, silence, |layer| {
                let to = || Arc::clone(&rule.destinations);
                layer.bytes.get_or_insert_with(to);
            });
        }
    }

    /// Changes every layer a rule with these subnets belongs to.
    fn put_each(
        &mut self,
        block: Option<IpNet>,
        subnets: &[IpNet],
        silence: Silence,
        change: impl Fn(&mut Layer),
    ) {
        if subnets.is_empty() {
            self.put(block, None, silence, &change);
        }
        for subnet in subnets {
            let narrower = match block {
                None => subnet,
                Some(ref block) if block.contains(subnet) => subnet,
                // A single address within the subnet, for example a service's own.
                Some(ref block) if subnet.contains(block) => block,
                // They have no address in common: the rule takes nothing here.
                Some(_) => continue,
            };
            let length = Some(subnet.prefix_len());
            self.put(Some(*narrower), length, silence, &change);
        }
    }

    /// Changes a layer, which is made if it is not there.
    fn put(
        &mut self,
        block: Option<IpNet>,
        subnet: Option<u8>,
        silence: Silence,
        change: impl FnOnce(&mut Layer),
    ) {
        let layers = match block {
            None => &mut self.any,
            Some(block) => self.blocks.entry(block.trunc()).or_default(),
        };
        if !layers.iter().any(|layer| layer.subnet == subnet) {
            let at = layers.partition_point(|layer| layer.subnet > subnet);
            layers.insert(at, Layer::new(subnet, silence));
        }
        if let Some(layer) = layers.iter_mut().find(|layer| layer.subnet == subnet) {
            if silence == Silence::Bytes {
                // A server that speaks first is not made to wait by what it shares a place with.
                layer.silence = silence;
            }
            change(layer);
        }
    }

    fn put_in_order(&mut self) {
        let mut lengths = Lengths::default();
        for block in self.blocks.keys() {
            match block {
                IpNet::V4(block) => lengths.v4.push(block.prefix_len()),
                IpNet::V6(block) => lengths.v6.push(block.prefix_len()),
            }
        }
        for list in [&mut lengths.v4, &mut lengths.v6] {
            list.sort_unstable_by(|a, b| b.cmp(a));
            list.dedup();
        }
        self.lengths = lengths;
        for names in self
            .blocks
            .values_mut()
            .chain([&mut self.any])
            .flatten()
            .filter_map(|layer| layer.names.as_mut())
        {
            names.put_in_order();
        }
    }
}

#[cfg(test)]
mod tests;
