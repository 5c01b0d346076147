//! From a connection accepted at a gateway port to the spine that carries it.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::listener::{GatewayProtocol, Listener, ListenerKind, RouteSelection};

use crate::carry::refuse;
use crate::net::Connection;
use crate::routed::{serve_http, serve_tls, tcp};
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
        GatewayProtocol::Tcp(routes) => {
            Box::pin(tcp::serve(worker, connection, Bytes::new(), routes)).await;
        }
        GatewayProtocol::TlsPassthrough(routes) => {
            serve_tls(worker, connection, routes).await;
        }
        GatewayProtocol::Refuse { reason } => refuse(&connection, &listener, reason),
    }
}
