//! Where TCP and unterminated TLS connections to a service go.

use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::listener::{TcpRoutes, TcpRule, TlsRule};
use mesh_api::route::{Destinations, Domain, Target};
use mesh_api::units::Port;

use super::context::Context;
use super::destination::of_connections;
use super::diagnostics::{Diagnostic, codes};
use super::routes::Via;
use super::routes::connections::{block, is_hidden_behind};
use crate::crd::object::Resource;
use crate::crd::virtual_service::VirtualServiceSpec;
use crate::model::Service;

/// The rules for TCP connections to a host, if any virtual service has some: of several joined
/// in their order; the first that takes everything ends the list.
pub(crate) fn tcp_rules(
    cx: &mut Context<'_>,
    host: &Domain,
    via: &Via<'_>,
) -> Option<Vec<TcpRule>> {
    for group in cx.routing(host, via) {
        let mut rules: Vec<TcpRule> = Vec::new();
        let mut before = Vec::new();
        for candidate in group {
            let object = candidate.object;
            for (index, rule) in tcp_rules_of(cx, object, via) {
                if !rules.iter().any(|one| one.destination_subnets.is_empty()) {
                    rules.push(rule);
                } else if is_hidden_behind(&before, (object, index), &[*via]) {
                    // Hidden from this client alone, it is nothing to speak of.
                    report_unreachable(cx, object, &format!("spec.tcp[{index}]"), host);
                }
            }
            before.push(object);
        }
        if !rules.is_empty() {
            return Some(rules);
        }
    }
    None
}

/// The TCP rules of one virtual service for connections that come this way.
pub(crate) fn tcp_rules_of(
    cx: &mut Context<'_>,
    object: &Resource<VirtualServiceSpec>,
    via: &Via<'_>,
) -> Vec<(usize, TcpRule)> {
    let mut rules = Vec::new();
    for (index, route) in object.spec.tcp.iter().enumerate() {
        let field = format!("spec.tcp[{index}]");
        let taken: Vec<_> = route
            .matches
            .iter()
            .filter(|one| via.takes(cx.client, object, *one))
            .collect();
        let applies = if route.matches.is_empty() {
            via.takes_all(object)
        } else {
            !taken.is_empty()
        };
        if !applies {
            continue;
        }
        let Some(destinations) = of_connections(cx, &route.route, &object.key, &field, via.port)
        else {
            continue;
        };
        let everything = taken.iter().any(|one| one.destination_subnets.is_empty());
        let subnets = if everything {
            Vec::new()
        } else {
            let written = taken.iter().flat_map(|one| &one.destination_subnets);
            let read = subnets(cx, object, &field, written);
            // Blocks none of which can be read must not become "everywhere".
            if read.is_empty() {
                continue;
            }
            read
        };
        cx.acts(&object.key);
        rules.push((
            index,
            TcpRule {
                destination_subnets: subnets,
                destinations: Arc::new(destinations),
            },
        ));
    }
    rules
}

/// The rules for TLS connections to a host, if any virtual service has some.
pub(crate) fn tls_rules(
    cx: &mut Context<'_>,
    host: &Domain,
    via: &Via<'_>,
) -> Option<Vec<TlsRule>> {
    for group in cx.routing(host, via) {
        let mut rules = Vec::new();
        for candidate in group {
            rules.extend(tls_rules_of(cx, candidate.object, via));
        }
        if !rules.is_empty() {
            return Some(rules);
        }
    }
    None
}

/// The TLS rules of one virtual service for connections that come this way.
pub(crate) fn tls_rules_of(
    cx: &mut Context<'_>,
    object: &Resource<VirtualServiceSpec>,
    via: &Via<'_>,
) -> Vec<TlsRule> {
    let mut rules = Vec::new();
    for (index, route) in object.spec.tls.iter().enumerate() {
        let field = format!("spec.tls[{index}]");
        let taken: Vec<_> = route
            .matches
            .iter()
            .filter(|one| via.takes(cx.client, object, *one))
            .collect();
        if taken.is_empty() {
            continue;
        }
        let Some(destinations) = of_connections(cx, &route.route, &object.key, &field, via.port)
        else {
            continue;
        };
        let destinations = Arc::new(destinations);
        for one in taken {
            let sni_hosts: Vec<Domain> = one
                .sni_hosts
                .iter()
                .filter_map(|host| Domain::parse(host))
                .collect();
            // Names none of which can be read must not become "every name".
            if sni_hosts.is_empty() && !one.sni_hosts.is_empty() {
                continue;
            }
            let read = subnets(cx, object, &field, &one.destination_subnets);
            if read.is_empty() && !one.destination_subnets.is_empty() {
                continue;
            }
            cx.acts(&object.key);
            rules.push(TlsRule {
                sni_hosts,
                destination_subnets: read,
                destinations: Arc::clone(&destinations),
            });
        }
    }
    rules
}

/// Everything to the service.
pub(crate) fn to_service(cx: &mut Context<'_>, service: &Service, port: Port) -> Destinations {
    Destinations::one(Target::Cluster(cx.cluster(service, port, None)))
}

/// The TCP connections of a service port: those its virtual services name, all others to itself.
pub(crate) fn service_tcp(cx: &mut Context<'_>, service: &Service, port: Port) -> TcpRoutes {
    let via = Via {
        gateway: None,
        port,
    };
    let host = Domain::parse(&service.host);
    let mut rules = host
        .and_then(|host| tcp_rules(cx, &host, &via))
        .unwrap_or_default();
    if rules
        .iter()
        .all(|rule| !rule.destination_subnets.is_empty())
    {
        rules.push(TcpRule {
            destination_subnets: Vec::new(),
            destinations: Arc::new(to_service(cx, service, port)),
        });
    }
    TcpRoutes { rules }
}

/// The TLS connections of a service port, by server name: those its virtual services name, and
/// those that name the service.
pub(crate) fn service_tls(cx: &mut Context<'_>, service: &Service, port: Port) -> Vec<TlsRule> {
    let Some(host) = Domain::parse(&service.host) else {
        return Vec::new();
    };
    let via = Via {
        gateway: None,
        port,
    };
    let mut rules = tls_rules(cx, &host, &via).unwrap_or_default();
    let covered = rules
        .iter()
        .any(|rule| rule.sni_hosts.contains(&host) && rule.destination_subnets.is_empty());
    if !covered {
        rules.push(TlsRule {
            sni_hosts: vec![host],
            destination_subnets: Vec::new(),
            destinations: Arc::new(to_service(cx, service, port)),
        });
    }
    rules
}

fn subnets<'a>(
    cx: &mut Context<'_>,
    object: &Resource<VirtualServiceSpec>,
    field: &str,
    written: impl IntoIterator<Item = &'a String>,
) -> Vec<IpNet> {
    let mut subnets = Vec::new();
    for text in written {
        match block(text) {
            Some(subnet) => subnets.push(subnet),
            None => cx.report(Diagnostic::new(
                codes::BAD_VALUE,
                &object.key,
                format!("{field}.match"),
                format!("{text:?} is neither an address nor a CIDR block and matches nothing"),
            )),
        }
    }
    subnets.sort();
    subnets.dedup();
    subnets
}

fn report_unreachable(
    cx: &mut Context<'_>,
    object: &Resource<VirtualServiceSpec>,
    field: &str,
    host: &Domain,
) {
    cx.report(Diagnostic::new(
        codes::UNREACHABLE_ROUTE,
        &object.key,
        field,
        format!(
            "is never reached for {host}: a route of a virtual service before it takes every \
             connection"
        ),
    ));
}
