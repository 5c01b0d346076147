//! Outbound listeners for redirected connections, found by where those were going.
//!
//! HTTP ports are one listener for any address, since the Host header tells services apart;
//! other ports are a listener per virtual address, or per workload where there is none
//! (headless). Where two services want one listener in different ways, the older service has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::endpoint::EndpointAddress;
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
use crate::model::endpoints::endpoint_set;
use crate::model::protocol::Protocol;
use crate::model::service::Resolution;
use crate::model::{Service, World};

/// A headless service with more workloads gets one listener for any address after all.
const MOST_WORKLOADS: usize = 100;

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
                // Its clients are led to the addresses of what it is another name of, and any
                // address would be far too many.
                Protocol::Tcp | Protocol::Tls | Protocol::Detect if is_alias(service) => {}
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

fn is_alias(service: &Service) -> bool {
    matches!(service.resolution, Resolution::Alias(_))
}

/// The addresses the port of a service is told apart by; `None` stands for any.
fn addresses(world: &World, service: &Service, port: Port) -> Vec<Option<IpAddr>> {
    let vips: Vec<_> = service.vips().map(Some).collect();
    if !vips.is_empty() {
        return vips;
    }
    if service.resolution != Resolution::Headless {
        return vec![None];
    }
    let workloads = workloads_of(world, service, port);
    if workloads.len() > MOST_WORKLOADS {
        return vec![None];
    }
    workloads.into_iter().map(Some).collect()
}

/// The addresses of the workloads of a headless service, which its name resolves to.
fn workloads_of(world: &World, service: &Service, port: Port) -> BTreeSet<IpAddr> {
    let set = endpoint_set(world, &service.endpoints_name(port));
    set.iter()
        .flat_map(|set| &set.endpoints)
        .filter_map(|endpoint| match &endpoint.address {
            EndpointAddress::Socket(socket) => Some(socket.ip()),
            EndpointAddress::Name { .. } => None,
        })
        .collect()
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
    let own = addresses(cx.world, service, port);
    for address in own.iter().flatten() {
        let protocol = OutboundProtocol::Tcp(routes.clone());
        take(cx, taken, service, Some(*address), port, protocol);
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
    } else if own.contains(&None) {
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
    for address in addresses(cx.world, service, port) {
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
    for address in addresses(cx.world, service, port) {
        let protocol = OutboundProtocol::Detect {
            http: table(port),
            tls: TlsRoutes::default(),
            tcp: tcp.clone(),
        };
        take(cx, taken, service, address, port, protocol);
    }
}
