//! A decoded object: its key, what is known of every object, and its typed content.

use std::sync::Arc;

use super::Kind;
use super::authorization_policy::AuthorizationPolicySpec;
use super::destination_rule::DestinationRuleSpec;
use super::envoy_filter::EnvoyFilterSpec;
use super::gateway::GatewaySpec;
use super::kubernetes::{KubeEndpointSlice, KubeNamespace, KubeNode, KubePod, KubeService};
use super::peer_authentication::PeerAuthenticationSpec;
use super::proxy_config::ProxyConfigSpec;
use super::request_authentication::RequestAuthenticationSpec;
use super::service_entry::ServiceEntrySpec;
use super::sidecar::SidecarSpec;
use super::telemetry::TelemetrySpec;
use super::traffic_extension::TrafficExtensionSpec;
use super::virtual_service::VirtualServiceSpec;
use super::wasm_plugin::WasmPluginSpec;
use super::workload_entry::WorkloadEntrySpec;
use super::workload_group::WorkloadGroupSpec;
use crate::meta::{ObjectKey, ObjectMeta, Precedence};

/// An object with content of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource<S> {
    /// Which object this is.
    pub key: ObjectKey,
    /// Labels, annotations and age.
    pub meta: ObjectMeta,
    /// The content.
    pub spec: S,
}

impl<S> Resource<S> {
    /// Where this object stands among others that want the same thing.
    pub fn precedence(&self) -> Precedence<'_> {
        Precedence::new(&self.key, &self.meta)
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.key.name
    }
}

/// An object of any kind; cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A VirtualService.
    VirtualService(Arc<Resource<VirtualServiceSpec>>),
    /// A DestinationRule.
    DestinationRule(Arc<Resource<DestinationRuleSpec>>),
    /// A Gateway.
    Gateway(Arc<Resource<GatewaySpec>>),
    /// A ServiceEntry.
    ServiceEntry(Arc<Resource<ServiceEntrySpec>>),
    /// A Sidecar.
    Sidecar(Arc<Resource<SidecarSpec>>),
    /// A WorkloadEntry.
    WorkloadEntry(Arc<Resource<WorkloadEntrySpec>>),
    /// A WorkloadGroup.
    WorkloadGroup(Arc<Resource<WorkloadGroupSpec>>),
    /// A ProxyConfig.
    ProxyConfig(Arc<Resource<ProxyConfigSpec>>),
    /// An EnvoyFilter.
    EnvoyFilter(Arc<Resource<EnvoyFilterSpec>>),
    /// A PeerAuthentication.
    PeerAuthentication(Arc<Resource<PeerAuthenticationSpec>>),
    /// A RequestAuthentication.
    RequestAuthentication(Arc<Resource<RequestAuthenticationSpec>>),
    /// An AuthorizationPolicy.
    AuthorizationPolicy(Arc<Resource<AuthorizationPolicySpec>>),
    /// A Telemetry.
    Telemetry(Arc<Resource<TelemetrySpec>>),
    /// A WasmPlugin.
    WasmPlugin(Arc<Resource<WasmPluginSpec>>),
    /// A TrafficExtension.
    TrafficExtension(Arc<Resource<TrafficExtensionSpec>>),
    /// A Kubernetes Service.
    Service(Arc<Resource<KubeService>>),
    /// A Kubernetes EndpointSlice.
    EndpointSlice(Arc<Resource<KubeEndpointSlice>>),
    /// A Kubernetes Pod.
    Pod(Arc<Resource<KubePod>>),
    /// A Kubernetes Namespace.
    Namespace(Arc<Resource<KubeNamespace>>),
    /// A Kubernetes Node.
    Node(Arc<Resource<KubeNode>>),
}

/// Runs the same expression on whatever resource the object holds.
macro_rules! with_resource {
    ($object:expr, $resource:ident => $result:expr) => {
        match $object {
            Object::VirtualService($resource) => $result,
            Object::DestinationRule($resource) => $result,
            Object::Gateway($resource) => $result,
            Object::ServiceEntry($resource) => $result,
            Object::Sidecar($resource) => $result,
            Object::WorkloadEntry($resource) => $result,
            Object::WorkloadGroup($resource) => $result,
            Object::ProxyConfig($resource) => $result,
            Object::EnvoyFilter($resource) => $result,
            Object::PeerAuthentication($resource) => $result,
            Object::RequestAuthentication($resource) => $result,
            Object::AuthorizationPolicy($resource) => $result,
            Object::Telemetry($resource) => $result,
            Object::WasmPlugin($resource) => $result,
            Object::TrafficExtension($resource) => $result,
            Object::Service($resource) => $result,
            Object::EndpointSlice($resource) => $result,
            Object::Pod($resource) => $result,
            Object::Namespace($resource) => $result,
            Object::Node($resource) => $result,
        }
    };
}

impl Object {
    /// Which object this is.
    pub fn key(&self) -> &ObjectKey {
        with_resource!(self, resource => &resource.key)
    }

    /// Labels, annotations and age.
    pub fn meta(&self) -> &ObjectMeta {
        with_resource!(self, resource => &resource.meta)
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.key().kind
    }
}
