//! Limits on connections and requests towards one destination.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::absent::unset_if_zero;
use crate::duration::{Duration, DurationOrZero};

/// Limits per client proxy and destination.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionPoolSettings {
    /// Limits on connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpSettings>,
    /// Limits on requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSettings>,
}

/// Limits on connections, for HTTP as well as TCP. Zero counts as absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpSettings {
    /// Most connections at one time.
    #[serde(
        default,
        deserialize_with = "unset_if_zero",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_connections: Option<u32>,
    /// Time to open a connection; 10 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<Duration>,
    /// Keep-alive probes; present turns them on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// Longest life of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connection_duration: Option<Duration>,
    /// Close a connection without traffic after this time; `0s` never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<DurationOrZero>,
}

/// Keep-alive probes; what is absent stays as the operating system has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TcpKeepalive {
    /// Probes without an answer before the connection counts as dead.
    #[serde(
        default,
        deserialize_with = "unset_if_zero",
        skip_serializing_if = "Option::is_none"
    )]
    pub probes: Option<u32>,
    /// Idle time before the first probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Duration>,
    /// Time between probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
}

/// Limits on requests. Zero counts as absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpSettings {
    /// Most requests that wait for a connection.
    #[serde(
        default,
        deserialize_with = "unset_if_zero",
        skip_serializing_if = "Option::is_none"
    )]
    pub http1_max_pending_requests: Option<u32>,
    /// Most requests in flight.
    #[serde(
        default,
        deserialize_with = "unset_if_zero",
        skip_serializing_if = "Option::is_none"
    )]
    pub http2_max_requests: Option<u32>,
    /// Requests after which a connection is closed; 1 turns keep-alive off.
    #[serde(
        default,
        deserialize_with = "unset_if_zero",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_requests_per_connection: Option<u32>,
    /// Most retries in flight.
    #[serde(
        default,
        deserialize_with = "unset_if_zero",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_retries: Option<u32>,
    /// Close a connection without requests after this time; 1 h when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<DurationOrZero>,
    /// Whether to talk HTTP/2 to the destination.
    #[serde(default)]
    pub h2_upgrade_policy: H2UpgradePolicy,
    /// Keep the version the client used.
    #[serde(default)]
    pub use_client_protocol: bool,
    /// Most streams on one HTTP/2 connection.
    #[serde(
        default,
        deserialize_with = "unset_if_zero",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_concurrent_streams: Option<u32>,
    /// HTTP/2 pings on idle connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http2_keep_alive: Option<ConnectionKeepalive>,
}

/// HTTP/2 pings; both fields are needed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionKeepalive {
    /// Time between pings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Duration>,
    /// Time to wait for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
}

/// Whether HTTP/2 is used towards the destination.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum H2UpgradePolicy {
    /// As the mesh says.
    #[default]
    Default,
    /// Never.
    DoNotUpgrade,
    /// Always.
    Upgrade,
}
