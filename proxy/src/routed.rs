//! What goes by routes: the calls of the local application, and what comes from outside into a
//! gateway. Both meet the same spines, [`http`] and [`tcp`].

pub mod http;
pub(crate) mod meet;
pub mod tcp;

use std::rc::Rc;
use std::sync::Arc;

use mesh_api::listener::{Listener, ListenerKind, RouteSelection};

use crate::authz::{self, Permit};
use crate::carry::patience::http_start;
use crate::net::Connection;
use crate::net::detect::{Spoken, Start};
use crate::worker::Worker;
use meet::{Meeting, Met, Place, meet};

/// Carries a connection whose port is declared to be HTTP; `place` is where it came in, `None`
/// if the local application sent it.
pub(crate) async fn serve_http(
    worker: Rc<Worker>,
    connection: Connection,
    listener: Arc<Listener>,
    selection: RouteSelection,
    place: Option<Rc<authz::Place>>,
) {
    let Some((bytes, version)) = http_start(&worker, &connection).await else {
        return;
    };
    let accepted = connection.after(bytes, version);
    Box::pin(http::serve(worker, accepted, listener, selection, place)).await;
}

/// Carries a connection by the rules of a listener with a socket of its own.
pub(crate) async fn serve_rules(
    worker: Rc<Worker>,
    connection: Connection,
    listener: Arc<Listener>,
    permit: Permit,
) {
    let place = Place::of(&worker.config().active, &connection, listener);
    let Ok(Some(Meeting { met, start })) = meet(&worker, &connection, &place).await else {
        return;
    };
    drop(place);
    carry(worker, connection, met, start, permit).await;
}

/// Carries a connection to what it meets; one that meets nothing is closed.
pub(crate) async fn carry(
    worker: Rc<Worker>,
    connection: Connection,
    met: Met,
    start: Start<Spoken>,
    permit: Permit,
) {
    let Start { bytes, spoken, .. } = start;
    match (met, spoken) {
        // Rules with tables are the local application's alone: each request of anybody else needs a
        // permit of its own.
        (Met::Http(listener), Some(Spoken::Http(version))) if permit.is_outbound() => {
            if let Some(selection) = tables(&listener) {
                let accepted = connection.after(bytes, version);
                Box::pin(http::serve(worker, accepted, listener, selection, None)).await;
            }
        }
        // Only HTTP meets tables.
        (Met::Http(_), _) => {}
        (Met::Bytes(destinations), spoken) => {
            let name = server_name(spoken);
            let hello = (bytes, name);
            Box::pin(tcp::serve(worker, connection, hello, destinations, permit)).await;
        }
        (Met::Unknown, spoken) => tcp::refuse_unrouted(&worker, &connection, server_name(spoken)),
    }
}

/// The tables of virtual hosts an outbound listener names.
fn tables(listener: &Listener) -> Option<RouteSelection> {
    match &listener.kind {
        ListenerKind::Outbound(outbound) => outbound.http.clone(),
        ListenerKind::OutboundCapture { .. }
        | ListenerKind::Inbound(_)
        | ListenerKind::InboundCapture { .. }
        | ListenerKind::Gateway(_) => None,
    }
}

/// The server name a TLS client asked for.
fn server_name(spoken: Option<Spoken>) -> Option<Arc<str>> {
    match spoken {
        Some(Spoken::Tls(name)) => name.map(Arc::from),
        Some(Spoken::Http(_) | Spoken::Other) | None => None,
    }
}
