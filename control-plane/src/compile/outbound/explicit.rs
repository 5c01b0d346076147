//! Outbound listeners on the workload's own address, for applications that call them.
//!
//! HTTP goes through one port, routed by the Host header; every TCP or TLS service port is a
//! listener of its own, because nothing else tells such connections apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::listener::{
    Bind, Listener, ListenerKind, OutboundProtocol, RouteSelection, TcpRoutes, TlsRoutes, TlsRule,
};
use mesh_api::route::Domain;
use mesh_api::units::Port;

use super::{OUTBOUND_PORT, any_address, name};
use crate::compile::context::Context;
use crate::compile::diagnostics::{Diagnostic, codes};
use crate::compile::routes::Via;
use crate::compile::tcp;
use crate::meta::ObjectKey;
use crate::model::Service;
use crate::model::protocol::Protocol;

enum Taken {
    Tcp(TcpRoutes),
    Tls(TlsRoutes),
}

pub(super) fn listeners<'w>(cx: &mut Context<'w>, services: &[&'w Arc<Service>]) {
    let mut taken: BTreeMap<Port, (Taken, ObjectKey)> = BTreeMap::new();
    for service in services {
        for port in &service.ports {
            match port.protocol {
                Protocol::Http | Protocol::Http2 => {}
                Protocol::Detect => cx.report(
                    Diagnostic::new(
                        codes::ASSUMED_HTTP,
                        &service.key,
                        "spec.ports",
                        format!(
                            "port {} does not say what it speaks; proxies that are called \
                             explicitly take it for HTTP",
                            port.number
                        ),
                    )
                    .hint("name the port http-…, grpc-… or tcp-…, or set appProtocol"),
                ),
                Protocol::Tcp => take_tcp(cx, &mut taken, service, port.number),
                Protocol::Tls => take_tls(cx, &mut taken, service, port.number),
            }
        }
    }
    let http = Listener {
        name: name("outbound-http"),
        bind: Bind::Socket(any_address(OUTBOUND_PORT)),
        kind: ListenerKind::Outbound(OutboundProtocol::Http(RouteSelection::ByAuthorityPort)),
    };
    let own = ObjectKey::new(
        crate::crd::Kind::Namespace,
        "",
        cx.client.namespace.to_string(),
    );
    cx.add_unplaced(http, &own);
    for (port, (what, object)) in taken {
        let protocol = match what {
            Taken::Tcp(routes) => OutboundProtocol::Tcp(routes),
            Taken::Tls(routes) => OutboundProtocol::Tls(routes),
        };
        let listener = Listener {
            name: name(format!("outbound/{port}")),
            bind: Bind::Socket(any_address(port.value())),
            kind: ListenerKind::Outbound(protocol),
        };
        cx.add_unplaced(listener, &object);
    }
}

fn take_tcp(
    cx: &mut Context<'_>,
    taken: &mut BTreeMap<Port, (Taken, ObjectKey)>,
    service: &Service,
    port: Port,
) {
    if let Some((_, winner)) = taken.get(&port) {
        let winner = winner.clone();
        cx.report_conflict(&service.key, &format!("TCP port {port}"), &winner);
        return;
    }
    let routes = tcp::service_tcp(cx, service, port);
    taken.insert(port, (Taken::Tcp(routes), service.key.clone()));
}

fn take_tls(
    cx: &mut Context<'_>,
    taken: &mut BTreeMap<Port, (Taken, ObjectKey)>,
    service: &Service,
    port: Port,
) {
    if let Some((Taken::Tcp(_), winner)) = taken.get(&port) {
        let winner = winner.clone();
        cx.report_conflict(&service.key, &format!("port {port}"), &winner);
        return;
    }
    let rules = by_server_name(cx, service, port);
    match taken.entry(port).or_insert_with(|| {
        let none = TlsRoutes::default();
        (Taken::Tls(none), service.key.clone())
    }) {
        (Taken::Tls(routes), _) => routes.rules.extend(rules),
        (Taken::Tcp(_), _) => {}
    }
}

/// Rules for TLS to a service that shares its port with others: its server names decide.
pub(super) fn by_server_name(cx: &mut Context<'_>, service: &Service, port: Port) -> Vec<TlsRule> {
    let Some(host) = Domain::parse(&service.host) else {
        return Vec::new();
    };
    let via = Via {
        gateway: None,
        port,
    };
    let mut rules = tcp::tls_rules(cx, &host, &via).unwrap_or_default();
    let covered = rules
        .iter()
        .any(|rule| rule.sni_hosts.contains(&host) && rule.destination_subnets.is_empty());
    if !covered {
        rules.push(TlsRule {
            sni_hosts: vec![host],
            destination_subnets: Vec::new(),
            destinations: tcp::to_service(cx, service, port),
        });
    }
    rules
}
