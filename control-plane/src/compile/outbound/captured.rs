//! Outbound listeners for redirected connections, found by where those were going.
//!
//! HTTP ports are one listener for any address, since the Host header tells services apart;
//! other ports are a listener per virtual address. Where two services want one listener in
//! different ways, the older service has it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::listener::{
    Bind, Listener, ListenerKind, OutboundProtocol, RouteSelection, TcpRoutes, TlsRoutes, TlsRule,
    UnmatchedTraffic,
};
use mesh_api::name::RouteScope;
use mesh_api::units::Port;

use super::explicit::by_server_name;
use super::{OUTBOUND_PORT, any_address, name};
use crate::compile::context::Context;
use crate::compile::tcp;
use crate::meta::ObjectKey;
use crate::model::Service;
use crate::model::protocol::Protocol;

/// Listeners by destination.
type Taken = BTreeMap<(Option<IpAddr>, Port), (OutboundProtocol, ObjectKey)>;

pub(super) fn listeners<'w>(
    cx: &mut Context<'w>,
    services: &[&'w Arc<Service>],
    unmatched: UnmatchedTraffic,
) {
    let mut taken = Taken::new();
    for service in services {
        for port in &service.ports {
            let number = port.number;
            match port.protocol {
                Protocol::Http | Protocol::Http2 => {
                    let protocol = OutboundProtocol::Http(table(number));
                    take(cx, &mut taken, service, None, number, protocol);
                }
                Protocol::Tcp => take_tcp(cx, &mut taken, service, number),
                Protocol::Tls => take_tls(cx, &mut taken, service, number),
                Protocol::Detect => take_detected(cx, &mut taken, service, number),
            }
        }
    }
    cx.add_listener(Listener {
        name: name("outbound-capture"),
        bind: Bind::Socket(any_address(OUTBOUND_PORT)),
        kind: ListenerKind::OutboundCapture { unmatched },
    });
    if unmatched == UnmatchedTraffic::Passthrough {
        cx.passthrough_cluster();
    }
    for ((address, port), (protocol, _)) in taken {
        let at = address.map_or_else(|| "0.0.0.0".to_owned(), |ip| ip.to_string());
        cx.add_listener(Listener {
            name: name(format!("{at}_{port}")),
            bind: Bind::OriginalDestination { address, port },
            kind: ListenerKind::Outbound(protocol),
        });
    }
}

fn table(port: Port) -> RouteSelection {
    RouteSelection::Scope(RouteScope::port(port))
}

/// The addresses a service is told apart by; `None` stands for any.
fn addresses(service: &Service) -> Vec<Option<IpAddr>> {
    let vips: Vec<_> = service.vips().map(Some).collect();
    if vips.is_empty() { vec![None] } else { vips }
}

/// Gives a destination to a service, joins it with what is there, or reports the conflict.
fn take(
    cx: &mut Context<'_>,
    taken: &mut Taken,
    service: &Service,
    address: Option<IpAddr>,
    port: Port,
    protocol: OutboundProtocol,
) {
    let Some((there, owner)) = taken.get_mut(&(address, port)) else {
        taken.insert((address, port), (protocol, service.key.clone()));
        return;
    };
    match (there, protocol) {
        (OutboundProtocol::Http(_), OutboundProtocol::Http(_)) => {}
        (OutboundProtocol::Tls(there), OutboundProtocol::Tls(more)) => {
            there.rules.extend(more.rules);
        }
        (OutboundProtocol::Tcp(there), OutboundProtocol::Tcp(more))
            if there
                .rules
                .iter()
                .all(|rule| !rule.destination_subnets.is_empty()) =>
        {
            there.rules.extend(more.rules);
        }
        (
            OutboundProtocol::Http(_)
            | OutboundProtocol::Tls(_)
            | OutboundProtocol::Tcp(_)
            | OutboundProtocol::Detect { .. },
            OutboundProtocol::Http(_)
            | OutboundProtocol::Tls(_)
            | OutboundProtocol::Tcp(_)
            | OutboundProtocol::Detect { .. },
        ) => {
            let owner = owner.clone();
            let at = address.map_or_else(|| "any address".to_owned(), |ip| ip.to_string());
            cx.report_conflict(&service.key, &format!("port {port} of {at}"), &owner);
        }
    }
}

fn take_tcp(cx: &mut Context<'_>, taken: &mut Taken, service: &Service, port: Port) {
    let routes = tcp::service_tcp(cx, service, port);
    let blocks: Vec<_> = service
        .addresses
        .iter()
        .filter(|net| net.prefix_len() < net.max_prefix_len())
        .copied()
        .collect();
    let vips: Vec<IpAddr> = service.vips().collect();
    for vip in &vips {
        let protocol = OutboundProtocol::Tcp(routes.clone());
        take(cx, taken, service, Some(*vip), port, protocol);
    }
    if !blocks.is_empty() {
        let mut routes = routes.clone();
        for rule in &mut routes.rules {
            if rule.destination_subnets.is_empty() {
                rule.destination_subnets.clone_from(&blocks);
            }
        }
        let protocol = OutboundProtocol::Tcp(routes);
        take(cx, taken, service, None, port, protocol);
    } else if vips.is_empty() {
        take(
            cx,
            taken,
            service,
            None,
            port,
            OutboundProtocol::Tcp(routes),
        );
    }
}

fn take_tls(cx: &mut Context<'_>, taken: &mut Taken, service: &Service, port: Port) {
    let rules = by_server_name(cx, service, port);
    for address in addresses(service) {
        let mut here = rules.clone();
        if address.is_some() {
            // The address is the service's alone: any other server name is its own affair.
            here.push(TlsRule {
                sni_hosts: Vec::new(),
                destination_subnets: Vec::new(),
                destinations: tcp::to_service(cx, service, port),
            });
        }
        let protocol = OutboundProtocol::Tls(TlsRoutes { rules: here });
        take(cx, taken, service, address, port, protocol);
    }
}

fn take_detected(cx: &mut Context<'_>, taken: &mut Taken, service: &Service, port: Port) {
    let tcp: TcpRoutes = tcp::service_tcp(cx, service, port);
    for address in addresses(service) {
        let protocol = OutboundProtocol::Detect {
            http: table(port),
            tls: TlsRoutes::default(),
            tcp: tcp.clone(),
        };
        take(cx, taken, service, address, port, protocol);
    }
}
