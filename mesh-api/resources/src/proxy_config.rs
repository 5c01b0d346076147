//! `ProxyConfig`: settings of proxies that are read when a Pod is created.

use std::collections::BTreeMap;

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::absent::unset_if_empty;
use crate::selector::WorkloadSelector;
use crate::status::ResourceStatus;

/// Settings of proxies.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "networking.istio.io",
    version = "v1beta1",
    kind = "ProxyConfig",
    crates(kube_core = "kube_core"),
    plural = "proxyconfigs",
    singular = "proxyconfig",
    category = "istio-io",
    category = "networking-istio-io",
    namespaced,
    status = "ResourceStatus",
    derive = "PartialEq"
)]
#[serde(rename_all = "camelCase")]
pub struct ProxyConfigSpec {
    /// Workloads this applies to; absent is the namespace, or the mesh in the root namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<WorkloadSelector>,
    /// Worker threads; 0 is one per core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<i32>,
    /// Environment of the proxy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment_variables: BTreeMap<String, String>,
    /// Image of the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ProxyImage>,
}

/// Image of the proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProxyImage {
    /// `default`, `debug` or `distroless`.
    #[serde(
        default,
        deserialize_with = "unset_if_empty",
        skip_serializing_if = "Option::is_none"
    )]
    pub image_type: Option<String>,
}
