//! Outbound listeners for redirected connections, found by where those were going.
//!
//! A service takes the addresses that are its own: virtual addresses, blocks of them, or those of
//! its workloads (headless), whatever it speaks. Only one without any address is looked for at
//! every address of its port, and there it takes no more than what names it: HTTP with its host,
//! TLS with its server name. Bytes have no name, so a TCP port without an address takes them all.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::endpoint::EndpointAddress;
use mesh_api::listener::{
    Bind, Listener, ListenerKind, Outbound, RouteSelection, Silence, TcpRoutes, TcpRule, TlsRoutes,
    TlsRule, UnmatchedTraffic,
};
use mesh_api::name::RouteScope;
use mesh_api::reserved::OUTBOUND_PORT;
use mesh_api::route::{Destinations, Target};
use mesh_api::units::Port;

use super::notes;
use super::places::{Place, Places, Taken, single};
use super::{any_address, name};
use crate::compile::context::Context;
use crate::compile::tcp;
use crate::compile::virtual_hosts::Unplaced;
use crate::model::endpoints::endpoint_set;
use crate::model::protocol::Protocol;
use crate::model::service::{Resolution, ServicePort};
use crate::model::{Service, World};

/// A headless service with more workloads is looked for at any address after all.
const MOST_WORKLOADS: usize = 100;

pub(super) fn listeners<'w>(
    cx: &mut Context<'w>,
    services: &[&'w Arc<Service>],
    without_service: &[Unplaced],
    unmatched: UnmatchedTraffic,
) {
    let mut places = Places::default();
    for service in services {
        // Clients of another name are led to the addresses of what it stands for.
        let is_alias = matches!(service.resolution, Resolution::Alias(_));
        let is_led_elsewhere = is_alias && cx.behind(service).host != service.host;
        for port in &service.ports {
            if is_led_elsewhere || (is_alias && !port.protocol.is_http()) {
                continue;
            }
            let wanted = Wanted::of(cx, service, port);
            notes::of_port(cx, service, port, wanted.addresses.contains(&None));
            wanted.take(cx, &mut places, service, port.number);
        }
    }
    for host in without_service {
        places.http_anywhere(host.port, &host.object, Outbound::http(table(host.port)));
    }
    cx.add_listener(Listener {
        name: name("outbound-capture"),
        bind: Bind::Socket(any_address(OUTBOUND_PORT)),
        kind: ListenerKind::OutboundCapture { unmatched },
    });
    if unmatched == UnmatchedTraffic::Passthrough {
        cx.passthrough_cluster();
    }
    for (place, taken) in places.into_taken() {
        let listener = listener(cx, place, taken);
        cx.add_listener(listener);
    }
}

/// What a port of a service takes, and where.
struct Wanted {
    addresses: Vec<Option<IpNet>>,
    /// At single addresses, which are the service's alone.
    alone: Outbound,
    /// At blocks and at any address, which it shares with what the mesh may not know.
    shared: Outbound,
    /// What it takes at any address because its routes name subnets themselves.
    by_subnet: Option<Outbound>,
}

impl Wanted {
    fn of<'w>(cx: &mut Context<'w>, service: &'w Arc<Service>, port: &ServicePort) -> Self {
        let number = port.number;
        let addresses = addresses(cx.world, service, number);
        let http = Outbound::http(table(number));
        match port.protocol {
            Protocol::Http | Protocol::Http2 => Self {
                addresses,
                shared: Outbound {
                    silence: Silence::Bytes,
                    ..http.clone()
                },
                alone: http,
                by_subnet: None,
            },
            Protocol::Tcp => {
                let tcp = Outbound::tcp(tcp::service_tcp(cx, service, number));
                Self::by_rules(addresses, tcp.clone(), tcp)
            }
            Protocol::Tls => {
                let rules = tcp::service_tls(cx, service, number);
                let shared = Outbound {
                    silence: Silence::Bytes,
                    ..Outbound::tls(TlsRoutes { rules })
                };
                let alone = Outbound {
                    // The address is the service's alone: any other name is its own affair.
                    tcp: everything(tcp::to_service(cx, service, number)),
                    silence: Silence::Wait,
                    ..shared.clone()
                };
                Self::by_rules(addresses, alone, shared)
            }
            Protocol::Detect => {
                let alone = Outbound {
                    http: http.http,
                    ..Outbound::tcp(tcp::service_tcp(cx, service, number))
                };
                let mut shared = alone.clone();
                if addresses.contains(&None) && !goes_where_it_was_going(service) {
                    // Without a declared protocol only what carries its name is known to be its.
                    let rules = tcp::service_tls(cx, service, number);
                    shared.tls = TlsRoutes { rules };
                    shared.tcp = TcpRoutes::default();
                }
                Self::by_rules(addresses, alone, shared)
            }
        }
    }

    /// Rules that name subnets apply there, and not only in the blocks of their service.
    fn by_rules(addresses: Vec<Option<IpNet>>, alone: Outbound, shared: Outbound) -> Self {
        let has_blocks = addresses
            .iter()
            .flatten()
            .any(|block| single(block).is_none());
        let mut by_subnet = Outbound {
            http: None,
            ..shared.clone()
        };
        let tls = |rule: &TlsRule| !rule.destination_subnets.is_empty();
        let tcp = |rule: &TcpRule| !rule.destination_subnets.is_empty();
        by_subnet.tls.rules.retain(tls);
        by_subnet.tcp.rules.retain(tcp);
        let any = !by_subnet.tls.rules.is_empty() || !by_subnet.tcp.rules.is_empty();
        Self {
            addresses,
            alone,
            shared,
            by_subnet: (has_blocks && any).then_some(by_subnet),
        }
    }

    fn take(self, cx: &mut Context<'_>, places: &mut Places, service: &Service, port: Port) {
        for address in self.addresses {
            let wanted = match address {
                Some(block) if single(&block).is_some() => self.alone.clone(),
                Some(_) => {
                    let mut here = self.shared.clone();
                    here.tls
                        .rules
                        .retain(|rule| rule.destination_subnets.is_empty());
                    here.tcp
                        .rules
                        .retain(|rule| rule.destination_subnets.is_empty());
                    here
                }
                None => self.shared.clone(),
            };
            places.take(cx, service, (address, port), wanted);
        }
        if let Some(wanted) = self.by_subnet {
            places.take(cx, service, (None, port), wanted);
        }
    }
}

fn listener(cx: &mut Context<'_>, (address, port): Place, taken: Taken) -> Listener {
    let takes_all_bytes = taken.takes_all_bytes();
    let Taken {
        mut outbound,
        is_services_own,
        ..
    } = taken;
    if is_services_own && outbound.http.is_some() && !takes_all_bytes {
        // A port that is called HTTP in front of a server that speaks something else: its
        // address is in the registry, so what is not HTTP goes there as it is.
        let through = Target::Cluster(cx.passthrough_cluster());
        let rest = everything(Destinations::one(through));
        outbound.tcp.rules.extend(rest.rules);
    }
    let at = match &address {
        None => "0.0.0.0".to_owned(),
        Some(block) => single(block).map_or_else(|| block.to_string(), |ip| ip.to_string()),
    };
    Listener {
        name: name(format!("{at}_{port}")),
        bind: Bind::OriginalDestination { address, port },
        kind: ListenerKind::Outbound(outbound),
    }
}

fn everything(destinations: Destinations) -> TcpRoutes {
    TcpRoutes {
        rules: vec![TcpRule {
            destination_subnets: Vec::new(),
            destinations: Arc::new(destinations),
        }],
    }
}

fn table(port: Port) -> RouteSelection {
    RouteSelection::Scope(RouteScope::port(port))
}

/// Whether connections to a service go where they were going anyway, so that taking too many
/// leads none astray.
pub(super) fn goes_where_it_was_going(service: &Service) -> bool {
    matches!(
        service.resolution,
        Resolution::OriginalDestination | Resolution::Headless
    )
}

/// The addresses the port of a service is told apart by; `None` stands for any.
fn addresses(world: &World, service: &Service, port: Port) -> Vec<Option<IpNet>> {
    if !service.addresses.is_empty() {
        let blocks: BTreeSet<IpNet> = service.addresses.iter().map(canonical).collect();
        return blocks.into_iter().map(Some).collect();
    }
    if service.resolution != Resolution::Headless {
        return vec![None];
    }
    let workloads = workloads_of(world, service, port);
    if workloads.len() > MOST_WORKLOADS {
        return vec![None];
    }
    let single = |address: IpAddr| Some(IpNet::from(address));
    workloads.into_iter().map(single).collect()
}

fn canonical(block: &IpNet) -> IpNet {
    single(block).map_or_else(|| block.trunc(), |address| address.to_canonical().into())
}

/// The addresses of the workloads of a headless service, which its name resolves to.
fn workloads_of(world: &World, service: &Service, port: Port) -> BTreeSet<IpAddr> {
    let set = endpoint_set(world, &service.endpoints_name(port));
    set.iter()
        .flat_map(|set| &set.endpoints)
        .filter_map(|endpoint| match &endpoint.address {
            EndpointAddress::Socket(socket) => Some(socket.ip().to_canonical()),
            EndpointAddress::Name { .. } => None,
        })
        .collect()
}
