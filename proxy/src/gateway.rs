//! From a connection accepted at a gateway port to the spine that carries it.

use std::rc::Rc;
use std::sync::Arc;

use mesh_api::listener::{GatewayProtocol, Listener, ListenerKind, RouteSelection};

use crate::carry::refuse;
use crate::net::Connection;
use crate::routed::{serve_http, serve_rules};
use crate::worker::Worker;

/// Carries a connection accepted at a gateway port.
pub async fn serve(worker: Rc<Worker>, connection: Connection, listener: Arc<Listener>) {
    let ListenerKind::Gateway(protocol) = &listener.kind else {
        return;
    };
    match protocol {
        GatewayProtocol::Http {
            scope,
            https_redirect: _,
        } => {
            // Which hosts are redirected is decided per request, from the listener.
            let selection = RouteSelection::Scope(scope.clone());
            serve_http(worker, connection, listener, selection).await;
        }
        GatewayProtocol::Tcp(_) | GatewayProtocol::TlsPassthrough(_) => {
            serve_rules(worker, connection, listener).await;
        }
        GatewayProtocol::Refuse { reason } => refuse(&connection, &listener, reason),
    }
}
