//! One worker's view of a cluster: the shared, immutable part, and beside it what only this
//! worker holds (connection pools, metric series), found without hashing.

use std::cell::{OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;
use mesh_api::cluster::ClusterEndpoints;
use mesh_api::endpoint::{Endpoint, EndpointAddress, Health};
use mesh_api::name::ClusterName;
use mesh_api::workload::{Labels, Locality, Peer};

use super::pool::{ClusterPools, EndpointPool};
use super::{ClusterState, EndpointState, Upstreams};
use crate::telemetry::{
    Protocol, Reporter, RequestSeries, Security, SeriesKey, SeriesPair, Service, TcpSeries,
    WorkerTelemetry,
};

/// Destinations of one original-destination cluster a worker remembers at once.
const MAX_ORIGINAL_DESTINATIONS: usize = 1_024;

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

impl LocalCluster {
    /// The view of `state`, for a proxy whose workload is `own`.
    pub fn new(state: Arc<ClusterState>, own: Arc<Peer>, upstreams: &Upstreams) -> Self {
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

    /// Whether this is the view of `state` for a proxy whose workload is `own`.
    pub fn shows(&self, state: &Arc<ClusterState>, own: &Arc<Peer>) -> bool {
        Arc::ptr_eq(&self.state, state) && Arc::ptr_eq(&self.own, own)
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
