//! From an accepted inbound connection to the spine that carries it.

pub mod http;
pub mod tcp;
mod undeclared;

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::listener::{InboundProtocol, Listener, ListenerKind};
use mesh_api::units::Port;

use crate::authz::{Place, admit};
use crate::carry::lookup::{self, Match};
use crate::carry::pass_through::pass_through;
use crate::carry::patience::{detection, http_start};
use crate::carry::refuse;
use crate::net::detect::{Spoken, read_start};
use crate::net::{Connection, client_hello, original_dst};
use crate::telemetry::Reporter;
use crate::worker::Worker;

/// Carries a connection accepted at an inbound listener.
pub async fn serve(worker: Rc<Worker>, connection: Connection, listener: Arc<Listener>) {
    let ListenerKind::Inbound(inbound) = &listener.kind else {
        return;
    };
    let place = Rc::new(Place {
        policy: inbound.policy.clone(),
        port: inbound.port,
    });
    match inbound.protocol {
        InboundProtocol::Http1 | InboundProtocol::Http2 => {
            let Some((bytes, version)) = http_start(&worker, &connection).await else {
                return;
            };
            if bytes.first() == Some(&client_hello::HANDSHAKE_RECORD) {
                // The application speaks TLS itself, under a name that says HTTP. No request
                // begins like that, so nothing can be lost by carrying it as what it is.
                worker.telemetry.client_speaks_tls(inbound.port.value());
                let bytes = tcp::serve(worker, connection, bytes, place, listener);
                return Box::pin(bytes).await;
            }
            let accepted = connection.after(bytes, version);
            Box::pin(http::serve(worker, accepted, place, listener)).await;
        }
        InboundProtocol::Tcp => {
            Box::pin(tcp::serve(
                worker,
                connection,
                Bytes::new(),
                place,
                listener,
            ))
            .await;
        }
        InboundProtocol::Detect => {
            let Ok(start) =
                read_start(&connection.stream, detection(&worker, connection.way)).await
            else {
                return;
            };
            if start.timed_out && start.bytes.is_empty() && start.spoken.is_some() {
                let port = connection.destination().port();
                worker
                    .telemetry
                    .server_speaks_first(Reporter::Destination, port);
            }
            match start.spoken {
                None => {}
                Some(Spoken::Http(version)) => {
                    let accepted = connection.after(start.bytes, version);
                    Box::pin(http::serve(worker, accepted, place, listener)).await;
                }
                Some(Spoken::Tls(_) | Spoken::Other) => {
                    Box::pin(tcp::serve(worker, connection, start.bytes, place, listener)).await;
                }
            }
        }
    }
}

/// Carries a connection that was redirected to the inbound capture port.
pub async fn serve_captured(
    worker: Rc<Worker>,
    mut connection: Connection,
    listener: Arc<Listener>,
) {
    let ListenerKind::InboundCapture { policy } = &listener.kind else {
        return;
    };
    let destination = match original_dst::original_destination(&connection.stream) {
        Ok(Some(destination)) => destination,
        Ok(None) => return refuse(&connection, &listener, "it was not redirected"),
        Err(error) => return refuse(&connection, &listener, &error.to_string()),
    };
    connection.original_destination = Some(destination);
    let config = worker.config();
    match lookup::find(&worker, &config.active, destination) {
        Match::Listener(found) => {
            drop(config);
            Box::pin(serve(worker, connection, found)).await;
        }
        Match::OwnSocket => refuse(&connection, &listener, "it would come back here"),
        Match::Unmatched => {
            let Some(port) = Port::new(destination.port()) else {
                return refuse(&connection, &listener, "it was going to no port");
            };
            let place = Rc::new(Place {
                policy: policy.clone(),
                port,
            });
            // Of the same version that knew no listener for it.
            let admitted = admit(&config.active, &place);
            drop(config);
            match admitted {
                Ok(permit) => {
                    let nothing = Bytes::new();
                    let passing = pass_through(worker, connection, nothing, destination, permit);
                    Box::pin(passing).await;
                }
                Err(fault) => {
                    Box::pin(undeclared::refuse(worker, connection, place, fault)).await;
                }
            }
        }
    }
}
