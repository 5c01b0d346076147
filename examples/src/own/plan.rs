//! Which proxies a world needs and what each is for, read off the configuration that is compiled
//! for it: what is printed is what will be there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use control_plane::compile::{ProxyScope, compile};
use control_plane::model::workload::{pairs, selects};
use control_plane::model::{WorkloadInfo, World};
use mesh_api::convert;
use mesh_api::listener::{Bind, GatewayProtocol, InboundTarget, Listener, ListenerKind};
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::resource::Resource;
use mesh_api::route::{Destinations, Target};
use mesh_api::workload::WorkloadId;

use super::folder::Folder;

/// What is to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) proxies: BTreeMap<WorkloadId, Planned>,
    /// Why some workloads get no proxy.
    pub(super) complaints: Vec<String>,
    /// What Gateways select that no workload has.
    pub(super) unserved: BTreeSet<BTreeMap<String, String>>,
}

/// One proxy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) role: ProxyRole,
    pub(super) address: Ipv4Addr,
    pub(super) ways: Vec<Way>,
}

/// One socket of a proxy, and what it is good for.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// Clients outside the mesh call here.
    FromOutside(SocketAddr, String),
    /// Other workloads call here; the application listens there.
    In(SocketAddr, Option<SocketAddr>),
    /// The application sends its HTTP requests here.
    OutHttp(SocketAddr),
    /// The application opens connections to this destination here.
    OutTcp(SocketAddr, String),
}

impl Way {
    pub(super) fn socket(&self) -> SocketAddr {
        match self {
            Self::FromOutside(socket, _)
            | Self::In(socket, _)
            | Self::OutHttp(socket)
            | Self::OutTcp(socket, _) => *socket,
        }
    }
}

impl Plan {
    /// The plan for what is in the folder now.
    pub(super) fn of(folder: &Folder) -> Self {
        Self::new(&folder.world, folder.gateways.values())
    }

    fn new<'g>(
        world: &World,
        gateways: impl Iterator<Item = &'g BTreeMap<String, String>> + Clone,
    ) -> Self {
        let mut plan = Self::default();
        let mut holders: BTreeMap<Ipv4Addr, WorkloadId> = BTreeMap::new();
        for workload in world.workloads() {
            let id = &workload.id;
            let address = match place(workload) {
                Ok(address) => address,
                Err(complaint) => {
                    plan.complaints.push(complaint);
                    continue;
                }
            };
            if let Some(other) = holders.insert(address, id.clone()) {
                plan.complaints.push(format!(
                    "{id} and {other} both have the address {address}; give each its own"
                ));
                continue;
            }
            let is_gateway = gateways.clone().any(|selector| chosen(selector, workload));
            let role = if is_gateway {
                ProxyRole::Gateway
            } else {
                ProxyRole::Sidecar
            };
            let ways = ways(world, id, role);
            let planned = Planned {
                role,
                address,
                ways,
            };
            plan.proxies.insert(id.clone(), planned);
        }
        let empty = |selector: &&BTreeMap<String, String>| {
            let mut workloads = world.workloads();
            !selector.is_empty() && !workloads.any(|workload| chosen(selector, workload))
        };
        plan.unserved = gateways.filter(empty).cloned().collect();
        plan
    }

    /// An address near the control plane's that no workload has.
    pub(super) fn free_address(&self, near: Ipv4Addr, taken: &BTreeSet<Ipv4Addr>) -> Ipv4Addr {
        let [first, second, third, _] = near.octets();
        let mut candidates = (1..=250).map(|last| Ipv4Addr::new(first, second, third, last));
        let is_free = |address: &Ipv4Addr| {
            *address != near
                && !taken.contains(address)
                && self.proxies.values().all(|proxy| proxy.address != *address)
        };
        candidates.find(is_free).unwrap_or(near)
    }
}

/// Whether a Gateway's selector finds a workload.
fn chosen(selector: &BTreeMap<String, String>, workload: &WorkloadInfo) -> bool {
    !selector.is_empty() && selects(pairs(selector), &workload.labels)
}

/// Where a workload's proxy is to listen.
fn place(workload: &WorkloadInfo) -> Result<Ipv4Addr, String> {
    let id = &workload.id;
    let Some(address) = workload.addresses.first() else {
        return Err(format!(
            "{id} has no IP address, so no proxy can stand for it here; give it 127.x.y.z"
        ));
    };
    match address.to_canonical() {
        IpAddr::V4(address) if address.is_loopback() => Ok(address),
        IpAddr::V4(_) | IpAddr::V6(_) => Err(format!(
            "{id} is at {address}, which is not an address 127.x.y.z of this machine; it gets no \
             proxy, but can be called if it is reachable"
        )),
    }
}

/// What a proxy's own configuration makes it listen at.
fn ways(world: &World, id: &WorkloadId, role: ProxyRole) -> Vec<Way> {
    let Some(scope) = ProxyScope::new(world, id, role, CaptureMode::Explicit) else {
        return Vec::new();
    };
    let compiled = compile(world, &scope);
    let decoded = compiled
        .iter()
        .filter_map(|(_, encoded)| convert::decode(&encoded.to_wire()).ok());
    let mut ways: Vec<Way> = decoded
        .filter_map(|entry| match entry.resource {
            Resource::Listener(listener) => way(&listener),
            Resource::Settings(_)
            | Resource::Workload(_)
            | Resource::Policy(_)
            | Resource::Endpoints(_)
            | Resource::Cluster(_)
            | Resource::Routes(_) => None,
        })
        .collect();
    ways.sort();
    ways
}

fn way(listener: &Listener) -> Option<Way> {
    let Bind::Socket(socket) = listener.bind else {
        return None;
    };
    match &listener.kind {
        ListenerKind::Inbound(inbound) => Some(Way::In(
            socket,
            match inbound.target {
                InboundTarget::Address(address) => Some(address),
                InboundTarget::OriginalDestination => None,
            },
        )),
        ListenerKind::Gateway(gateway) => {
            let spoken = match &gateway.protocol {
                GatewayProtocol::Http { .. } => "http".to_owned(),
                GatewayProtocol::Tcp(_) => "tcp".to_owned(),
                GatewayProtocol::TlsPassthrough(_) => "tls".to_owned(),
                GatewayProtocol::Refuse { reason } => format!("refuses everything: {reason}"),
            };
            Some(Way::FromOutside(socket, spoken))
        }
        ListenerKind::Outbound(outbound) if outbound.http.is_some() => Some(Way::OutHttp(socket)),
        ListenerKind::Outbound(outbound) => {
            let tls = outbound.tls.rules.iter().map(|rule| &*rule.destinations);
            let tcp = outbound.tcp.rules.iter().map(|rule| &*rule.destinations);
            Some(Way::OutTcp(socket, destinations(tls.chain(tcp))))
        }
        ListenerKind::OutboundCapture { .. } | ListenerKind::InboundCapture { .. } => None,
    }
}

/// The names of all that is behind a port.
fn destinations<'d>(all: impl Iterator<Item = &'d Destinations>) -> String {
    let names: BTreeSet<String> = all
        .flat_map(Destinations::list)
        .map(|one| match &one.target {
            Target::Cluster(name) => name.to_string(),
            Target::Fail(failure) => format!("nothing ({})", failure.reason),
        })
        .collect();
    let names: Vec<String> = names.into_iter().collect();
    names.join(", ")
}
