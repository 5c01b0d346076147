//! Any listener.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{domain, listener_name, policy_name, port, scope, service, socket, subnet, text};
use crate::arbitrary::cluster::limits;
use crate::arbitrary::route::destinations;
use crate::listener::{
    Bind, GatewayListener, GatewayProtocol, InboundListener, InboundProtocol, InboundTarget,
    Listener, ListenerKind, Outbound, RouteSelection, Silence, TcpRoutes, TcpRule, TlsRoutes,
    TlsRule, UnmatchedTraffic,
};

pub(crate) fn listener() -> impl Strategy<Value = Listener> {
    (listener_name(), socket(), bind(), kind())
        .prop_map(|(name, own, bind, kind)| {
            let bind = match (&kind, bind) {
                (ListenerKind::Outbound(_), bind) => bind,
                (ListenerKind::Inbound(_), Bind::OriginalDestination { address: _, port }) => {
                    Bind::OriginalDestination {
                        address: None,
                        port,
                    }
                }
                _ => Bind::Socket(own),
            };
            Listener { name, bind, kind }
        })
        .boxed()
}

fn bind() -> impl Strategy<Value = Bind> {
    prop_oneof![
        socket().prop_map(Bind::Socket),
        (option::of(subnet().prop_map(|block| block.trunc())), port())
            .prop_map(|(address, port)| Bind::OriginalDestination { address, port }),
    ]
    .boxed()
}

fn kind() -> impl Strategy<Value = ListenerKind> {
    let unmatched = prop_oneof![
        Just(UnmatchedTraffic::Passthrough),
        Just(UnmatchedTraffic::Refuse),
    ];
    prop_oneof![
        outbound().prop_map(ListenerKind::Outbound),
        unmatched.prop_map(|unmatched| ListenerKind::OutboundCapture { unmatched }),
        inbound().prop_map(|inbound| ListenerKind::Inbound(Box::new(inbound))),
        policy_name().prop_map(|policy| ListenerKind::InboundCapture { policy }),
        (policy_name(), gateway())
            .prop_map(|(policy, protocol)| GatewayListener { policy, protocol })
            .prop_map(ListenerKind::Gateway),
    ]
    .boxed()
}

fn selection() -> impl Strategy<Value = RouteSelection> {
    prop_oneof![
        Just(RouteSelection::ByAuthorityPort),
        scope().prop_map(RouteSelection::Scope),
    ]
    .boxed()
}

fn tcp() -> impl Strategy<Value = TcpRoutes> {
    let rule =
        (vec(subnet(), 0..3), destinations()).prop_map(|(destination_subnets, destinations)| {
            TcpRule {
                destination_subnets,
                destinations: destinations.into(),
            }
        });
    vec(rule, 0..3)
        .prop_map(|rules| TcpRoutes { rules })
        .boxed()
}

fn tls() -> impl Strategy<Value = TlsRoutes> {
    let rule = (vec(domain(), 0..3), vec(subnet(), 0..3), destinations()).prop_map(
        |(sni_hosts, destination_subnets, destinations)| TlsRule {
            sni_hosts,
            destination_subnets,
            destinations: destinations.into(),
        },
    );
    vec(rule, 0..3)
        .prop_map(|rules| TlsRoutes { rules })
        .boxed()
}

fn outbound() -> impl Strategy<Value = Outbound> {
    let silence = prop_oneof![Just(Silence::Wait), Just(Silence::Bytes)];
    (option::of(selection()), tls(), tcp(), silence)
        .prop_map(|(http, tls, tcp, silence)| Outbound {
            http,
            tls,
            tcp,
            silence,
        })
        .boxed()
}

fn inbound() -> impl Strategy<Value = InboundListener> {
    let protocol = prop_oneof![
        Just(InboundProtocol::Http1),
        Just(InboundProtocol::Http2),
        Just(InboundProtocol::Tcp),
        Just(InboundProtocol::Detect),
    ];
    let target = prop_oneof![
        socket().prop_map(InboundTarget::Address),
        Just(InboundTarget::OriginalDestination),
    ];
    (
        port(),
        protocol,
        target,
        option::of(service()),
        policy_name(),
        limits(),
    )
        .prop_map(
            |(port, protocol, target, service, policy, limits)| InboundListener {
                port,
                protocol,
                target,
                service,
                policy,
                limits,
            },
        )
        .boxed()
}

fn gateway() -> impl Strategy<Value = GatewayProtocol> {
    prop_oneof![
        (scope(), vec(domain(), 0..3)).prop_map(|(scope, https_redirect)| {
            GatewayProtocol::Http {
                scope,
                https_redirect,
            }
        }),
        tcp().prop_map(GatewayProtocol::Tcp),
        tls().prop_map(GatewayProtocol::TlsPassthrough),
        text().prop_map(|reason| GatewayProtocol::Refuse { reason }),
    ]
    .boxed()
}
