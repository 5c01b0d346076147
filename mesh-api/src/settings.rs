//! What holds for every request and connection of a proxy, wherever it enters.

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
}
