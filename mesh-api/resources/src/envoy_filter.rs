//! `EnvoyFilter`: patches of another proxy's own configuration.
//!
//! The fields around the patches are those of the API; what is inside a patch belongs to that
//! proxy and is kept as it is.

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::open::OpenObject;
use crate::selector::{PolicyTargetReference, WorkloadLabels};
use crate::status::ResourceStatus;

mod place;

pub use place::{
    ClusterPlace, FilterChainPlace, FilterPlace, ListenerPlace, NamedPlace, Place, PlaceContext,
    ProxyPlace, RouteAction, RouteConfigurationPlace, RoutePlace, VirtualHostPlace, WaypointPlace,
};

/// Patches of another proxy's own configuration.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "networking.istio.io",
    version = "v1alpha3",
    kind = "EnvoyFilter",
    crates(kube_core = "kube_core"),
    plural = "envoyfilters",
    singular = "envoyfilter",
    category = "istio-io",
    category = "networking-istio-io",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyFilterSpec {
    /// Workloads this applies to; absent is the namespace, or the mesh in the root namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload_selector: Option<WorkloadLabels>,
    /// Gateways and services this is attached to; sidecars ignore such an object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<PolicyTargetReference>,
    /// The patches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_patches: Vec<ConfigPatch>,
    /// Order among other objects; smaller comes first.
    #[serde(default)]
    pub priority: i32,
}

/// One patch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigPatch {
    /// What is patched.
    #[serde(default)]
    pub apply_to: ApplyTo,
    /// Where.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<Place>,
    /// How.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch: Option<Patch>,
}

/// What is patched.
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
pub enum ApplyTo {
    /// Not said.
    #[default]
    Invalid,
    /// A listener.
    Listener,
    /// A chain of a listener.
    FilterChain,
    /// A filter of connections.
    NetworkFilter,
    /// A filter of requests.
    HttpFilter,
    /// A set of routes.
    RouteConfiguration,
    /// A host of a set of routes.
    VirtualHost,
    /// A route.
    HttpRoute,
    /// A cluster.
    Cluster,
    /// The configuration of an extension.
    ExtensionConfig,
    /// What a proxy starts with.
    Bootstrap,
    /// A filter of listeners.
    ListenerFilter,
}

/// How something is patched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// What is done.
    #[serde(default)]
    pub operation: PatchOperation,
    /// The patch itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<OpenObject>,
    /// Where among other filters a filter is put.
    #[serde(default)]
    pub filter_class: FilterClass,
}

/// What is done.
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
pub enum PatchOperation {
    /// Not said.
    #[default]
    Invalid,
    /// It is merged in.
    Merge,
    /// It is added.
    Add,
    /// It is taken out.
    Remove,
    /// It is put before the place.
    InsertBefore,
    /// It is put after the place.
    InsertAfter,
    /// It is put first.
    InsertFirst,
    /// It takes the place.
    Replace,
}

/// Where among other filters a filter is put.
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
pub enum FilterClass {
    /// As the operation says.
    #[default]
    Unspecified,
    /// With those that find out who calls.
    Authn,
    /// With those that decide who may call.
    Authz,
    /// With those that count.
    Stats,
}
