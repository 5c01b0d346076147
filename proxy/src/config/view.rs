//! One worker's view of a configuration: the shared, immutable part, and beside it what only
//! this worker holds of every cluster.
//!
//! A view is made when a worker first sees a version; a request keeps the one it began with.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use mesh_api::name::ClusterName;

use super::ActiveConfig;
use crate::telemetry::{
    Protocol, Reporter, RequestSeries, Security, SeriesKey, SeriesPair, Service, WorkerTelemetry,
};
use crate::upstream::{ClusterId, ClusterState, LocalCluster, Upstreams};

/// A configuration as one worker sees it.
#[derive(Debug)]
pub struct WorkerConfig {
    /// The shared part.
    pub active: Arc<ActiveConfig>,
    clusters: RefCell<Vec<Option<Rc<LocalCluster>>>>,
    unrouted: SeriesPair,
}

impl WorkerConfig {
    /// The view of `active`; what did not change since `previous` is taken over.
    pub fn new(active: Arc<ActiveConfig>, previous: Option<&Self>) -> Self {
        let kept = |id: ClusterId, state: &Arc<ClusterState>| {
            let previous = previous?;
            let clusters = previous.clusters.borrow();
            let local = clusters.get(id.index())?.as_ref()?;
            local.shows(state, active.own()).then(|| Rc::clone(local))
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

    /// The key of what comes in from `peer`. A workload that is not known yet is asked for.
    pub fn inbound_key(
        &self,
        peer: IpAddr,
        service: Service,
        protocol: Protocol,
        telemetry: &WorkerTelemetry,
    ) -> SeriesKey {
        let known = self.active.peer(peer);
        if known.is_none() {
            telemetry.want_workload(peer);
        }
        SeriesKey {
            reporter: Reporter::Destination,
            source: known.map(Arc::clone).unwrap_or_default(),
            destination: Arc::clone(self.active.own()),
            service,
            protocol,
            security: Security::Plaintext,
        }
    }
}
