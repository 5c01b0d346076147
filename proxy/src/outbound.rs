//! From an accepted outbound connection to the spine that carries it.
//!
//! Finds out where the connection was going (in capture mode), what it speaks (where that is not
//! declared), and hands it to what carries by routes, [`crate::routed`].

mod unknown;

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::listener::{Listener, ListenerKind, OutboundProtocol, UnmatchedTraffic};

use crate::carry::lookup::{self, Match};
use crate::carry::pass_through::pass_through;
use crate::carry::patience::detection;
use crate::carry::refuse;
use crate::net::detect::{Spoken, read_start};
use crate::net::{Connection, Way, original_dst};
use crate::routed::{http, serve_http, serve_tls, tcp};
use crate::worker::Worker;

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
            Box::pin(pass_through(worker, connection, destination, Way::Outbound)).await;
        }
        (Match::Unmatched, UnmatchedTraffic::Refuse) => {
            Box::pin(unknown::refuse(worker, connection)).await;
        }
    }
}
