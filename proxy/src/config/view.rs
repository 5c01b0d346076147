//! One worker's view of a configuration: the shared, immutable part, and beside it what only
//! this worker holds (connection pools, metric series), found without hashing.
//!
//! A view is made when a worker first sees a version; a request keeps the one it began with.

use std::cell::{OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use mesh_api::cluster::ClusterEndpoints;
use mesh_api::endpoint::{Endpoint, EndpointAddress, Health};
use mesh_api::name::ClusterName;
use mesh_api::workload::{Labels, Locality, Peer};

use super::ActiveConfig;
use crate::telemetry::{
    Protocol, Reporter, RequestSeries, Security, SeriesKey, Service, TcpSeries, WorkerTelemetry,
};
use crate::upstream::pool::{ClusterPools, EndpointPool};
use crate::upstream::{ClusterId, ClusterState, EndpointState, Upstreams};

/// Destinations of one original-destination cluster a worker remembers at once.
const MAX_ORIGINAL_DESTINATIONS: usize = 1_024;

/// A configuration as one worker sees it.
#[derive(Debug)]
pub struct WorkerConfig {
    /// The shared part.
    pub active: Arc<ActiveConfig>,
    clusters: RefCell<Vec<Option<Rc<LocalCluster>>>>,
    unrouted: SeriesPair,
}

/// A cluster as one worker sees it.
#[derive(Debug)]
pub struct LocalCluster {
    state: Arc<ClusterState>,
    pools: Rc<ClusterPools>,
    endpoints: Vec<Rc<LocalEndpoint>>,
    originals: RefCell<HashMap<SocketAddr, Rc<LocalEndpoint>, foldhash::fast::RandomState>>,
    own: Arc<Peer>,
    unreached: SeriesPair,
}

/// An endpoint as one worker sees it.
#[derive(Debug)]
pub struct LocalEndpoint {
    state: Arc<EndpointState>,
    pool: Rc<EndpointPool>,
    series: SeriesPair,
    tcp: OnceCell<Rc<TcpSeries>>,
}

/// The metric series of HTTP and of gRPC requests, looked up when first needed.
#[derive(Debug, Default)]
pub struct SeriesPair {
    http: OnceCell<Rc<RequestSeries>>,
    grpc: OnceCell<Rc<RequestSeries>>,
}

impl SeriesPair {
    /// The series for one of the two; `key` is asked once.
    pub fn find(
        &self,
        grpc: bool,
        telemetry: &WorkerTelemetry,
        key: impl FnOnce(Protocol) -> SeriesKey,
    ) -> &Rc<RequestSeries> {
        let (cell, protocol) = if grpc {
            (&self.grpc, Protocol::Grpc)
        } else {
            (&self.http, Protocol::Http)
        };
        cell.get_or_init(|| telemetry.series(&key(protocol)))
    }
}

impl WorkerConfig {
    /// The view of `active`; what did not change since `previous` is taken over.
    pub fn new(active: Arc<ActiveConfig>, previous: Option<&Self>) -> Self {
        let kept = |id: ClusterId, state: &Arc<ClusterState>| {
            let previous = previous?;
            let clusters = previous.clusters.borrow();
            let local = clusters.get(id.index())?.as_ref()?;
            let same = Arc::ptr_eq(local.state(), state) && Arc::ptr_eq(&local.own, active.own());
            same.then(|| Rc::clone(local))
        };
        let mut clusters: Vec<Option<Rc<LocalCluster>>> = Vec::new();
        for state in active.clusters() {
            let index = state.id().index();
            if clusters.len() <= index {
                clusters.resize(index + 1, None);
            }
            if let Some(slot) = clusters.get_mut(index) {
                *slot = kept(state.id(), state);
            }
        }
        Self {
            clusters: RefCell::new(clusters),
            unrouted: SeriesPair::default(),
            active,
        }
    }

    /// A cluster with this worker's pools, by number.
    pub fn cluster(&self, id: ClusterId, upstreams: &Upstreams) -> Option<Rc<LocalCluster>> {
        if let Some(Some(local)) = self.clusters.borrow().get(id.index()) {
            return Some(Rc::clone(local));
        }
        let state = self.active.cluster_by_id(id)?;
        let local = Rc::new(LocalCluster::new(
            Arc::clone(state),
            Arc::clone(self.active.own()),
            upstreams,
        ));
        if let Some(slot) = self.clusters.borrow_mut().get_mut(id.index()) {
            *slot = Some(Rc::clone(&local));
        }
        Some(local)
    }

    /// A cluster with this worker's pools, by name.
    pub fn cluster_by_name(
        &self,
        name: &ClusterName,
        upstreams: &Upstreams,
    ) -> Option<Rc<LocalCluster>> {
        self.cluster(self.active.cluster(name)?.id(), upstreams)
    }

    /// A cluster with this worker's pools, by its shared part.
    pub fn cluster_of(
        &self,
        state: &Arc<ClusterState>,
        upstreams: &Upstreams,
    ) -> Option<Rc<LocalCluster>> {
        self.cluster(state.id(), upstreams)
    }

    /// The series of outbound requests that reached no service.
    pub fn unrouted(&self, grpc: bool, telemetry: &WorkerTelemetry) -> &Rc<RequestSeries> {
        self.unrouted.find(grpc, telemetry, |protocol| {
            self.outbound_key(Service::Unknown, protocol)
        })
    }

    /// The key of outbound requests to a service none of whose endpoints was chosen.
    pub fn outbound_key(&self, service: Service, protocol: Protocol) -> SeriesKey {
        SeriesKey {
            reporter: Reporter::Source,
            source: Arc::clone(self.active.own()),
            destination: Arc::default(),
            service,
            protocol,
            security: Security::Plaintext,
        }
    }
}

impl LocalCluster {
    fn new(state: Arc<ClusterState>, own: Arc<Peer>, upstreams: &Upstreams) -> Self {
        let pools = upstreams.pools(&state);
        let endpoints = state
            .endpoints()
            .iter()
            .map(|endpoint| Rc::new(LocalEndpoint::new(Arc::clone(endpoint), &pools)))
            .collect();
        Self {
            state,
            pools,
            endpoints,
            originals: RefCell::default(),
            own,
            unreached: SeriesPair::default(),
        }
    }

    /// The shared part.
    pub fn state(&self) -> &Arc<ClusterState> {
        &self.state
    }

    /// This worker's connections to the cluster.
    pub fn pools(&self) -> &Rc<ClusterPools> {
        &self.pools
    }

    /// The endpoints, in the shared part's order.
    pub fn endpoints(&self) -> &[Rc<LocalEndpoint>] {
        &self.endpoints
    }

    /// Whether connections go to where they were going before they were redirected.
    pub fn is_original_destination(&self) -> bool {
        matches!(
            self.state.cluster().endpoints,
            ClusterEndpoints::OriginalDestination
        )
    }

    /// The endpoint that stands for an original destination.
    pub fn original(&self, address: SocketAddr) -> Rc<LocalEndpoint> {
        let mut originals = self.originals.borrow_mut();
        if let Some(known) = originals.get(&address) {
            return Rc::clone(known);
        }
        if originals.len() >= MAX_ORIGINAL_DESTINATIONS {
            originals.clear();
        }
        let endpoint = Endpoint {
            address: EndpointAddress::Socket(address),
            labels: Labels::default(),
            weight: 1,
            health: Health::Healthy,
            locality: Locality::default(),
            network: Arc::from(""),
            mesh_tls: false,
            peer: Peer::default(),
        };
        let state = Arc::new(EndpointState::new(Arc::new(endpoint)));
        let local = Rc::new(LocalEndpoint::new(state, &self.pools));
        originals.insert(address, Rc::clone(&local));
        local
    }

    /// The service as metrics name it.
    pub fn service(&self) -> Service {
        match self.state.cluster().name {
            ClusterName::Outbound { .. } | ClusterName::Inbound { .. } => {
                Service::Known(Arc::clone(self.state.service()))
            }
            ClusterName::Passthrough => Service::Passthrough,
            ClusterName::BlackHole => Service::BlackHole,
            ClusterName::InboundPassthrough => Service::InboundPassthrough,
        }
    }

    /// The series of outbound requests for which no endpoint was chosen.
    pub fn unreached(&self, grpc: bool, telemetry: &WorkerTelemetry) -> &Rc<RequestSeries> {
        self.unreached.find(grpc, telemetry, |protocol| {
            self.outbound_key(Arc::default(), protocol)
        })
    }

    /// The series of outbound requests to an endpoint.
    pub fn series<'e>(
        &self,
        endpoint: &'e LocalEndpoint,
        grpc: bool,
        telemetry: &WorkerTelemetry,
    ) -> &'e Rc<RequestSeries> {
        endpoint.series.find(grpc, telemetry, |protocol| {
            self.outbound_key(Arc::clone(endpoint.state.peer()), protocol)
        })
    }

    /// The series of outbound connections to an endpoint.
    pub fn tcp_series<'e>(
        &self,
        endpoint: &'e LocalEndpoint,
        telemetry: &WorkerTelemetry,
    ) -> &'e Rc<TcpSeries> {
        endpoint.tcp.get_or_init(|| {
            let peer = Arc::clone(endpoint.state.peer());
            telemetry.tcp_series(&self.outbound_key(peer, Protocol::Tcp))
        })
    }

    fn outbound_key(&self, destination: Arc<Peer>, protocol: Protocol) -> SeriesKey {
        SeriesKey {
            reporter: Reporter::Source,
            source: Arc::clone(&self.own),
            destination,
            service: self.service(),
            protocol,
            security: Security::Plaintext,
        }
    }
}

impl LocalEndpoint {
    fn new(state: Arc<EndpointState>, pools: &ClusterPools) -> Self {
        Self {
            pool: pools.endpoint(&state),
            state,
            series: SeriesPair::default(),
            tcp: OnceCell::new(),
        }
    }

    /// The shared part.
    pub fn state(&self) -> &Arc<EndpointState> {
        &self.state
    }

    /// This worker's connections to it.
    pub fn pool(&self) -> &Rc<EndpointPool> {
        &self.pool
    }
}
