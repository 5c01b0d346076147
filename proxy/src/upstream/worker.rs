//! One worker's connections to every cluster, kept over configuration changes.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::cluster::ClusterEndpoints;
use mesh_api::name::ClusterName;

use super::dns::Resolver;
use super::pool::ClusterPools;
use super::{ClusterId, ClusterState};
use crate::bootstrap::Settings;
use crate::error::Limit;
use crate::net::sockets::{SocketBudget, SocketPermit};
use crate::net::territory::{Forbidden, Purpose, Territory};

/// How often idle connections are looked through.
const SWEEP: Duration = Duration::from_secs(5);

/// One worker's connections.
#[derive(Debug)]
pub struct Upstreams {
    pools: Rc<RefCell<Vec<Option<Rc<ClusterPools>>>>>,
    settings: Arc<Settings>,
    resolver: Resolver,
    sockets: SocketBudget,
    sweeping: Cell<bool>,
    worker: usize,
}

impl Upstreams {
    /// No connections yet; `worker` says whose they are to be.
    pub fn new(worker: usize, settings: &Arc<Settings>, sockets: SocketBudget) -> Self {
        Self {
            pools: Rc::default(),
            settings: Arc::clone(settings),
            resolver: Resolver::default(),
            sockets,
            sweeping: Cell::new(false),
            worker,
        }
    }

    /// Whose connections these are, from 0.
    pub fn worker(&self) -> usize {
        self.worker
    }

    /// The pools of a cluster: those there are, if they still fit its settings.
    pub(crate) fn pools(&self, state: &ClusterState) -> Rc<ClusterPools> {
        let index = state.id().index();
        let mut all = self.pools.borrow_mut();
        if all.len() <= index {
            all.resize_with(index + 1, || None);
        }
        let Some(slot) = all.get_mut(index) else {
            return Rc::new(ClusterPools::new(state));
        };
        if let Some(known) = slot {
            if known.fits(state) {
                known.refresh(state);
                return Rc::clone(known);
            }
            known.retire();
        }
        let pools = Rc::new(ClusterPools::new(state));
        *slot = Some(Rc::clone(&pools));
        pools
    }

    /// Closes idle connections to what the configuration no longer has; `current` finds a
    /// cluster in it. Busy ones end with their request.
    pub fn prune<'c>(&self, current: impl Fn(ClusterId) -> Option<&'c Arc<ClusterState>>) {
        let mut all = self.pools.borrow_mut();
        for slot in all.iter_mut() {
            let Some(pools) = slot else { continue };
            let kept = current(pools.id()).filter(|state| pools.fits(state));
            if let Some(state) = kept {
                pools.prune(state);
            } else {
                pools.retire();
                *slot = None;
            }
        }
    }

    /// The right to open one more connection for a client that has so many requests under way. An
    /// idle connection goes where there is none left: one of this worker's, else one of another's.
    pub(crate) async fn socket(&self, under_way: u32) -> Result<SocketPermit, Limit> {
        if let Some(permit) = self.sockets.take(under_way) {
            return Ok(permit);
        }
        if give_one_up(&self.pools.borrow()) {
            return Ok(self.sockets.exceed());
        }
        // Rare, so not in everybody's future.
        let asking = Box::pin(self.sockets.ask(under_way));
        asking.await.ok_or_else(|| {
            metrics::counter!("proxy_upstream_connections_refused_total").increment(1);
            Limit::Sockets
        })
    }

    /// Resolves names of endpoints.
    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The address connections to a cluster come from, if it matters.
    pub(crate) fn source(&self, cluster: &ClusterName, destination: IpAddr) -> Option<IpAddr> {
        let source = match cluster {
            ClusterName::Inbound { .. } | ClusterName::InboundPassthrough => {
                self.settings.application_source(destination)
            }
            ClusterName::Outbound { .. } | ClusterName::Passthrough | ClusterName::BlackHole => {
                self.settings.upstream_source()
            }
        };
        source.filter(|source| source.is_ipv4() == destination.is_ipv4())
    }

    /// Whether connections of a cluster may go to an address.
    pub(crate) fn check(
        &self,
        (cluster, endpoints): (&ClusterName, &ClusterEndpoints),
        to: SocketAddr,
    ) -> Result<(), Forbidden> {
        let purpose = match cluster {
            ClusterName::Inbound { .. } | ClusterName::InboundPassthrough => Purpose::Application,
            ClusterName::Passthrough => Purpose::OriginalDestination,
            ClusterName::Outbound { .. } | ClusterName::BlackHole
                if *endpoints == ClusterEndpoints::OriginalDestination =>
            {
                Purpose::OriginalDestination
            }
            ClusterName::Outbound { .. } | ClusterName::BlackHole => Purpose::Endpoint,
        };
        Territory::of(self.settings.address).check(to, purpose)
    }

    /// Starts closing connections that have been idle for too long; ends with the worker.
    pub(crate) fn keep_swept(&self) {
        if self.sweeping.replace(true) {
            return;
        }
        let pools = Rc::downgrade(&self.pools);
        let sockets = self.sockets.clone();
        tokio::task::spawn_local(async move {
            let mut ticks = tokio::time::interval(SWEEP);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                let wanted = tokio::select! {
                    _now = ticks.tick() => false,
                    () = sockets.wanted() => true,
                };
                let Some(pools) = pools.upgrade() else { return };
                let pools = pools.borrow();
                if wanted {
                    give_one_up(&pools);
                    continue;
                }
                for pools in pools.iter().flatten() {
                    pools.sweep();
                }
            }
        });
    }
}

/// Closes the oldest idle connection to whichever endpoint has most; `false` if there is none.
fn give_one_up(pools: &[Option<Rc<ClusterPools>>]) -> bool {
    let idlest = pools.iter().flatten().filter_map(|pools| pools.idlest());
    let Some((_, pool)) = idlest.max_by_key(|(idle, _)| *idle) else {
        return false;
    };
    pool.close_oldest();
    metrics::counter!("proxy_upstream_connections_given_up_total").increment(1);
    true
}
