//! The endpoints of a service port, from slices, selectors or the service itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mesh_api::endpoint::{Endpoint, EndpointAddress, EndpointSet, Health};
use mesh_api::name::EndpointsName;
use mesh_api::units::Port;
use mesh_api::workload::{Labels, Locality, Peer, WorkloadId};

use super::World;
use super::reach;
use super::service::{Backing, Resolution, Service, ServicePort};
use super::workload::{Readiness, WorkloadInfo};
use crate::crd::kubernetes::{KubeEndpointSlice, SliceEndpoint, Transport};
use crate::crd::object::Resource;

/// The endpoints of a service port; `None` if there is no such port.
pub fn endpoint_set(world: &World, name: &EndpointsName) -> Option<EndpointSet> {
    let service = world.service_of(name)?;
    let port = service.port(name.port)?;
    let mut found = Found::new(world);
    match &service.resolution {
        Resolution::Known | Resolution::Headless => {
            for (backing, port) in backings(service, name.port) {
                known(world, service, backing, port, &mut found);
            }
        }
        Resolution::Dns { .. } => {
            for (backing, port) in backings(service, name.port) {
                known(world, service, backing, port, &mut found);
                if !backing.is_said() {
                    found.add_name(&service.host, port);
                }
            }
        }
        // Where no original destination is at hand, the name is what there is to go by.
        Resolution::OriginalDestination | Resolution::DynamicDns => {
            found.add_name(&service.host, port);
        }
        Resolution::Alias(target) => found.add_name(target, port),
    }
    Some(EndpointSet {
        name: name.clone(),
        endpoints: found.by_address.into_values().map(Arc::new).collect(),
    })
}

/// What stands behind a port, with the port as each object has it.
fn backings(service: &Service, number: Port) -> impl Iterator<Item = (&Backing, &ServicePort)> {
    let backings = service.backings.iter();
    backings.filter_map(move |backing| Some((backing, backing.port(number)?)))
}

/// Endpoints by address: ordered, none twice, and none where proxies must not be led to.
struct Found<'w> {
    world: &'w World,
    by_address: BTreeMap<EndpointAddress, Endpoint>,
}

impl<'w> Found<'w> {
    fn new(world: &'w World) -> Self {
        Self {
            world,
            by_address: BTreeMap::new(),
        }
    }

    fn add(&mut self, endpoint: Endpoint) {
        if !reach::is_lawful(self.world.settings(), &endpoint.address) {
            return;
        }
        // Of two entries for one address the one that may be used counts.
        match self.by_address.get(&endpoint.address) {
            Some(old) if old.health == Health::Healthy => {}
            Some(_) | None => {
                self.by_address.insert(endpoint.address.clone(), endpoint);
            }
        }
    }

    fn add_name(&mut self, host: &Arc<str>, port: &ServicePort) {
        if host.starts_with('*') {
            return;
        }
        let target = match &port.target {
            super::service::TargetPort::Number(target) => *target,
            super::service::TargetPort::Name(_) => port.number,
        };
        let address = match host.parse::<IpAddr>() {
            Ok(address) => EndpointAddress::Socket(SocketAddr::new(address, target.value())),
            Err(_) => EndpointAddress::Name {
                host: Arc::clone(host),
                port: target,
            },
        };
        self.add(Endpoint {
            address,
            labels: Labels::new(),
            weight: 1,
            health: Health::Healthy,
            locality: Locality::default(),
            network: Arc::default(),
            mesh_tls: false,
            peer: Peer {
                cluster: Arc::clone(&self.world.settings().cluster_id),
                ..Peer::default()
            },
        });
    }

    fn add_workload(&mut self, workload: &WorkloadInfo, port: Port, health: Health) {
        let address = match (workload.addresses.first(), &workload.dns_name) {
            (Some(address), _) => EndpointAddress::Socket(SocketAddr::new(*address, port.value())),
            (None, Some(name)) => EndpointAddress::Name {
                host: Arc::clone(name),
                port,
            },
            (None, None) => return,
        };
        self.add(endpoint(address, workload, health));
    }
}

fn endpoint(address: EndpointAddress, workload: &WorkloadInfo, health: Health) -> Endpoint {
    Endpoint {
        address,
        labels: workload.labels.clone(),
        weight: workload.weight,
        health,
        locality: workload.locality.clone(),
        network: Arc::clone(&workload.network),
        mesh_tls: workload.mesh_tls,
        peer: workload.peer.clone(),
    }
}

fn known(
    world: &World,
    service: &Service,
    backing: &Backing,
    port: &ServicePort,
    found: &mut Found<'_>,
) {
    for workload in &backing.endpoints {
        if let Some(number) = port_of(workload, port) {
            found.add_workload(workload, number, Health::Healthy);
        }
    }
    if service.is_kubernetes
        && let Some(slices) = world.slices_of(service)
    {
        let slices: Vec<_> = slices.collect();
        let family = family(service, &slices);
        for slice in slices {
            if family.is_none_or(|family| slice.spec.address_type == family) {
                from_slice(world, service, port, slice, found);
            }
        }
        return;
    }
    if backing.selector.is_none() {
        return;
    }
    for workload in world.workloads_of_namespace(service.namespace()) {
        if !backing.selects(&workload.labels) {
            continue;
        }
        let health = match workload.readiness {
            Readiness::Ready => Health::Healthy,
            Readiness::NotReady if service.publish_not_ready => Health::Healthy,
            Readiness::Terminating => Health::Draining,
            Readiness::NotReady | Readiness::Gone => continue,
        };
        if let Some(number) = port_of(workload, port) {
            found.add_workload(workload, number, health);
        }
    }
}

/// The one address family to use where there are slices of both: a workload with two addresses is
/// still one endpoint. It is the family of the service's first address, else IPv4.
fn family(service: &Service, slices: &[&Arc<Resource<KubeEndpointSlice>>]) -> Option<&'static str> {
    let has = |family: &str| {
        slices
            .iter()
            .any(|slice| slice.spec.address_type == family && !slice.spec.endpoints.is_empty())
    };
    if !(has("IPv4") && has("IPv6")) {
        return None;
    }
    match service.vips().next() {
        Some(IpAddr::V6(_)) => Some("IPv6"),
        Some(IpAddr::V4(_)) | None => Some("IPv4"),
    }
}

/// The port of a workload behind a service port: of a workload entry the one its `ports` maps
/// the name to, else the target port.
fn port_of(workload: &WorkloadInfo, port: &ServicePort) -> Option<Port> {
    if !workload.is_pod
        && let Some(mapped) = workload.ports.get(&port.name)
    {
        return Some(*mapped);
    }
    port.target.on(workload)
}

fn from_slice(
    world: &World,
    service: &Service,
    port: &ServicePort,
    slice: &Resource<KubeEndpointSlice>,
    found: &mut Found<'_>,
) {
    let slice_port = slice
        .spec
        .ports
        .iter()
        .filter(|one| one.transport == Transport::Tcp)
        .find(|one| *one.name == *port.name);
    // A slice without a number for the port stands for all ports.
    let Some(number) = slice_port.map(|one| one.port.and_then(Port::new).unwrap_or(port.number))
    else {
        return;
    };
    for one in &slice.spec.endpoints {
        let health = match (one.ready, one.serving, one.terminating) {
            (true, _, false) => Health::Healthy,
            (_, true, true) => Health::Draining,
            _ if service.publish_not_ready && !one.terminating => Health::Healthy,
            _ => continue,
        };
        let Some(text) = one.addresses.first() else {
            continue;
        };
        let target = text.parse::<IpAddr>().ok();
        let address = match target {
            Some(ip) => EndpointAddress::Socket(SocketAddr::new(ip, number.value())),
            None => EndpointAddress::Name {
                host: Arc::from(text.to_ascii_lowercase()),
                port: number,
            },
        };
        match behind(world, slice.namespace(), one, target) {
            Some(workload) => found.add(endpoint(address, workload, health)),
            None => found.add(unknown_workload(world, service, one, address, health)),
        }
    }
}

/// The workload a slice endpoint stands for: the one it names, else the one at its address, if
/// that is of the slice's namespace: others have no say in what an address here stands for.
fn behind<'w>(
    world: &'w World,
    namespace: &str,
    endpoint: &SliceEndpoint,
    address: Option<IpAddr>,
) -> Option<&'w Arc<WorkloadInfo>> {
    let pod = endpoint
        .target
        .as_ref()
        .filter(|target| matches!(target.kind.as_str(), "" | "Pod"));
    let named = pod.and_then(|target| {
        let namespace = if target.namespace.is_empty() {
            namespace
        } else {
            &target.namespace
        };
        world.workload(&WorkloadId {
            namespace: Arc::from(namespace),
            name: Arc::from(target.name.as_str()),
        })
    });
    named.or_else(|| world.workload_of(namespace, address?))
}

fn unknown_workload(
    world: &World,
    service: &Service,
    endpoint: &SliceEndpoint,
    address: EndpointAddress,
    health: Health,
) -> Endpoint {
    let node = endpoint.node_name.as_deref();
    let node = node.and_then(|node| world.node(node)).cloned();
    Endpoint {
        address,
        labels: Labels::new(),
        weight: 1,
        health,
        locality: node.unwrap_or_else(|| Locality {
            zone: endpoint.zone.as_deref().unwrap_or_default().into(),
            ..Locality::default()
        }),
        network: Arc::default(),
        mesh_tls: false,
        peer: Peer {
            namespace: Arc::clone(&service.identity.namespace),
            cluster: Arc::clone(&world.settings().cluster_id),
            ..Peer::default()
        },
    }
}
