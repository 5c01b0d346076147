//! The ports of a gateway: servers of all `Gateway` objects that select it, joined per port.

mod http;
mod ownership;
mod servers;
mod streams;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_api::listener::{Bind, GatewayListener, GatewayProtocol, Listener, ListenerKind};
use mesh_api::name::PolicyName;
use mesh_api::units::Port;

use super::context::Context;
use super::diagnostics::{Diagnostic, codes};
use super::outbound::{ANY, any_address, name};
use super::scope::{CaptureMode, ProxyRole};
use super::security::Protection;
pub(crate) use servers::ServerHost;
use servers::{Class, ServerAt};

/// An address (`None`: that of the workload, or any) and a port.
type Place = (Option<IpAddr>, Port);

/// The policy of every port of a gateway.
fn policy_name() -> PolicyName {
    PolicyName(Arc::from("gateway"))
}

/// Ports below need a privilege that gateways do not have in a cluster.
const FIRST_UNPRIVILEGED: u16 = 1024;

/// Compiles a gateway.
pub(crate) fn compile(cx: &mut Context<'_>) {
    let client = cx.client;
    let protection = Protection::of(
        cx.world,
        (&client.namespace, &client.labels),
        ProxyRole::Gateway,
        &mut cx.report,
    );
    let policy = protection.into_policy(policy_name(), &mut cx.report);
    cx.add_policy(policy);
    let mut places: BTreeMap<Place, Vec<ServerAt<'_>>> = BTreeMap::new();
    for server in servers::all(cx) {
        if !server.has_service && server.bound.value() < FIRST_UNPRIVILEGED {
            report_privileged(cx, &server);
        }
        places
            .entry((server.bind, server.bound))
            .or_default()
            .push(server);
    }
    for ((address, port), servers) in places {
        let servers = without_conflicts(cx, servers);
        let protocol = protocol(cx, address, port, &servers);
        add(cx, (address, port), protocol, &servers);
    }
}

fn report_privileged(cx: &mut Context<'_>, server: &ServerAt<'_>) {
    let port = server.port;
    let diagnostic = Diagnostic::new(
        codes::UNUSABLE_PORT,
        &server.gateway.key,
        format!("{}.port.number", server.field),
        format!(
            "no Service of the gateway has port {port}, so the gateway itself has to listen there, \
             which it may not unless it runs with that privilege"
        ),
    );
    let hint = format!("add port {port} to the gateway's Service, leading to a port from 1024 on");
    cx.report(diagnostic.hint(hint));
}

/// The servers of one port that go together with the first.
fn without_conflicts<'w>(cx: &mut Context<'w>, servers: Vec<ServerAt<'w>>) -> Vec<ServerAt<'w>> {
    let mut kept: Vec<ServerAt<'w>> = Vec::new();
    for server in servers {
        let rival = kept
            .first()
            .filter(|first| !first.class.goes_with(&server.class));
        if let Some(winner) = rival {
            cx.report(Diagnostic::new(
                codes::GATEWAY_CONFLICT,
                &server.gateway.key,
                format!("{}.port", server.field),
                format!(
                    "port {} is used in another way by {} {}, which comes first; this server is \
                     left out",
                    server.port, winner.gateway.key, winner.field
                ),
            ));
        } else {
            kept.push(server);
        }
    }
    kept
}

fn protocol<'w>(
    cx: &mut Context<'w>,
    address: Option<IpAddr>,
    port: Port,
    servers: &[ServerAt<'w>],
) -> GatewayProtocol {
    for server in servers {
        if let Class::Refused(reason) = &server.class {
            cx.report(
                Diagnostic::new(
                    codes::GATEWAY_REFUSED,
                    &server.gateway.key,
                    format!("{}.tls", server.field),
                    format!("{reason}; connections are closed"),
                )
                .hint("only HTTP, TCP and TLS with mode PASSTHROUGH work so far"),
            );
        }
    }
    let class = |wanted: fn(&Class) -> bool| {
        servers
            .iter()
            .filter(|server| wanted(&server.class))
            .collect::<Vec<_>>()
    };
    let http = class(|class| matches!(class, Class::Http));
    if !http.is_empty() {
        return http::protocol(cx, address, port, &http);
    }
    let tcp = class(|class| matches!(class, Class::Tcp));
    if !tcp.is_empty() {
        return GatewayProtocol::Tcp(streams::tcp(cx, &tcp));
    }
    let passthrough = class(|class| matches!(class, Class::Passthrough));
    if !passthrough.is_empty() {
        return GatewayProtocol::TlsPassthrough(streams::tls(cx, servers));
    }
    let reason = servers.iter().find_map(|server| match &server.class {
        Class::Refused(reason) => {
            Some(format!("{} {}: {reason}", server.gateway.key, server.field))
        }
        Class::Http | Class::Tcp | Class::Passthrough => None,
    });
    GatewayProtocol::Refuse {
        reason: Arc::from(reason.unwrap_or_default()),
    }
}

fn add<'w>(
    cx: &mut Context<'w>,
    (address, port): Place,
    protocol: GatewayProtocol,
    servers: &[ServerAt<'w>],
) {
    let Some(first) = servers.first() else {
        return;
    };
    let text = match address {
        Some(address) => format!("gateway/{address}_{port}"),
        None => format!("gateway/{port}"),
    };
    let listener = Listener {
        name: name(text),
        bind: Bind::Socket(SocketAddr::new(address.unwrap_or(ANY), port.value())),
        kind: ListenerKind::Gateway(GatewayListener {
            policy: policy_name(),
            protocol,
        }),
    };
    let own_address = address.is_none() && cx.client.capture == CaptureMode::Explicit;
    if own_address {
        let listener = Listener {
            bind: Bind::Socket(any_address(port.value())),
            ..listener
        };
        cx.add_unplaced(listener, &first.gateway.key);
    } else {
        cx.add_listener(listener);
    }
}
