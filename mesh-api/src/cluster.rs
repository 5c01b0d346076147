//! Clusters: groups of endpoints and how to talk to them.

pub mod balancer;
pub mod outlier;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use balancer::{
    Affinity, ConsistentHash, CookieAttribute, Failover, HashAlgorithm, LoadBalancer,
    LocalityDistribution, LocalityPolicy, Warmup,
};
pub use outlier::OutlierDetection;
pub use tls::{TlsIdentity, UpstreamTls};

use crate::name::{ClusterName, EndpointsName};
use crate::route::DirectResponse;
use crate::units::{PartsPerMillion, Port};
use crate::workload::{Labels, ServiceIdentity};

/// A group of endpoints and how to talk to them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Cluster {
    /// Its name.
    pub name: ClusterName,
    /// The service it belongs to, for telemetry.
    pub service: ServiceIdentity,
    /// Where its endpoints come from.
    pub endpoints: ClusterEndpoints,
    /// What is spoken to them.
    pub protocol: UpstreamProtocol,
    /// How one is chosen.
    pub balancer: LoadBalancer,
    /// Preference by place.
    pub locality: LocalityPolicy,
    /// Circuit breaking.
    pub limits: ConnectionLimits,
    /// Ejection of bad endpoints.
    pub outlier: Option<OutlierDetection>,
    /// Encryption towards the endpoints.
    pub tls: UpstreamTls,
    /// How many retries may run at once; always on.
    pub retry_budget: RetryBudget,
    /// PROXY protocol header towards the endpoints.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// CONNECT/POST tunnel towards the endpoints.
    pub tunnel: Option<Tunnel>,
}

/// Where a cluster's endpoints come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterEndpoints {
    /// From an endpoint set; a subset takes those whose labels include all of these.
    Discovered {
        /// The set.
        set: EndpointsName,
        /// The subset's labels; empty takes all.
        subset: Labels,
    },
    /// Where the connection was going (headless services, `resolution: NONE`, passthrough).
    OriginalDestination,
    /// Names in the endpoint set are resolved by the proxy.
    Dns {
        /// The set.
        set: EndpointsName,
        /// The subset's labels; empty takes all.
        subset: Labels,
        /// Only the first address of an answer (`DNS_ROUND_ROBIN`).
        first_only: bool,
    },
    /// Cannot be reached: every request gets this answer.
    Refused(DirectResponse),
}

/// What is spoken to the endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// What the client spoke (detected ports, `useClientProtocol`).
    MatchDownstream,
    /// Bytes.
    Tcp,
}

/// `connectionPool`: limits of one proxy towards one cluster, shared by its workers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ConnectionLimits {
    /// `tcp.maxConnections`; `None`: no limit.
    pub max_connections: Option<u32>,
    /// `tcp.connectTimeout`.
    pub connect_timeout: Duration,
    /// `tcp.tcpKeepalive`.
    pub keepalive: Option<TcpKeepalive>,
    /// `tcp.maxConnectionDuration`.
    pub max_connection_duration: Option<Duration>,
    /// `tcp.idleTimeout`; `None`: never.
    pub tcp_idle_timeout: Option<Duration>,
    /// `http.http1MaxPendingRequests`; `None`: no limit.
    pub max_pending_requests: Option<u32>,
    /// `http.http2MaxRequests`: active requests of either version; `None`: no limit.
    pub max_requests: Option<u32>,
    /// `http.maxRequestsPerConnection`; `None`: no limit.
    pub max_requests_per_connection: Option<u32>,
    /// `http.maxRetries`: retries running at once; `None`: only the budget counts.
    pub max_retries: Option<u32>,
    /// `http.idleTimeout`; `None`: never.
    pub http_idle_timeout: Option<Duration>,
    /// `http.maxConcurrentStreams` of one HTTP/2 connection; `None`: what the peer allows.
    pub max_concurrent_streams: Option<u32>,
    /// `http.http2KeepAlive`.
    pub http2_keepalive: Option<Http2Keepalive>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_connections: None,
            connect_timeout: Duration::from_secs(10),
            keepalive: None,
            max_connection_duration: None,
            tcp_idle_timeout: Some(Duration::from_hours(1)),
            max_pending_requests: None,
            max_requests: None,
            max_requests_per_connection: None,
            max_retries: None,
            http_idle_timeout: Some(Duration::from_hours(1)),
            max_concurrent_streams: None,
            http2_keepalive: None,
        }
    }
}

/// `tcpKeepalive`; `None` takes the operating system's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct TcpKeepalive {
    /// Unanswered probes before the connection is dead.
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
}

/// `http2KeepAlive`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Http2Keepalive {
    /// Time between PINGs.
    pub interval: Duration,
    /// Time to wait for the answer.
    pub timeout: Duration,
}

/// How many retries may run at once: the larger of `min_concurrency` and `percent` of the
/// requests active and pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct RetryBudget {
    /// The share.
    pub percent: PartsPerMillion,
    /// The floor.
    pub min_concurrency: u32,
}

impl RetryBudget {
    /// The floor where a user sets a budget without one (Istio's `minRetryConcurrency`).
    pub const WRITTEN_FLOOR: u32 = 3;
    /// The floor where no budget is set. Istio has no budget then, so retries the user asked for
    /// must not fail for want of one at low load; a storm is bounded by the share.
    pub const DEFAULT_FLOOR: u32 = 64;
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: PartsPerMillion::from_percent(20.0),
            min_concurrency: Self::DEFAULT_FLOOR,
        }
    }
}

/// PROXY protocol version (`proxyProtocol.version`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ProxyProtocol {
    /// The text form.
    V1,
    /// The binary form.
    V2,
}

/// `tunnel`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Tunnel {
    /// POST instead of CONNECT.
    pub post: bool,
    /// The host the tunnel is asked for.
    pub target_host: Arc<str>,
    /// The port the tunnel is asked for.
    pub target_port: Port,
}
