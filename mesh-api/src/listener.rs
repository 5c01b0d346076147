//! Listeners: where traffic enters a proxy and what it is there.

use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

use crate::cluster::ConnectionLimits;
use crate::name::{ListenerName, PolicyName, RouteScope};
use crate::route::{Destinations, Domain};
use crate::units::Port;
use crate::workload::ServiceIdentity;

/// One listener of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Listener {
    /// Its name, unique in a proxy.
    pub name: ListenerName,
    /// How traffic reaches it.
    pub bind: Bind,
    /// What it does with a connection.
    pub kind: ListenerKind,
}

/// How traffic reaches a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Bind {
    /// It has a socket of its own.
    Socket(SocketAddr),
    /// It has none: a capture listener hands it connections whose original destination this is.
    OriginalDestination {
        /// The destination addresses: a single one, a block, or `None` for any.
        address: Option<IpNet>,
        /// The destination port.
        port: Port,
    },
}

/// What a listener does with a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ListenerKind {
    /// From the local application to the mesh.
    Outbound(Outbound),
    /// Redirected outbound connections: looked up by original destination and first bytes, as
    /// [`AtPort`](crate::destination::AtPort) says.
    OutboundCapture {
        /// What happens to a destination no listener is for (`outboundTrafficPolicy`).
        unmatched: UnmatchedTraffic,
    },
    /// From the mesh to the local application.
    Inbound(Box<InboundListener>),
    /// Redirected inbound connections: looked up by original destination port; what goes to a
    /// port no listener is for is passed through to the application if the policy lets it.
    InboundCapture {
        /// What may come in at ports no listener is for.
        policy: PolicyName,
    },
    /// From outside the mesh (or, for egress, from the mesh) into a gateway.
    Gateway(GatewayListener),
}

/// What happens to outbound traffic whose destination the mesh does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum UnmatchedTraffic {
    /// `ALLOW_ANY`: it goes where it was going.
    Passthrough,
    /// `REGISTRY_ONLY`: HTTP gets 502, TCP is closed.
    Refuse,
}

/// What an outbound listener takes, by what a connection speaks.
///
/// Which part takes a connection, and what becomes of one that none takes, is written at
/// [`AtPort`](crate::destination::AtPort).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Outbound {
    /// Where HTTP goes, if it is told apart.
    pub http: Option<RouteSelection>,
    /// Where TLS goes, which is not terminated, by its server name.
    pub tls: TlsRoutes,
    /// Where everything else goes.
    pub tcp: TcpRoutes,
    /// What a client means that says nothing. Without `http` and `tls` nobody waits for it.
    pub silence: Silence,
}

/// What it means that a client says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Silence {
    /// That it has nothing to say yet: its protocol is declared, and in that the client speaks
    /// first.
    Wait,
    /// After the protocol detection timeout, that its server speaks first: bytes.
    Bytes,
}

impl Outbound {
    /// HTTP, declared to be that.
    pub fn http(selection: RouteSelection) -> Self {
        Self {
            http: Some(selection),
            tls: TlsRoutes::default(),
            tcp: TcpRoutes::default(),
            silence: Silence::Wait,
        }
    }

    /// TLS, declared to be that.
    pub fn tls(routes: TlsRoutes) -> Self {
        Self {
            http: None,
            tls: routes,
            tcp: TcpRoutes::default(),
            silence: Silence::Wait,
        }
    }

    /// Bytes, whatever they are.
    pub fn tcp(routes: TcpRoutes) -> Self {
        Self {
            http: None,
            tls: TlsRoutes::default(),
            tcp: routes,
            silence: Silence::Bytes,
        }
    }
}

/// Which table of virtual hosts serves an HTTP listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteSelection {
    /// Explicit mode: the port in the Host header (80 if it has none) names the table; a host
    /// without a port that has exactly one table is found there too.
    ByAuthorityPort,
    /// One table, given the port of the listener.
    Scope(RouteScope),
}

/// Where bytes go; the rule for the most specific destination wins, of equal ones the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct TcpRoutes {
    /// The rules.
    pub rules: Vec<TcpRule>,
}

/// One TCP route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TcpRule {
    /// Destination subnets, any of which matches; empty matches all.
    pub destination_subnets: Vec<IpNet>,
    /// Where matching connections go, chosen by weight per connection.
    pub destinations: Arc<Destinations>,
}

/// Where TLS that is not terminated goes; the rule for the most specific destination wins, of
/// equal ones the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct TlsRoutes {
    /// The rules.
    pub rules: Vec<TlsRule>,
}

/// One TLS route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TlsRule {
    /// Server names, any of which matches; empty, or `*` among them, matches every greeting, one
    /// without a name included.
    pub sni_hosts: Vec<Domain>,
    /// Destination subnets, any of which matches; empty matches all.
    pub destination_subnets: Vec<IpNet>,
    /// Where matching connections go, chosen by weight per connection.
    pub destinations: Arc<Destinations>,
}

/// A port of the local application.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct InboundListener {
    /// The workload port (the service's target port).
    pub port: Port,
    /// What is spoken there.
    pub protocol: InboundProtocol,
    /// Where the application listens.
    pub target: InboundTarget,
    /// The service it belongs to; the first by creation if several share the port.
    pub service: Option<ServiceIdentity>,
    /// What may come in.
    pub policy: PolicyName,
    /// Limits towards the application.
    pub limits: ConnectionLimits,
}

/// The protocol of an inbound port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum InboundProtocol {
    /// HTTP; forwarded to the application as HTTP/1.1.
    Http1,
    /// HTTP/2 or gRPC; forwarded to the application as HTTP/2.
    Http2,
    /// Bytes (TLS of the application's own included).
    Tcp,
    /// The first bytes decide; HTTP keeps the client's version.
    Detect,
}

/// Where the local application listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum InboundTarget {
    /// At an address of its own (`Sidecar.ingress[].defaultEndpoint`).
    Address(SocketAddr),
    /// Where the connection was going before it was redirected.
    OriginalDestination,
}

/// A port of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayListener {
    /// What may come in; its port is the one the gateway listens on.
    pub policy: PolicyName,
    /// What is spoken there.
    pub protocol: GatewayProtocol,
}

/// The protocol of a gateway port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum GatewayProtocol {
    /// Plaintext HTTP.
    Http {
        /// The table of virtual hosts.
        scope: RouteScope,
        /// Hosts that are redirected to https (301) whatever their routes say
        /// (`tls.httpsRedirect`).
        https_redirect: Vec<Domain>,
    },
    /// Bytes.
    Tcp(TcpRoutes),
    /// TLS that is not terminated (`PASSTHROUGH`): chosen by server name.
    TlsPassthrough(TlsRoutes),
    /// The port asks for something this mesh cannot do yet; every connection is closed.
    Refuse {
        /// Why, for the log and the admin page.
        reason: Arc<str>,
    },
}
