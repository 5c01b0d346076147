//! What holds for every request and connection of a proxy, wherever it enters.

use std::time::Duration;

use serde::Serialize;

use crate::name::SettingsName;
use crate::route::NormalForm;

/// Settings of the mesh that proxies act on. A proxy that was sent none has the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxySettings {
    /// The name; there is one of them per proxy.
    pub name: SettingsName,
    /// The form of paths that is matched and forwarded (`pathNormalization` of `MeshConfig`).
    pub paths: NormalForm,
    /// How long a port whose protocol is to be found out waits for the client's first bytes
    /// (`protocolDetectionTimeout` of `MeshConfig`); zero: for as long as the connection lives.
    /// `None`: what the proxy was started with.
    pub detection_timeout: Option<Duration>,
    /// Whether requests and connections are logged (`accessLogFile` and `accessLogEncoding` of
    /// `MeshConfig`). `None`: as the proxy was started.
    pub access_log: Option<AccessLogMode>,
    /// How long a client may send nothing of a body it announced, or take nothing of an answer
    /// (`MESH_STREAM_IDLE_TIMEOUT` in `defaultConfig.proxyMetadata` of `MeshConfig`); above zero.
    /// Counts where the proxy was started with none of its own.
    pub stream_idle_timeout: Option<Duration>,
    /// How long an HTTP connection may have no request, and a stream of gRPC no message
    /// (`ISTIO_META_IDLE_TIMEOUT` there); likewise.
    pub idle_timeout: Option<Duration>,
}

/// Whether a proxy writes an access log, and how a line of it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AccessLogMode {
    /// Nothing is logged.
    #[default]
    Off,
    /// Envoy's default line.
    Text,
    /// The same facts as one JSON object per line.
    Json,
}
