//! From a connection accepted at a gateway port to the spine that carries it.

use std::rc::Rc;
use std::sync::Arc;

use mesh_api::listener::{
    GatewayListener, GatewayProtocol, Listener, ListenerKind, RouteSelection,
};
use mesh_api::units::Port;

use crate::authz::{Place, admit};
use crate::carry::refuse;
use crate::net::Connection;
use crate::routed::{serve_http, serve_rules, tcp};
use crate::worker::Worker;

/// Carries a connection accepted at a gateway port.
pub async fn serve(worker: Rc<Worker>, connection: Connection, listener: Arc<Listener>) {
    let ListenerKind::Gateway(GatewayListener { policy, protocol }) = &listener.kind else {
        return;
    };
    let Some(port) = Port::new(connection.local.port()) else {
        return refuse(&connection, &listener, "it came in at no port");
    };
    let place = Rc::new(Place {
        policy: policy.clone(),
        port,
    });
    match protocol {
        GatewayProtocol::Http {
            scope,
            https_redirect: _,
        } => {
            // Which hosts are redirected is decided per request, from the listener.
            let selection = RouteSelection::Scope(scope.clone());
            serve_http(worker, connection, listener, selection, Some(place)).await;
        }
        GatewayProtocol::Tcp(_) | GatewayProtocol::TlsPassthrough(_) => {
            match admit(&worker.config().active, &place) {
                // In a box of its own: what waits for an HTTP request has no use for its room.
                Ok(permit) => Box::pin(serve_rules(worker, connection, listener, permit)).await,
                Err(fault) => tcp::keep_out(&worker, &connection, fault),
            }
        }
        GatewayProtocol::Refuse { reason } => refuse(&connection, &listener, reason),
    }
}
