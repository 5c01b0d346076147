//! What goes by routes: the calls of the local application, and what comes from outside into a
//! gateway. Both meet the same spines, [`http`] and [`tcp`].

pub mod http;
pub mod tcp;

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::listener::{Listener, RouteSelection, TlsRoutes};

use crate::carry::patience::declared;
use crate::net::Connection;
use crate::net::detect::{Spoken, Start, read_http_start, read_start};
use crate::worker::Worker;

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
