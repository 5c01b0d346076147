//! What a redirected connection meets: a listener, nothing the mesh knows, or itself.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_api::listener::Listener;

use crate::config::ActiveConfig;
use crate::net::Way;
use crate::worker::Worker;

/// What a redirected connection meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// A listener for its destination.
    Listener(Arc<Listener>),
    /// No listener: the destination is not the mesh's.
    Unmatched,
    /// A socket of this proxy: carrying it there would bring it back here for ever.
    OwnSocket,
}

/// What a connection redirected on its way in to `destination` meets.
pub fn find(worker: &Worker, config: &ActiveConfig, destination: SocketAddr) -> Match {
    if worker.is_own_socket(Way::Inbound, destination) {
        return Match::OwnSocket;
    }
    let found = config.lookup_inbound(destination);
    found.map_or(Match::Unmatched, |listener| {
        Match::Listener(Arc::clone(listener))
    })
}
