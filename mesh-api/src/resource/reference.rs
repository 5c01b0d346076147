//! What refers to what, with the path of the field that does.

use std::fmt::Arguments;

use super::Resource;
use crate::cluster::{Cluster, ClusterEndpoints};
use crate::listener::{
    GatewayListener, GatewayProtocol, Listener, ListenerKind, TcpRoutes, TlsRoutes,
};
use crate::name::ResourceName;
use crate::route::{Destinations, RouteAction, Target, VirtualHost};

/// Told of every reference: the path of the field, not yet printed, and what it refers to.
pub(crate) type Visitor<'v> = dyn FnMut(Arguments<'_>, ResourceName) + 'v;

impl Resource {
    /// Walks over every reference, in field order; the same target may come up again.
    pub(crate) fn each_reference(&self, visit: &mut Visitor<'_>) {
        match self {
            Self::Settings(_) | Self::Workload(_) | Self::Policy(_) | Self::Endpoints(_) => {}
            Self::Cluster(cluster) => of_cluster(cluster, visit),
            Self::Routes(host) => of_virtual_host(host, visit),
            Self::Listener(listener) => of_listener(listener, visit),
        }
    }
}

fn of_cluster(cluster: &Cluster, visit: &mut Visitor<'_>) {
    match &cluster.endpoints {
        ClusterEndpoints::Discovered { set, .. } => {
            visit(format_args!("endpoints.discovered.set"), set.clone().into());
        }
        ClusterEndpoints::Dns { set, .. } => {
            visit(format_args!("endpoints.dns.set"), set.clone().into());
        }
        ClusterEndpoints::OriginalDestination | ClusterEndpoints::Refused(_) => {}
    }
}

fn of_virtual_host(host: &VirtualHost, visit: &mut Visitor<'_>) {
    for (at, rule) in host.rules.iter().enumerate() {
        let RouteAction::Forward(forward) = &rule.action else {
            continue;
        };
        let path = format_args!("rules[{at}].action.forward");
        of_destinations(path, &forward.destinations, visit);
        for (index, mirror) in forward.mirrors.iter().enumerate() {
            of_target(
                format_args!("{path}.mirrors[{index}]"),
                &mirror.target,
                visit,
            );
        }
    }
}

fn of_listener(listener: &Listener, visit: &mut Visitor<'_>) {
    match &listener.kind {
        ListenerKind::Outbound(outbound) => {
            of_tls(format_args!("kind.outbound.tls"), &outbound.tls, visit);
            of_tcp(format_args!("kind.outbound.tcp"), &outbound.tcp, visit);
        }
        ListenerKind::Gateway(GatewayListener { policy, protocol }) => {
            visit(format_args!("kind.gateway.policy"), policy.clone().into());
            of_gateway(protocol, visit);
        }
        ListenerKind::Inbound(inbound) => {
            let policy = &inbound.policy;
            visit(format_args!("kind.inbound.policy"), policy.clone().into());
        }
        ListenerKind::InboundCapture { policy } => {
            visit(
                format_args!("kind.inbound_capture.policy"),
                policy.clone().into(),
            );
        }
        ListenerKind::OutboundCapture { .. } => {}
    }
}

fn of_gateway(protocol: &GatewayProtocol, visit: &mut Visitor<'_>) {
    match protocol {
        GatewayProtocol::Tcp(tcp) => {
            of_tcp(format_args!("kind.gateway.protocol.tcp.rules"), tcp, visit);
        }
        GatewayProtocol::TlsPassthrough(tls) => {
            of_tls(
                format_args!("kind.gateway.protocol.tls_passthrough.rules"),
                tls,
                visit,
            );
        }
        GatewayProtocol::Http { .. } | GatewayProtocol::Refuse { .. } => {}
    }
}

fn of_tcp(path: Arguments<'_>, routes: &TcpRoutes, visit: &mut Visitor<'_>) {
    for (at, rule) in routes.rules.iter().enumerate() {
        of_destinations(format_args!("{path}[{at}]"), &rule.destinations, visit);
    }
}

fn of_tls(path: Arguments<'_>, routes: &TlsRoutes, visit: &mut Visitor<'_>) {
    for (at, rule) in routes.rules.iter().enumerate() {
        of_destinations(format_args!("{path}[{at}]"), &rule.destinations, visit);
    }
}

fn of_destinations(path: Arguments<'_>, destinations: &Destinations, visit: &mut Visitor<'_>) {
    for (at, destination) in destinations.list().iter().enumerate() {
        of_target(
            format_args!("{path}.destinations[{at}]"),
            &destination.target,
            visit,
        );
    }
}

fn of_target(path: Arguments<'_>, target: &Target, visit: &mut Visitor<'_>) {
    match target {
        Target::Cluster(cluster) => {
            visit(
                format_args!("{path}.target.cluster"),
                cluster.clone().into(),
            );
        }
        Target::Fail(_) => {}
    }
}
