//! An endpoint at run time.

use std::net::SocketAddr;
use std::sync::Arc;

use mesh_api::endpoint::{Endpoint, EndpointAddress};
use mesh_api::workload::Peer;

use super::limits::EndpointShared;

/// An endpoint at run time; what it counts survives configuration changes.
#[derive(Debug)]
pub struct EndpointState {
    endpoint: Arc<Endpoint>,
    peer: Arc<Peer>,
    text: Arc<str>,
    shared: Arc<EndpointShared>,
}

impl EndpointState {
    /// An endpoint nobody has used yet.
    pub fn new(endpoint: Arc<Endpoint>) -> Self {
        let text = match &endpoint.address {
            EndpointAddress::Socket(address) => Arc::from(address.to_string()),
            EndpointAddress::Name { host, port } => Arc::from(format!("{host}:{port}")),
        };
        Self {
            peer: Arc::new(endpoint.peer.clone()),
            endpoint,
            text,
            shared: Arc::default(),
        }
    }

    /// The same endpoint with other facts; its counts stay.
    #[must_use]
    pub fn with(&self, endpoint: Arc<Endpoint>) -> Self {
        let peer = if *self.peer == endpoint.peer {
            Arc::clone(&self.peer)
        } else {
            Arc::new(endpoint.peer.clone())
        };
        Self {
            endpoint,
            peer,
            text: Arc::clone(&self.text),
            shared: Arc::clone(&self.shared),
        }
    }

    /// The resource.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// What telemetry says about it.
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// Its address as it is printed.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// Its address, unless that is a name.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self.endpoint.address {
            EndpointAddress::Socket(address) => Some(address),
            EndpointAddress::Name { .. } => None,
        }
    }

    /// What it counts.
    pub fn shared(&self) -> &Arc<EndpointShared> {
        &self.shared
    }
}
