//! From an accepted outbound connection to the spine that carries it.
//!
//! Finds out where the connection was going (in capture mode), what it speaks (where that is not
//! declared), and hands it to [`http`] or [`tcp`].

pub mod http;
pub mod lookup;
pub mod tcp;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh_api::listener::{
    Listener, ListenerKind, OutboundProtocol, RouteSelection, TcpRoutes, TlsRoutes,
    UnmatchedTraffic,
};

use crate::bootstrap::Role;
use crate::net::detect::{Patience, Spoken, Start, read_http_start, read_start};
use crate::net::{Connection, accept, original_dst};
use crate::worker::Worker;
use lookup::{Match, Way};

/// How long a connection between workloads may stay silent before its first request: clients
/// open connections ahead of need.
const SILENT_BETWEEN_WORKLOADS: Duration = Duration::from_hours(1);
/// How long a connection to nowhere may take to say whether it is HTTP.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);

/// Carries a connection accepted at an outbound listener.
pub async fn serve(worker: Rc<Worker>, connection: Connection, listener: Arc<Listener>) {
    let ListenerKind::Outbound(protocol) = &listener.kind else {
        return;
    };
    match protocol {
        OutboundProtocol::Http(selection) => {
            let selection = selection.clone();
            serve_http(worker, connection, listener, selection).await;
        }
        OutboundProtocol::Tcp(routes) => {
            Box::pin(tcp::serve(worker, connection, Bytes::new(), routes)).await;
        }
        OutboundProtocol::Tls(routes) => serve_tls(worker, connection, routes).await,
        OutboundProtocol::Detect { http, tls, tcp } => {
            let patience = detection(&worker, connection.way);
            let Ok(start) = read_start(&connection.stream, patience).await else {
                return;
            };
            match start.spoken {
                None => {}
                Some(Spoken::Http(version)) => {
                    let (selection, accepted) =
                        (http.clone(), connection.after(start.bytes, version));
                    Box::pin(http::serve(worker, accepted, listener, selection)).await;
                }
                Some(Spoken::Tls(name)) if !tls.rules.is_empty() => {
                    let name = name.map(Arc::from);
                    Box::pin(tcp::serve_tls(worker, connection, start.bytes, tls, name)).await;
                }
                Some(Spoken::Tls(_) | Spoken::Other) => {
                    Box::pin(tcp::serve(worker, connection, start.bytes, tcp)).await;
                }
            }
        }
    }
}

/// Carries a connection whose port is declared to be HTTP.
pub(crate) async fn serve_http(
    worker: Rc<Worker>,
    connection: Connection,
    listener: Arc<Listener>,
    selection: RouteSelection,
) {
    let start = read_http_start(&connection.stream, declared(&worker, connection.way)).await;
    // A client that closed or stayed silent is owed nothing.
    let Ok(Start {
        bytes,
        spoken: Some(version),
        ..
    }) = start
    else {
        return;
    };
    if bytes.is_empty() {
        return;
    }
    let accepted = connection.after(bytes, version);
    Box::pin(http::serve(worker, accepted, listener, selection)).await;
}

/// Carries a connection whose port is declared to be TLS that is not terminated.
pub(crate) async fn serve_tls(worker: Rc<Worker>, connection: Connection, routes: &TlsRoutes) {
    if routes.rules.iter().all(|rule| rule.sni_hosts.is_empty()) {
        // Nothing depends on the name, and there may be none.
        Box::pin(tcp::serve_tls(
            worker,
            connection,
            Bytes::new(),
            routes,
            None,
        ))
        .await;
        return;
    }
    let Ok(start) = read_start(&connection.stream, declared(&worker, connection.way)).await else {
        return;
    };
    let name = match start.spoken {
        None => return,
        Some(Spoken::Tls(name)) => name.map(Arc::from),
        Some(Spoken::Http(_) | Spoken::Other) => None,
    };
    Box::pin(tcp::serve_tls(
        worker,
        connection,
        start.bytes,
        routes,
        name,
    ))
    .await;
}

/// Carries a connection that was redirected to the outbound capture port.
pub async fn serve_captured(
    worker: Rc<Worker>,
    mut connection: Connection,
    listener: Arc<Listener>,
    unmatched: UnmatchedTraffic,
) {
    let destination = match original_dst::original_destination(&connection.stream) {
        Ok(Some(destination)) => destination,
        Ok(None) => return refuse(&connection, &listener, "it was not redirected"),
        Err(error) => return refuse(&connection, &listener, &error.to_string()),
    };
    connection.original_destination = Some(destination);
    let found = lookup::find(&worker, &worker.config().active, Way::Outbound, destination);
    match (found, unmatched) {
        (Match::Listener(found), _) => Box::pin(serve(worker, connection, found)).await,
        (Match::OwnSocket, _) => refuse(&connection, &listener, "it would come back here"),
        (Match::Unmatched, UnmatchedTraffic::Passthrough) => {
            Box::pin(tcp::pass_through(
                worker,
                connection,
                destination,
                Way::Outbound,
            ))
            .await;
        }
        (Match::Unmatched, UnmatchedTraffic::Refuse) => {
            Box::pin(refuse_unknown(worker, connection)).await;
        }
    }
}

/// Closes a connection that can lead nowhere good, and says so.
pub(crate) fn refuse(connection: &Connection, listener: &Listener, why: &str) {
    metrics::counter!("proxy_connections_misdirected_total").increment(1);
    tracing::debug!(
        listener = %listener.name.0,
        peer = %connection.peer,
        destination = %connection.destination(),
        "connection closed: {why}"
    );
    accept::reset(&connection.stream);
}

/// `REGISTRY_ONLY`: a destination the mesh does not know.
async fn refuse_unknown(worker: Rc<Worker>, connection: Connection) {
    let patience = Patience {
        first_byte: Some(REFUSAL_PATIENCE),
        verdict: REFUSAL_PATIENCE,
        drain: worker.drains.of(connection.way),
    };
    let start = read_start(&connection.stream, patience).await;
    match start {
        Ok(Start {
            spoken: Some(Spoken::Http(version)),
            ..
        }) => {
            tcp::answer_unknown(&worker, connection, version).await;
        }
        Ok(start) => tcp::close_unknown(&worker, &connection, start.bytes.len()),
        Err(error) => tracing::trace!(%error, "gone before it was refused"),
    }
}

/// Patience with a port whose protocol is declared.
pub(crate) fn declared(worker: &Worker, way: Way) -> Patience<'_> {
    let settings = &worker.settings;
    Patience {
        first_byte: Some(match settings.role {
            Role::Gateway => settings.header_read_timeout,
            Role::Sidecar => SILENT_BETWEEN_WORKLOADS,
        }),
        verdict: settings.header_read_timeout,
        drain: worker.drains.of(way),
    }
}

/// Patience with a port whose protocol is to be found out.
pub(crate) fn detection(worker: &Worker, way: Way) -> Patience<'_> {
    let settings = &worker.settings;
    Patience {
        first_byte: settings.detect_timeout,
        verdict: settings.header_read_timeout,
        drain: worker.drains.of(way),
    }
}

/// Whether a rule without server names, or one of these, takes a destination.
pub(crate) fn tcp_rule(
    routes: &TcpRoutes,
    destination: std::net::IpAddr,
) -> Option<&mesh_api::listener::TcpRule> {
    let here = destination.to_canonical();
    routes
        .rules
        .iter()
        .find(|rule| in_subnets(&rule.destination_subnets, here))
}

/// The TLS rule for a server name and a destination.
pub(crate) fn tls_rule<'r>(
    routes: &'r TlsRoutes,
    name: Option<&str>,
    destination: std::net::IpAddr,
) -> Option<&'r mesh_api::listener::TlsRule> {
    let here = destination.to_canonical();
    routes.rules.iter().find(|rule| {
        let named = rule.sni_hosts.is_empty()
            || name.is_some_and(|name| rule.sni_hosts.iter().any(|host| host.matches(name)));
        named && in_subnets(&rule.destination_subnets, here)
    })
}

fn in_subnets(subnets: &[ipnet::IpNet], address: std::net::IpAddr) -> bool {
    subnets.is_empty() || subnets.iter().any(|subnet| subnet.contains(&address))
}
