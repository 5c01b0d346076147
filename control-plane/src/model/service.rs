//! Services: those of Kubernetes and those of service entries, under one type.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::name::{Claim, EndpointsName};
use mesh_api::units::Port;
use mesh_api::workload::{Labels, ServiceIdentity};

use super::protocol::Protocol;
use super::visibility::Visibility;
use super::workload::WorkloadInfo;
use crate::crd::kubernetes::Preferences;
use crate::crd::service_entry::Location;
use crate::meta::{ObjectKey, ObjectMeta, Precedence};

pub mod entry;
pub mod index;
pub mod kubernetes;

/// A service of the registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The full name; lower case; may be a wildcard in a service entry.
    pub host: Arc<str>,
    /// What telemetry calls it.
    pub identity: ServiceIdentity,
    /// The object it comes from.
    pub key: ObjectKey,
    /// When that was created.
    pub meta: ObjectMeta,
    /// Its ports, in the order given.
    pub ports: Vec<ServicePort>,
    /// Whether it counts as part of the mesh.
    pub location: Location,
    /// Virtual addresses.
    pub addresses: Vec<IpNet>,
    /// How its endpoints are found.
    pub resolution: Resolution,
    /// What stands behind it: one entry for each object it is made of, the oldest first.
    pub backings: Vec<Backing>,
    /// Who sees it.
    pub visibility: Visibility,
    /// Whether that is what the mesh says of services that do not say so themselves.
    pub default_visibility: bool,
    /// Whether workloads that are not ready count too.
    pub publish_not_ready: bool,
    /// Whether it is a service of Kubernetes.
    pub is_kubernetes: bool,
    /// What tells its endpoint sets from those of the first that declares the host; `None` for
    /// that first one.
    pub claim: Option<Claim>,
    /// What its object asks for beside all this.
    pub asks: Asks,
}

/// What the object of a service asks for that its endpoints do not show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// Which endpoints clients prefer.
    pub preferences: Preferences,
    /// Its certificates carry certain names (`subjectAltNames`).
    pub names_in_certificates: bool,
}

/// What one object says stands behind some ports of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Backing {
    /// The object.
    pub key: ObjectKey,
    /// The ports it is about.
    pub ports: Vec<ServicePort>,
    /// Which workloads of its namespace; `None` if none are selected.
    pub selector: Option<Labels>,
    /// Endpoints written in the object.
    pub endpoints: Vec<Arc<WorkloadInfo>>,
}

impl Backing {
    /// A port by number.
    pub fn port(&self, number: Port) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Whether it selects a workload of its namespace with these labels.
    pub fn selects(&self, labels: &Labels) -> bool {
        self.selector.as_ref().is_some_and(|selector| {
            super::workload::selects(
                selector.iter().map(|(key, value)| (&**key, &**value)),
                labels,
            )
        })
    }

    /// Whether it says what stands behind it, rather than leaving it to a name.
    pub fn is_said(&self) -> bool {
        self.selector.is_some() || !self.endpoints.is_empty()
    }
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The port clients use.
    pub number: Port,
    /// Its name; empty if it has none.
    pub name: Arc<str>,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Where it leads on a workload.
    pub target: TargetPort,
}

/// The workload's port behind a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// This one.
    Number(Port),
    /// The one of this name.
    Name(Arc<str>),
}

impl TargetPort {
    /// The port on one workload; `None` if that has no port of the name.
    pub fn on(&self, workload: &WorkloadInfo) -> Option<Port> {
        match self {
            Self::Number(port) => Some(*port),
            Self::Name(name) => workload.ports.get(name).copied(),
        }
    }
}

/// How the endpoints of a service are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// The control plane knows them.
    Known,
    /// As `Known`, but clients choose one themselves by its address (headless).
    Headless,
    /// Where the connection was going (`resolution: NONE`).
    OriginalDestination,
    /// The proxy resolves names.
    Dns {
        /// One address at a time (`DNS_ROUND_ROBIN`).
        first_only: bool,
    },
    /// The proxy resolves the name each request carries (`DYNAMIC_DNS`).
    DynamicDns,
    /// It is another name of this host (`ExternalName`).
    Alias(Arc<str>),
}

impl Service {
    /// Its place among services that claim the same host.
    pub fn precedence(&self) -> (bool, Precedence<'_>) {
        (!self.is_kubernetes, Precedence::new(&self.key, &self.meta))
    }

    /// The namespace it is in.
    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }

    /// A port by number.
    pub fn port(&self, number: Port) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// The virtual addresses that are single addresses.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> {
        self.addresses
            .iter()
            .filter(|net| net.prefix_len() == net.max_prefix_len())
            .map(IpNet::addr)
    }

    /// Whether redirected connections to it are told apart by the addresses of its workloads, so
    /// that listeners depend on those.
    pub fn is_met_at_its_workloads(&self) -> bool {
        self.resolution == Resolution::Headless
    }

    /// Whether the service selects a workload of `namespace` with these labels.
    pub fn selects(&self, namespace: &str, labels: &Labels) -> bool {
        self.namespace() == namespace && self.backings.iter().any(|one| one.selects(labels))
    }

    /// The name of the endpoints behind one of its ports.
    pub fn endpoints_name(&self, port: Port) -> EndpointsName {
        EndpointsName {
            host: Arc::clone(&self.host),
            port,
            claim: self.claim.clone(),
        }
    }

    /// The names of all its endpoint sets.
    pub fn endpoint_sets(&self) -> impl Iterator<Item = EndpointsName> {
        self.ports
            .iter()
            .map(|port| self.endpoints_name(port.number))
    }
}
