//! `WasmPlugin`: a program proxies run on traffic.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::absent::unset_if_empty;
use crate::open::OpenObject;
use crate::selector::{PolicyTargetReference, WorkloadSelector};
use crate::status::ResourceStatus;

mod module;

pub use module::{
    EnvironmentVariable, FailStrategy, Phase, PluginType, PullPolicy, Side, TrafficPort,
    TrafficSelector, ValueSource, VmConfig,
};

/// A program proxies run on traffic.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "extensions.istio.io",
    version = "v1alpha1",
    kind = "WasmPlugin",
    crates(kube_core = "kube_core"),
    plural = "wasmplugins",
    singular = "wasmplugin",
    category = "istio-io",
    category = "extensions-istio-io",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct WasmPluginSpec {
    /// Workloads this applies to; absent is the namespace, or the mesh in the root namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// Deprecated form of `targetRefs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<PolicyTargetReference>,
    /// Gateways and services this is attached to; sidecars ignore such an object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<PolicyTargetReference>,
    /// Where the program is: `oci://` (when there is no scheme), `file://` or `http(s)://`.
    pub url: String,
    /// Digest the program must have.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub sha256: Option<String>,
    /// When the program is fetched.
    #[serde(default)]
    pub image_pull_policy: PullPolicy,
    /// Secret to fetch it with.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub image_pull_secret: Option<String>,
    /// Key it must be signed with.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub verification_key: Option<String>,
    /// Configuration of the program; its own affair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_config: Option<OpenObject>,
    /// Name of the program inside its file.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub plugin_name: Option<String>,
    /// When it runs.
    #[serde(default)]
    pub phase: Phase,
    /// Order among others of the same phase; greater comes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// What happens when it cannot run.
    #[serde(default)]
    pub fail_strategy: FailStrategy,
    /// What it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_config: Option<VmConfig>,
    /// Traffic it runs on; absent is all.
    #[serde(rename = "match", default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<TrafficSelector>,
    /// Requests or connections.
    #[serde(rename = "type", default)]
    pub plugin_type: PluginType,
}
