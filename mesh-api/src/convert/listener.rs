//! Listeners on the wire.

use ipnet::IpNet;

mod gateway;

use super::field::{
    Invalid, Result, Wire, field, list, list_to_proto, member, non_empty, optional, required,
    wire_enum,
};
use super::route::{destinations_from_proto, destinations_to_proto};
use crate::listener::{
    Bind, GatewayListener, InboundListener, InboundProtocol, InboundTarget, Listener, ListenerKind,
    Outbound, RouteSelection, Silence, TcpRoutes, TcpRule, TlsRoutes, TlsRule, UnmatchedTraffic,
};
use crate::name::{ListenerName, PolicyName};
use crate::proto;
use crate::proto::inbound::Target;
use crate::proto::listener as wire;
use crate::proto::route_selection::Selection;

pub(super) fn encode(listener: &Listener) -> proto::Listener {
    let Listener {
        name: _,
        bind,
        kind,
    } = listener;
    proto::Listener {
        bind: Some(bind.to_proto()),
        kind: Some(kind.to_proto()),
    }
}

pub(super) fn decode(name: ListenerName, proto: proto::Listener) -> Result<Listener> {
    let proto::Listener { bind, kind } = proto;
    let bind = required("bind", bind)?;
    let kind = required("kind", kind)?;
    let captures = match kind {
        ListenerKind::OutboundCapture { .. }
        | ListenerKind::InboundCapture { .. }
        | ListenerKind::Gateway(_) => true,
        ListenerKind::Outbound(_) | ListenerKind::Inbound(_) => false,
    };
    if captures && matches!(bind, Bind::OriginalDestination { .. }) {
        return Err(Invalid::at(
            "bind",
            "a listener of this kind needs a socket of its own",
        ));
    }
    let has_block = matches!(
        bind,
        Bind::OriginalDestination {
            address: Some(_),
            ..
        }
    );
    if has_block && matches!(kind, ListenerKind::Inbound(_)) {
        return Err(Invalid::at(
            "bind.original_destination.block",
            "what comes in is for the workload, whichever of its addresses is called",
        ));
    }
    Ok(Listener { name, bind, kind })
}

impl Wire for Bind {
    type Proto = wire::Bind;

    fn to_proto(&self) -> wire::Bind {
        match self {
            Self::Socket(address) => wire::Bind::Socket(address.to_proto()),
            Self::OriginalDestination { address, port } => {
                wire::Bind::OriginalDestination(proto::OriginalDestination {
                    block: address.as_ref().map(Wire::to_proto),
                    port: port.to_proto(),
                })
            }
        }
    }

    fn from_proto(proto: wire::Bind) -> Result<Self> {
        match proto {
            wire::Bind::Socket(address) => field("socket", address).map(Self::Socket),
            wire::Bind::OriginalDestination(destination) => from_original_destination(destination)
                .map_err(|invalid| invalid.within("original_destination")),
        }
    }
}

fn from_original_destination(proto: proto::OriginalDestination) -> Result<Bind> {
    let proto::OriginalDestination { block, port } = proto;
    let address: Option<IpNet> = optional("block", block)?;
    if address.is_some_and(|block| block != block.trunc()) {
        return Err(Invalid::at("block", "it has bits beyond its prefix"));
    }
    Ok(Bind::OriginalDestination {
        address,
        port: field("port", port)?,
    })
}

impl Wire for ListenerKind {
    type Proto = wire::Kind;

    fn to_proto(&self) -> wire::Kind {
        match self {
            Self::Outbound(outbound) => wire::Kind::Outbound(outbound.to_proto()),
            Self::OutboundCapture { unmatched } => {
                wire::Kind::OutboundCapture(proto::OutboundCapture {
                    unmatched: unmatched.to_proto(),
                })
            }
            Self::Inbound(inbound) => wire::Kind::Inbound(inbound.to_proto()),
            Self::InboundCapture { policy } => wire::Kind::InboundCapture(proto::InboundCapture {
                policy: policy.0.to_proto(),
            }),
            Self::Gateway(GatewayListener { policy, protocol }) => {
                wire::Kind::Gateway(proto::Gateway {
                    policy: policy.0.to_proto(),
                    protocol: Some(protocol.to_proto()),
                })
            }
        }
    }

    fn from_proto(proto: wire::Kind) -> Result<Self> {
        match proto {
            wire::Kind::Outbound(outbound) => field("outbound", outbound).map(Self::Outbound),
            wire::Kind::OutboundCapture(proto::OutboundCapture { unmatched }) => {
                match field("unmatched", unmatched) {
                    Ok(unmatched) => Ok(Self::OutboundCapture { unmatched }),
                    Err(invalid) => Err(invalid.within("outbound_capture")),
                }
            }
            wire::Kind::Inbound(inbound) => {
                field("inbound", inbound).map(|inbound| Self::Inbound(Box::new(inbound)))
            }
            wire::Kind::InboundCapture(proto::InboundCapture { policy }) => {
                match policy_name(policy) {
                    Ok(policy) => Ok(Self::InboundCapture { policy }),
                    Err(invalid) => Err(invalid.within("inbound_capture")),
                }
            }
            wire::Kind::Gateway(gateway) => gateway::from_proto(gateway)
                .map(Self::Gateway)
                .map_err(|invalid| invalid.within("gateway")),
        }
    }
}

/// The policy of a listener: one that names none would let everything in.
fn policy_name(proto: String) -> Result<PolicyName> {
    non_empty("policy", proto).map(PolicyName)
}

wire_enum!(UnmatchedTraffic, proto::UnmatchedTraffic, { Passthrough, Refuse });
wire_enum!(Silence, proto::Silence, { Wait, Bytes });
wire_enum!(InboundProtocol, proto::InboundProtocol, { Http1, Http2, Tcp, Detect });

impl Wire for Outbound {
    type Proto = proto::Outbound;

    fn to_proto(&self) -> proto::Outbound {
        let Self {
            http,
            tls,
            tcp,
            silence,
        } = self;
        proto::Outbound {
            http: http.as_ref().map(Wire::to_proto),
            tls: list_to_proto(&tls.rules),
            tcp: list_to_proto(&tcp.rules),
            silence: silence.to_proto(),
        }
    }

    fn from_proto(proto: proto::Outbound) -> Result<Self> {
        let proto::Outbound {
            http,
            tls,
            tcp,
            silence,
        } = proto;
        Ok(Self {
            http: optional("http", http)?,
            tls: list("tls", tls).map(|rules| TlsRoutes { rules })?,
            tcp: list("tcp", tcp).map(|rules| TcpRoutes { rules })?,
            silence: field("silence", silence)?,
        })
    }
}

impl Wire for RouteSelection {
    type Proto = proto::RouteSelection;

    fn to_proto(&self) -> proto::RouteSelection {
        let selection = match self {
            Self::ByAuthorityPort => Selection::ByAuthorityPort(proto::Unit {}),
            Self::Scope(scope) => Selection::Scope(scope.to_proto()),
        };
        proto::RouteSelection {
            selection: Some(selection),
        }
    }

    fn from_proto(proto: proto::RouteSelection) -> Result<Self> {
        let proto::RouteSelection { selection } = proto;
        member("selection", selection, |selection| match selection {
            Selection::ByAuthorityPort(proto::Unit {}) => Ok(Self::ByAuthorityPort),
            Selection::Scope(scope) => field("scope", scope).map(Self::Scope),
        })
    }
}

impl Wire for TcpRoutes {
    type Proto = proto::TcpRoutes;

    fn to_proto(&self) -> proto::TcpRoutes {
        let Self { rules } = self;
        proto::TcpRoutes {
            rules: list_to_proto(rules),
        }
    }

    fn from_proto(proto: proto::TcpRoutes) -> Result<Self> {
        let proto::TcpRoutes { rules } = proto;
        list("rules", rules).map(|rules| Self { rules })
    }
}

impl Wire for TcpRule {
    type Proto = proto::TcpRule;

    fn to_proto(&self) -> proto::TcpRule {
        let Self {
            destination_subnets,
            destinations,
        } = self;
        proto::TcpRule {
            destination_subnets: list_to_proto(destination_subnets),
            destinations: destinations_to_proto(destinations),
        }
    }

    fn from_proto(proto: proto::TcpRule) -> Result<Self> {
        let proto::TcpRule {
            destination_subnets,
            destinations,
        } = proto;
        Ok(Self {
            destination_subnets: list("destination_subnets", destination_subnets)?,
            destinations: destinations_from_proto(destinations)?.into(),
        })
    }
}

impl Wire for TlsRoutes {
    type Proto = proto::TlsRoutes;

    fn to_proto(&self) -> proto::TlsRoutes {
        let Self { rules } = self;
        proto::TlsRoutes {
            rules: list_to_proto(rules),
        }
    }

    fn from_proto(proto: proto::TlsRoutes) -> Result<Self> {
        let proto::TlsRoutes { rules } = proto;
        list("rules", rules).map(|rules| Self { rules })
    }
}

impl Wire for TlsRule {
    type Proto = proto::TlsRule;

    fn to_proto(&self) -> proto::TlsRule {
        let Self {
            sni_hosts,
            destination_subnets,
            destinations,
        } = self;
        proto::TlsRule {
            sni_hosts: list_to_proto(sni_hosts),
            destination_subnets: list_to_proto(destination_subnets),
            destinations: destinations_to_proto(destinations),
        }
    }

    fn from_proto(proto: proto::TlsRule) -> Result<Self> {
        let proto::TlsRule {
            sni_hosts,
            destination_subnets,
            destinations,
        } = proto;
        Ok(Self {
            sni_hosts: list("sni_hosts", sni_hosts)?,
            destination_subnets: list("destination_subnets", destination_subnets)?,
            destinations: destinations_from_proto(destinations)?.into(),
        })
    }
}

impl Wire for InboundListener {
    type Proto = proto::Inbound;

    fn to_proto(&self) -> proto::Inbound {
        let Self {
            port,
            protocol,
            target,
            service,
            policy,
            limits,
        } = self;
        let target = match target {
            InboundTarget::Address(address) => Target::Address(address.to_proto()),
            InboundTarget::OriginalDestination => Target::OriginalDestination(proto::Unit {}),
        };
        proto::Inbound {
            port: port.to_proto(),
            protocol: protocol.to_proto(),
            target: Some(target),
            service: service.as_ref().map(Wire::to_proto),
            policy: policy.0.to_proto(),
            limits: Some(limits.to_proto()),
        }
    }

    fn from_proto(proto: proto::Inbound) -> Result<Self> {
        let proto::Inbound {
            port,
            protocol,
            target,
            service,
            policy,
            limits,
        } = proto;
        let target = member("target", target, |target| match target {
            Target::Address(address) => field("address", address).map(InboundTarget::Address),
            Target::OriginalDestination(proto::Unit {}) => Ok(InboundTarget::OriginalDestination),
        })?;
        Ok(Self {
            port: field("port", port)?,
            protocol: field("protocol", protocol)?,
            target,
            service: optional("service", service)?,
            policy: policy_name(policy)?,
            limits: required("limits", limits)?,
        })
    }
}
