//! What programs of [`WasmPlugin`](super::WasmPlugin) and of
//! [`TrafficExtension`](crate::traffic_extension::TrafficExtension) have in common.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a program is fetched.
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
pub enum PullPolicy {
    /// `Always` for images tagged `latest`, else `IfNotPresent`.
    #[serde(rename = "UNSPECIFIED_POLICY")]
    #[default]
    UnspecifiedPolicy,
    /// When it is not there yet.
    IfNotPresent,
    /// Every time.
    Always,
}

/// When an extension runs.
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
pub enum Phase {
    /// Last.
    #[serde(rename = "UNSPECIFIED_PHASE")]
    #[default]
    Unspecified,
    /// Before the mesh finds out who calls.
    Authn,
    /// Before the mesh decides who may call.
    Authz,
    /// Before the mesh counts.
    Stats,
}

/// What happens when a program cannot run.
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
pub enum FailStrategy {
    /// Requests are refused.
    #[default]
    FailClose,
    /// Requests pass.
    FailOpen,
    /// It is started again.
    FailReload,
}

/// What a program runs on.
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
pub enum PluginType {
    /// Requests.
    #[serde(rename = "UNSPECIFIED_PLUGIN_TYPE")]
    #[default]
    Unspecified,
    /// Requests.
    Http,
    /// Connections.
    Network,
}

/// Side of a call.
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
pub enum Side {
    /// Not said.
    #[default]
    Undefined,
    /// The calling side, and gateways.
    Client,
    /// The called side.
    Server,
    /// Both sides.
    ClientAndServer,
}

/// Where the value of a variable comes from.
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
pub enum ValueSource {
    /// It is written here.
    #[default]
    Inline,
    /// From the environment of the proxy.
    Host,
}

/// What a program runs in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VmConfig {
    /// Its environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvironmentVariable>,
}

/// A variable of the environment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentVariable {
    /// Name.
    pub name: String,
    /// Where its value comes from.
    #[serde(default)]
    pub value_from: ValueSource,
    /// The value, if it is written here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
}

/// Traffic an extension runs on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficSelector {
    /// Side of a call.
    #[serde(default)]
    pub mode: Side,
    /// Ports; absent is all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<TrafficPort>,
}

/// A port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPort {
    /// Its number.
    pub number: u16,
}
