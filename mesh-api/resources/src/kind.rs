//! The kinds we read: their groups, the versions we serve and the one we store.

use std::fmt;

/// A kind we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `networking.istio.io` VirtualService.
    VirtualService,
    /// `networking.istio.io` DestinationRule.
    DestinationRule,
    /// `networking.istio.io` Gateway.
    Gateway,
    /// `networking.istio.io` ServiceEntry.
    ServiceEntry,
    /// `networking.istio.io` Sidecar.
    Sidecar,
    /// `networking.istio.io` WorkloadEntry.
    WorkloadEntry,
    /// `networking.istio.io` WorkloadGroup.
    WorkloadGroup,
    /// `networking.istio.io` ProxyConfig.
    ProxyConfig,
    /// `networking.istio.io` EnvoyFilter.
    EnvoyFilter,
    /// `security.istio.io` PeerAuthentication.
    PeerAuthentication,
    /// `security.istio.io` RequestAuthentication.
    RequestAuthentication,
    /// `security.istio.io` AuthorizationPolicy.
    AuthorizationPolicy,
    /// `telemetry.istio.io` Telemetry.
    Telemetry,
    /// `extensions.istio.io` WasmPlugin.
    WasmPlugin,
    /// `extensions.istio.io` TrafficExtension.
    TrafficExtension,
    /// Kubernetes Service.
    Service,
    /// Kubernetes EndpointSlice.
    EndpointSlice,
    /// Kubernetes Pod.
    Pod,
    /// Kubernetes Namespace.
    Namespace,
    /// Kubernetes Node.
    Node,
}

impl Kind {
    /// Every kind we read.
    pub const ALL: [Self; 20] = [
        Self::VirtualService,
        Self::DestinationRule,
        Self::Gateway,
        Self::ServiceEntry,
        Self::Sidecar,
        Self::WorkloadEntry,
        Self::WorkloadGroup,
        Self::ProxyConfig,
        Self::EnvoyFilter,
        Self::PeerAuthentication,
        Self::RequestAuthentication,
        Self::AuthorizationPolicy,
        Self::Telemetry,
        Self::WasmPlugin,
        Self::TrafficExtension,
        Self::Service,
        Self::EndpointSlice,
        Self::Pod,
        Self::Namespace,
        Self::Node,
    ];

    /// The name, as in `kind:`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VirtualService => "VirtualService",
            Self::DestinationRule => "DestinationRule",
            Self::Gateway => "Gateway",
            Self::ServiceEntry => "ServiceEntry",
            Self::Sidecar => "Sidecar",
            Self::WorkloadEntry => "WorkloadEntry",
            Self::WorkloadGroup => "WorkloadGroup",
            Self::ProxyConfig => "ProxyConfig",
            Self::EnvoyFilter => "EnvoyFilter",
            Self::PeerAuthentication => "PeerAuthentication",
            Self::RequestAuthentication => "RequestAuthentication",
            Self::AuthorizationPolicy => "AuthorizationPolicy",
            Self::Telemetry => "Telemetry",
            Self::WasmPlugin => "WasmPlugin",
            Self::TrafficExtension => "TrafficExtension",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Pod => "Pod",
            Self::Namespace => "Namespace",
            Self::Node => "Node",
        }
    }

    /// The API group; empty for the core group of Kubernetes.
    pub const fn group(self) -> &'static str {
        match self {
            Self::VirtualService
            | Self::DestinationRule
            | Self::Gateway
            | Self::ServiceEntry
            | Self::Sidecar
            | Self::WorkloadEntry
            | Self::WorkloadGroup
            | Self::ProxyConfig
            | Self::EnvoyFilter => "networking.istio.io",
            Self::PeerAuthentication | Self::RequestAuthentication | Self::AuthorizationPolicy => {
                "security.istio.io"
            }
            Self::Telemetry => "telemetry.istio.io",
            Self::WasmPlugin | Self::TrafficExtension => "extensions.istio.io",
            Self::EndpointSlice => "discovery.k8s.io",
            Self::Service | Self::Pod | Self::Namespace | Self::Node => "",
        }
    }

    /// The versions that are accepted; all of them have the same fields.
    pub const fn served_versions(self) -> &'static [&'static str] {
        match self {
            Self::VirtualService
            | Self::DestinationRule
            | Self::Gateway
            | Self::ServiceEntry
            | Self::Sidecar
            | Self::WorkloadEntry
            | Self::WorkloadGroup => &["v1", "v1beta1", "v1alpha3"],
            Self::ProxyConfig => &["v1beta1"],
            Self::EnvoyFilter => &["v1alpha3"],
            Self::PeerAuthentication | Self::RequestAuthentication | Self::AuthorizationPolicy => {
                &["v1", "v1beta1"]
            }
            Self::Telemetry => &["v1", "v1alpha1"],
            Self::WasmPlugin | Self::TrafficExtension => &["v1alpha1"],
            Self::Service | Self::EndpointSlice | Self::Pod | Self::Namespace | Self::Node => {
                &["v1"]
            }
        }
    }

    /// The version objects are stored in.
    pub const fn storage_version(self) -> &'static str {
        match self {
            Self::ProxyConfig => "v1beta1",
            Self::EnvoyFilter => "v1alpha3",
            Self::Telemetry | Self::WasmPlugin | Self::TrafficExtension => "v1alpha1",
            Self::VirtualService
            | Self::DestinationRule
            | Self::Gateway
            | Self::ServiceEntry
            | Self::Sidecar
            | Self::WorkloadEntry
            | Self::WorkloadGroup
            | Self::PeerAuthentication
            | Self::RequestAuthentication
            | Self::AuthorizationPolicy
            | Self::Service
            | Self::EndpointSlice
            | Self::Pod
            | Self::Namespace
            | Self::Node => "v1",
        }
    }

    /// The served API versions as `group/version`.
    pub fn api_versions(self) -> Vec<String> {
        self.served_versions()
            .iter()
            .map(|version| match self.group() {
                "" => (*version).to_owned(),
                group => format!("{group}/{version}"),
            })
            .collect()
    }

    /// Whether objects of this kind live in a namespace.
    pub const fn is_namespaced(self) -> bool {
        !matches!(self, Self::Namespace | Self::Node)
    }

    /// Whether this is one of the mesh's own resources rather than one of Kubernetes.
    pub const fn is_mesh_resource(self) -> bool {
        !matches!(
            self,
            Self::Service | Self::EndpointSlice | Self::Pod | Self::Namespace | Self::Node
        )
    }

    /// Whether an object of this kind may keep somebody out of the workloads it selects, so that
    /// one that cannot be read closes them. An EnvoyFilter is none: most of them guard nothing, and
    /// what one was for cannot be seen before its patches are read.
    pub const fn is_guard(self) -> bool {
        match self {
            Self::PeerAuthentication
            | Self::RequestAuthentication
            | Self::AuthorizationPolicy
            | Self::WasmPlugin
            | Self::TrafficExtension => true,
            Self::VirtualService
            | Self::DestinationRule
            | Self::Gateway
            | Self::ServiceEntry
            | Self::Sidecar
            | Self::WorkloadEntry
            | Self::WorkloadGroup
            | Self::ProxyConfig
            | Self::EnvoyFilter
            | Self::Telemetry
            | Self::Service
            | Self::EndpointSlice
            | Self::Pod
            | Self::Namespace
            | Self::Node => false,
        }
    }

    /// The kind of this group and name.
    pub fn find(group: &str, name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.group() == group && kind.as_str() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
