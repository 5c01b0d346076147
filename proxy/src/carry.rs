//! What both spines do with a connection, whichever way it goes: find out where it was going,
//! serve its requests, record each as an [`exchange`], copy its bytes, pass it through, refuse it.
//!
//! It knows upstreams and the worker it runs on; it knows neither spine.

pub mod acquaintance;
pub mod arrival;
pub mod bytes;
pub mod exchange;
pub mod lookup;
pub mod pass_through;
pub mod patience;
pub mod response;
pub mod server;
pub mod upgrade;

use mesh_api::listener::Listener;

use crate::net::{Connection, accept};

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
