//! Clusters at run time: which endpoint, over which connection, under which limits, and when to
//! try again.
//!
//! [`ClusterState`] and [`EndpointState`] are part of the configuration and shared by all
//! workers; [`pool`] is one worker's connections, which live as long as the endpoint they lead
//! to. One request passes through [`retry`] → [`attempt`] → [`balancer`] → [`pool`] or
//! [`connect`].

pub mod attempt;
pub mod balancer;
pub mod connect;
pub mod dns;
pub mod endpoint;
mod http2;
mod interim;
mod late_answer;
pub mod lease;
pub mod limits;
pub mod local;
mod peer_limits;
pub mod pool;
pub mod retry;
pub mod ring;
pub mod tcp;
pub mod worker;

use std::sync::{Arc, OnceLock};

use mesh_api::cluster::{Cluster, ClusterEndpoints, ConsistentHash, HashAlgorithm, LoadBalancer};
use mesh_api::endpoint::Health;
use mesh_api::workload::ServiceIdentity;

pub use endpoint::EndpointState;
pub use lease::{LeasedConnection, UpstreamLease};
pub use limits::{ClusterShared, Grant};
pub use local::{LocalCluster, LocalEndpoint};
pub use pool::Rights;
pub use tcp::{TcpUpstream, connect_tcp};
pub use worker::Upstreams;

use ring::Ring;

/// The number of a cluster, stable for as long as a cluster of its name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(usize);

impl ClusterId {
    /// The cluster at a place of the table.
    pub(crate) const fn new(index: usize) -> Self {
        Self(index)
    }

    /// The place in the table.
    pub(crate) const fn index(self) -> usize {
        self.0
    }
}

/// A cluster at run time: its settings, its endpoints, and what its requests count.
#[derive(Debug)]
pub struct ClusterState {
    id: ClusterId,
    cluster: Arc<Cluster>,
    name: Arc<str>,
    service: Arc<ServiceIdentity>,
    endpoints: Vec<Arc<EndpointState>>,
    candidates: Candidates,
    ring: OnceLock<Ring>,
    shared: Arc<ClusterShared>,
}

/// The endpoints the balancer may pick, by place.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Those that may be used: the healthy ones, or the draining ones if there are no others.
    pub places: Vec<u32>,
    /// Running sums of their weights; empty if all weigh the same.
    pub sums: Vec<u64>,
}

impl Candidates {
    fn new(endpoints: &[Arc<EndpointState>]) -> Self {
        let of = |health: Health| {
            let places = (0_u32..).zip(endpoints);
            let chosen = places.filter(|(_, endpoint)| endpoint.endpoint().health == health);
            chosen.map(|(place, _)| place).collect::<Vec<u32>>()
        };
        let healthy = of(Health::Healthy);
        let places = if healthy.is_empty() {
            of(Health::Draining)
        } else {
            healthy
        };
        let weight = |place: &u32| {
            usize::try_from(*place)
                .ok()
                .and_then(|place| endpoints.get(place))
                .map_or(1, |endpoint| u64::from(endpoint.endpoint().weight.max(1)))
        };
        let first = places.first().map(weight);
        let alike = places.iter().all(|place| Some(weight(place)) == first);
        let sums = if alike {
            Vec::new()
        } else {
            let running = places.iter().scan(0_u64, |sum, place| {
                *sum += weight(place);
                Some(*sum)
            });
            running.collect()
        };
        Self { places, sums }
    }

    /// The endpoint in whose share `draw`, any uniformly distributed number, falls.
    pub fn at(&self, draw: u64) -> Option<usize> {
        let count = u64::try_from(self.places.len())
            .ok()
            .filter(|count| *count > 0)?;
        let index = match self.sums.last() {
            None => usize::try_from(draw % count).ok()?,
            Some(total) => {
                let point = draw % (*total).max(1);
                self.sums.partition_point(|sum| *sum <= point)
            }
        };
        self.places
            .get(index)
            .and_then(|place| usize::try_from(*place).ok())
    }
}

impl ClusterState {
    /// A cluster nobody has used yet.
    pub fn new(id: ClusterId, cluster: Arc<Cluster>, endpoints: Vec<Arc<EndpointState>>) -> Self {
        let shared = Arc::new(ClusterShared::default());
        let name = Arc::from(cluster.name.to_string());
        Self::build(id, name, cluster, endpoints, shared)
    }

    /// The same cluster with other settings or endpoints; its counts stay.
    #[must_use]
    pub fn with(&self, cluster: Arc<Cluster>, endpoints: Vec<Arc<EndpointState>>) -> Self {
        let name = if cluster.name == self.cluster.name {
            Arc::clone(&self.name)
        } else {
            Arc::from(cluster.name.to_string())
        };
        Self::build(self.id, name, cluster, endpoints, Arc::clone(&self.shared))
    }

    fn build(
        id: ClusterId,
        name: Arc<str>,
        cluster: Arc<Cluster>,
        endpoints: Vec<Arc<EndpointState>>,
        shared: Arc<ClusterShared>,
    ) -> Self {
        Self {
            id,
            name,
            service: Arc::new(cluster.service.clone()),
            candidates: Candidates::new(&endpoints),
            endpoints,
            ring: OnceLock::new(),
            cluster,
            shared,
        }
    }

    /// Its number.
    pub fn id(&self) -> ClusterId {
        self.id
    }

    /// Its name as it is printed.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its settings.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The service it belongs to.
    pub fn service(&self) -> &Arc<ServiceIdentity> {
        &self.service
    }

    /// All endpoints, those that are going included.
    pub fn endpoints(&self) -> &[Arc<EndpointState>] {
        &self.endpoints
    }

    /// Whether its endpoints are listed, rather than found per connection.
    pub(crate) fn lists_endpoints(&self) -> bool {
        match self.cluster.endpoints {
            ClusterEndpoints::Discovered { .. } | ClusterEndpoints::Dns { .. } => true,
            ClusterEndpoints::OriginalDestination | ClusterEndpoints::Refused(_) => false,
        }
    }

    /// The endpoints that may be picked.
    pub fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    /// What its requests count, over all workers and versions.
    pub fn shared(&self) -> &Arc<ClusterShared> {
        &self.shared
    }

    /// Whether these are its endpoints, object by object.
    pub(crate) fn has_endpoints(&self, others: &[Arc<EndpointState>]) -> bool {
        self.endpoints.len() == others.len()
            && self
                .endpoints
                .iter()
                .zip(others)
                .all(|(a, b)| Arc::ptr_eq(a, b))
    }

    /// The ring of a consistently hashed cluster; built when first used, shared by all workers.
    pub(crate) fn ring(&self) -> Option<&Ring> {
        let LoadBalancer::ConsistentHash(ConsistentHash { algorithm, .. }) = &self.cluster.balancer
        else {
            return None;
        };
        let size = match algorithm {
            HashAlgorithm::Ring { minimum_size } => *minimum_size,
            HashAlgorithm::Maglev { table_size } => *table_size,
        };
        Some(self.ring.get_or_init(|| {
            let usable = self.candidates.places.iter();
            let usable = usable.filter_map(|place| {
                let index = usize::try_from(*place).ok()?;
                Some((*place, self.endpoints.get(index)?))
            });
            Ring::new(usable, size)
        }))
    }
}
