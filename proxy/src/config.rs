//! The configuration in use: a snapshot and the running objects built from it.
//!
//! A push ends here. [`apply`] builds the next [`ActiveConfig`] beside the one in use, keeping
//! everything that did not change; [`live`] swaps one pointer; every worker sees it at its next
//! request through its [`view`]. Nothing in here changes after it was built, except the shared
//! counters that clusters and endpoints carry from version to version.

pub mod apply;
pub mod hosts;
pub mod live;
pub mod rules;
pub mod view;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use mesh_api::destination::{AtPort, Table};
use mesh_api::listener::{Bind, Listener, ListenerKind, RouteSelection, UnmatchedTraffic};
use mesh_api::name::{ClusterName, ListenerName, PolicyName};
use mesh_api::policy::Policy;
use mesh_api::route::NormalForm;
use mesh_api::settings::{AccessLogMode, ProxySettings};
use mesh_api::snapshot::Snapshot;
use mesh_api::workload::{Peer, Workload};

pub use hosts::{HostLookup, HostTables};
pub use rules::{HostRoutes, RouteRule};
pub use view::WorkerConfig;

use crate::upstream::{ClusterId, ClusterState};

type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// One version of the configuration in its running form; immutable.
#[derive(Debug, Default)]
pub struct ActiveConfig {
    sequence: u64,
    snapshot: Arc<Snapshot>,
    own: Arc<Peer>,
    listeners: FastMap<ListenerName, Arc<Listener>>,
    destinations: Arc<Table>,
    /// The rules of listeners with sockets of their own that look connections up.
    rules: FastMap<ListenerName, Arc<AtPort>>,
    /// Listeners for redirected inbound connections, by port.
    inbound: FastMap<u16, Arc<Listener>>,
    unmatched: Option<UnmatchedTraffic>,
    hosts: HostTables,
    clusters: ClusterTable,
    policies: FastMap<PolicyName, Arc<Policy>>,
    settings: ProxySettings,
    workloads: FastMap<IpAddr, Arc<PeerWorkload>>,
}

/// A workload as telemetry needs it.
#[derive(Debug)]
pub struct PeerWorkload {
    /// The resource.
    pub workload: Arc<Workload>,
    /// What metrics say about it.
    pub peer: Arc<Peer>,
}

/// The clusters, found by name when configuration is built and by number per request.
///
/// A cluster keeps its number for as long as its name exists, so that routes that did not change
/// need not be built again when endpoints do.
#[derive(Debug, Default)]
pub(crate) struct ClusterTable {
    by_name: FastMap<ClusterName, ClusterId>,
    inbound: FastMap<ListenerName, ClusterId>,
    states: Vec<Option<Arc<ClusterState>>>,
}

impl ClusterTable {
    fn state(&self, id: ClusterId) -> Option<&Arc<ClusterState>> {
        self.states.get(id.index()).and_then(Option::as_ref)
    }
}

impl ActiveConfig {
    /// How many versions were applied before this one, this one included; 0 before the first.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What the control plane sent.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// What telemetry says about this proxy's workload.
    pub fn own(&self) -> &Arc<Peer> {
        &self.own
    }

    /// A listener by name.
    pub fn listener(&self, name: &ListenerName) -> Option<&Arc<Listener>> {
        self.listeners.get(name)
    }

    /// All listeners.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.listeners.values()
    }

    /// What redirected outbound connections meet.
    pub fn destinations(&self) -> &Table {
        &self.destinations
    }

    /// What connections meet at a listener with a socket of its own; `None` if it is not there or
    /// does not look connections up.
    pub fn rules_of(&self, listener: &ListenerName) -> Option<&Arc<AtPort>> {
        self.rules.get(listener)
    }

    /// The listener for inbound connections redirected on their way to `destination`, a port of
    /// the local application.
    pub fn lookup_inbound(&self, destination: SocketAddr) -> Option<&Arc<Listener>> {
        self.inbound.get(&destination.port())
    }

    /// What happens to redirected outbound traffic the mesh does not know; `None` where nothing
    /// is redirected.
    pub fn unmatched(&self) -> Option<UnmatchedTraffic> {
        self.unmatched
    }

    /// The virtual host that answers for an authority, already split and lower-cased.
    pub fn virtual_host(
        &self,
        selection: &RouteSelection,
        host: &str,
        port: Option<u16>,
    ) -> Option<&Arc<HostRoutes>> {
        self.hosts.find(selection, host, port)
    }

    /// All tables of virtual hosts.
    pub fn hosts(&self) -> &HostTables {
        &self.hosts
    }

    /// A cluster by name.
    pub fn cluster(&self, name: &ClusterName) -> Option<&Arc<ClusterState>> {
        self.clusters.state(*self.clusters.by_name.get(name)?)
    }

    /// A cluster by number.
    pub fn cluster_by_id(&self, id: ClusterId) -> Option<&Arc<ClusterState>> {
        self.clusters.state(id)
    }

    /// The cluster that stands for the application behind an inbound listener.
    pub fn inbound_cluster(&self, listener: &ListenerName) -> Option<&Arc<ClusterState>> {
        self.clusters.state(*self.clusters.inbound.get(listener)?)
    }

    /// All clusters, those of inbound listeners included.
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<ClusterState>> {
        self.clusters.states.iter().flatten()
    }

    /// The form of paths that is matched and forwarded.
    pub fn paths(&self) -> NormalForm {
        self.settings.paths
    }

    /// How long the mesh lets clients say nothing where the protocol is to be found out; zero:
    /// for ever, `None`: what this proxy was started with.
    pub fn detection_timeout(&self) -> Option<Duration> {
        self.settings.detection_timeout
    }

    /// How long the mesh lets clients send or take nothing while a request runs; `None`: it says
    /// nothing.
    pub fn stream_idle_timeout(&self) -> Option<Duration> {
        self.settings.stream_idle_timeout
    }

    /// How long it lets HTTP connections have no request; `None`: it says nothing.
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.settings.idle_timeout
    }

    /// Whether the mesh wants requests logged, and how; `None`: as this proxy was started.
    pub fn access_log(&self) -> Option<AccessLogMode> {
        self.settings.access_log
    }

    /// A policy by name.
    pub fn policy(&self, name: &PolicyName) -> Option<&Arc<Policy>> {
        self.policies.get(name)
    }

    /// Whether the policies are those of another configuration.
    pub fn has_policies_of(&self, other: &Self) -> bool {
        self.policies == other.policies
    }

    /// The workload behind an address.
    pub fn workload(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.workloads
            .get(&address.to_canonical())
            .map(|found| &found.workload)
    }

    /// What telemetry says about the workload behind an address.
    pub fn peer(&self, address: IpAddr) -> Option<&Arc<Peer>> {
        self.workloads
            .get(&address.to_canonical())
            .map(|found| &found.peer)
    }
}

/// The port of a listener for redirected inbound connections.
fn inbound_port(listener: &Listener) -> Option<u16> {
    match (&listener.kind, &listener.bind) {
        (ListenerKind::Inbound(_), Bind::OriginalDestination { port, .. }) => Some(port.value()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
