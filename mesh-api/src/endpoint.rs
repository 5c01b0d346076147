//! Endpoints: the addresses behind a service port.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;

use crate::name::EndpointsName;
use crate::units::Port;
use crate::workload::{Labels, Locality, Peer};

/// All endpoints of one service port; subsets select from it by label, inside the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct EndpointSet {
    /// Service and port.
    pub name: EndpointsName,
    /// The endpoints, ordered by address; none twice.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Endpoint {
    /// Where it listens.
    pub address: EndpointAddress,
    /// Its labels, for subsets.
    pub labels: Labels,
    /// Its share among its siblings; at least 1.
    pub weight: u32,
    /// Whether it may be used.
    pub health: Health,
    /// Where it runs.
    pub locality: Locality,
    /// The network it is on; empty: this one.
    pub network: Arc<str>,
    /// Whether its proxy speaks mesh TLS (`security.istio.io/tlsMode: istio`).
    pub mesh_tls: bool,
    /// What telemetry says about it.
    pub peer: Peer,
}

/// Where an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum EndpointAddress {
    /// At an address.
    Socket(SocketAddr),
    /// At a name the proxy resolves.
    Name {
        /// The name.
        host: Arc<str>,
        /// The port.
        port: Port,
    },
}

/// Whether an endpoint may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// It may.
    Healthy,
    /// It is going: no new requests while others are there.
    Draining,
}
