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
}
