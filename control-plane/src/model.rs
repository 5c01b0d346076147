//! Everything the mesh was told, indexed: the one input of the compiler.
//!
//! A [`World`] is a value, and a function of the objects there are and of what is [`kept`]; the
//! order in which they arrive does not matter. Kept is what has to outlive a change: a virtual
//! service that comes to refer to something that is not there keeps its former form in effect,
//! with the subsets that form was made for, until everything it refers to is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::name::EndpointsName;
use mesh_api::workload::{Locality, WorkloadId};

use crate::crd::Selects;
use crate::crd::authorization_policy::AuthorizationPolicySpec;
use crate::crd::destination_rule::DestinationRuleSpec;
use crate::crd::envoy_filter::EnvoyFilterSpec;
use crate::crd::gateway::GatewaySpec;
use crate::crd::kubernetes::KubeEndpointSlice;
use crate::crd::object::Resource;
use crate::crd::peer_authentication::PeerAuthenticationSpec;
use crate::crd::request_authentication::RequestAuthenticationSpec;
use crate::crd::sidecar::SidecarSpec;
use crate::crd::telemetry::TelemetrySpec;
use crate::crd::traffic_extension::TrafficExtensionSpec;
use crate::crd::virtual_service::VirtualServiceSpec;
use crate::crd::wasm_plugin::WasmPluginSpec;
use crate::meta::ObjectKey;

pub mod apply;
pub mod catalog;
pub mod change;
pub mod configure;
pub mod egress;
pub mod endpoints;
pub mod host;
pub mod kept;
mod namespaces;
pub mod ownership;
pub mod protocol;
pub mod reach;
pub mod references;
pub(crate) mod rules;
pub mod service;
pub mod settings;
pub mod slices;
pub mod visibility;
pub mod workload;

pub use catalog::Catalog;
pub use change::{Affected, Change};
pub use kept::Kept;
pub use service::Service;
pub use settings::MeshSettings;
pub use workload::WorkloadInfo;

/// All inputs. Cloning is cheap: everything big is shared until it changes.
#[derive(Clone, Debug, Default)]
pub struct World {
    settings: Arc<MeshSettings>,
    /// The settings as they were at start, before any configuration of the mesh.
    started_with: Arc<MeshSettings>,
    generation: u64,
    /// Where the nodes of the cluster stand, by name.
    nodes: Arc<BTreeMap<String, Locality>>,
    services: Arc<service::index::ServiceIndex>,
    slices: Arc<slices::SliceIndex>,
    workloads: Arc<workload::WorkloadIndex>,
    pub(crate) virtual_services: Arc<Catalog<VirtualServiceSpec>>,
    pub(crate) destination_rules: Arc<Catalog<DestinationRuleSpec>>,
    pub(crate) gateways: Arc<Catalog<GatewaySpec>>,
    pub(crate) sidecars: Arc<Catalog<SidecarSpec>>,
    pub(crate) peer_authentications: Arc<Catalog<PeerAuthenticationSpec>>,
    pub(crate) request_authentications: Arc<Catalog<RequestAuthenticationSpec>>,
    pub(crate) authorization_policies: Arc<Catalog<AuthorizationPolicySpec>>,
    pub(crate) telemetries: Arc<Catalog<TelemetrySpec>>,
    pub(crate) wasm_plugins: Arc<Catalog<WasmPluginSpec>>,
    pub(crate) traffic_extensions: Arc<Catalog<TrafficExtensionSpec>>,
    pub(crate) envoy_filters: Arc<Catalog<EnvoyFilterSpec>>,
    /// Objects of kinds that nothing acts on.
    pub(crate) not_acted_on: BTreeSet<ObjectKey>,
    /// Policies no version of which could ever be read, and which workloads they say they are for.
    pub(crate) unreadable_policies: BTreeMap<ObjectKey, Selects>,
    /// What the newest form of a virtual service refers to that is not there.
    missing: Arc<BTreeMap<ObjectKey, Vec<String>>>,
    /// Virtual services for which something former is in effect.
    held_back: Arc<BTreeSet<ObjectKey>>,
    /// What outlives changes.
    kept: Arc<Kept>,
}

/// The form of a virtual service that is in effect.
#[derive(Clone, Debug)]
pub struct Effective<'w> {
    /// The object as it is in effect.
    pub object: &'w Arc<Resource<VirtualServiceSpec>>,
    /// What the newest form lacks, if a former one is in effect for it.
    pub held_back_by: &'w [String],
}

impl World {
    /// A mesh without any object.
    pub fn new(settings: MeshSettings) -> Self {
        let settings = Arc::new(settings);
        Self {
            started_with: Arc::clone(&settings),
            settings,
            ..Self::default()
        }
    }

    /// The mesh of these objects, in the light of what was kept.
    pub fn of(
        settings: MeshSettings,
        kept: &Kept,
        objects: impl IntoIterator<Item = Change>,
    ) -> Self {
        let mut world = Self::new(settings);
        let known = Arc::make_mut(&mut world.kept);
        known.settings.clone_from(&kept.settings);
        known.formers.clone_from(&kept.formers);
        world.take(objects, Some(kept));
        world
    }

    /// What is to be kept: with it, the settings and the objects there are, [`World::of`] makes this
    /// world again.
    pub fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    /// The settings of the mesh.
    pub fn settings(&self) -> &MeshSettings {
        &self.settings
    }

    /// Where a node stands, if that is known.
    pub fn node(&self, name: &str) -> Option<&Locality> {
        self.nodes.get(name)
    }

    /// How many batches of changes made a difference so far.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A workload by name.
    pub fn workload(&self, id: &WorkloadId) -> Option<&Arc<WorkloadInfo>> {
        self.workloads.find(id)
    }

    /// The workload at an address.
    pub fn workload_at(&self, address: IpAddr) -> Option<&Arc<WorkloadInfo>> {
        self.workloads.at(address)
    }

    /// The workload of a namespace at an address.
    pub fn workload_of(&self, namespace: &str, address: IpAddr) -> Option<&Arc<WorkloadInfo>> {
        self.workloads.at_of(namespace, address)
    }

    /// All workloads, by name.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<WorkloadInfo>> {
        self.workloads.iter()
    }

    /// The workloads of a namespace, by name.
    pub fn workloads_of_namespace<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<WorkloadInfo>> {
        self.workloads.of_namespace(namespace)
    }

    /// The services that claim a host, whoever may see them. Which of them a client is told of
    /// is asked with the client: [`Viewer::service`](ownership::Viewer::service).
    pub fn claims(&self, host: &str) -> &[Arc<Service>] {
        self.services.claims(host)
    }

    /// The Service of Kubernetes at an address.
    pub fn kubernetes_service_at(&self, address: IpAddr) -> Option<&Arc<Service>> {
        self.services.at(address)
    }

    /// All services, by host, whoever may see them; several may have one host.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.iter()
    }

    /// Every host with the services that claim it.
    pub fn hosts(&self) -> impl Iterator<Item = (&Arc<str>, &[Arc<Service>])> {
        self.services.hosts()
    }

    /// What every object says of every host it claims, before what belongs together is joined.
    pub fn declarations(&self) -> impl Iterator<Item = &Service> {
        self.services.written()
    }

    /// What objects say of hosts that other objects claim too, beside the services made of it.
    pub fn rivals(&self) -> impl Iterator<Item = (&[Service], &[Arc<Service>])> {
        self.services.rivals()
    }

    /// The service an endpoint set is of.
    pub fn service_of(&self, set: &EndpointsName) -> Option<&Arc<Service>> {
        let mut claims = self.claims(&set.host).iter();
        claims.find(|service| service.claim == set.claim)
    }

    /// The slices of a service; `None` if it has none.
    pub fn slices_of(
        &self,
        service: &Service,
    ) -> Option<impl Iterator<Item = &Arc<Resource<KubeEndpointSlice>>>> {
        self.slices
            .of_service(&service.key.namespace, &service.key.name)
    }

    /// All virtual services in the form that is in effect, oldest first.
    pub fn effective_virtual_services(&self) -> impl Iterator<Item = Effective<'_>> {
        self.virtual_services
            .iter()
            .map(|newest| self.effective(newest))
    }

    /// One virtual service in the form that is in effect.
    pub fn effective_virtual_service(
        &self,
        key: &ObjectKey,
    ) -> Option<&Arc<Resource<VirtualServiceSpec>>> {
        let newest = self.virtual_services.find(key)?;
        Some(self.effective(newest).object)
    }

    fn effective<'w>(&'w self, newest: &'w Arc<Resource<VirtualServiceSpec>>) -> Effective<'w> {
        let former = self.kept.routes.get(&newest.key);
        match former.filter(|_| self.is_held_back(&newest.key)) {
            Some(former) => Effective {
                object: former,
                held_back_by: self.lacks(&newest.key),
            },
            None => Effective {
                object: newest,
                held_back_by: &[],
            },
        }
    }

    /// What the newest form of a virtual service refers to that is not there.
    pub(crate) fn lacks(&self, key: &ObjectKey) -> &[String] {
        self.missing.get(key).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a virtual service is held back, and so may use the subsets that are kept for it.
    pub(crate) fn is_held_back(&self, key: &ObjectKey) -> bool {
        self.held_back.contains(key)
    }

    /// The rules whose subsets are kept for virtual services that are held back.
    pub(crate) fn kept_rules(&self) -> impl Iterator<Item = &Arc<Resource<DestinationRuleSpec>>> {
        self.kept.rules.values()
    }

    /// The names of all endpoint sets.
    pub fn endpoint_sets(&self) -> impl Iterator<Item = EndpointsName> {
        self.services().flat_map(|service| service.endpoint_sets())
    }
}
