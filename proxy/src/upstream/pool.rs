//! One worker's connections to the endpoints of a cluster.
//!
//! Pools belong to a cluster and an address, not to a version of the configuration: a push that
//! leaves an endpoint where it is leaves its connections alone. A pool whose endpoint is gone is
//! retired: idle connections close, busy ones close with their request.

pub mod http1;
pub mod http2;

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use mesh_api::cluster::{Cluster, ConnectionLimits};
use mesh_api::endpoint::EndpointAddress;
use tokio::sync::Notify;
use tokio::time::Instant;

pub use http1::{Http1Connection, Http1Lease};
pub use http2::{Http2Connection, Http2Stream};

use super::limits::EndpointShared;
use super::{ClusterId, ClusterShared, ClusterState, EndpointState, Grant};
use crate::net::sockets::SocketPermit;

/// This worker's connections to one cluster, and where its balancer stands.
#[derive(Debug)]
pub struct ClusterPools {
    id: ClusterId,
    shared: Arc<ClusterShared>,
    cluster: RefCell<Arc<Cluster>>,
    endpoints: RefCell<HashMap<EndpointAddress, Rc<EndpointPool>, foldhash::fast::RandomState>>,
    /// A connection ended or became idle: whoever waits for one looks again.
    freed: Notify,
    waiting: Cell<u32>,
    cursor: Cell<u64>,
}

/// This worker's connections to one endpoint.
pub struct EndpointPool {
    shared: Arc<EndpointShared>,
    idle: RefCell<Vec<http1::Idle>>,
    http2: RefCell<Vec<Rc<Http2Connection>>>,
    /// Whether an HTTP/2 connection is being made; others wait for it instead of making more.
    dialing: Cell<bool>,
    dialed: Notify,
    open: Cell<u32>,
    active: Cell<u32>,
    retired: Cell<bool>,
}

/// Idle connections to one endpoint; the greatest is whoever has most, and of equal ones the oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Idle {
    count: usize,
    oldest: Reverse<Instant>,
}

impl fmt::Debug for EndpointPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointPool")
            .field("idle", &self.idle.borrow().len())
            .field("http2", &self.http2.borrow().len())
            .field("open", &self.open.get())
            .field("active", &self.active.get())
            .field("retired", &self.retired.get())
            .finish_non_exhaustive()
    }
}

/// A connection that is open; whoever drives the connection holds this until it ends.
#[derive(Debug)]
pub struct OpenConnection {
    pool: Rc<EndpointPool>,
    pools: Rc<ClusterPools>,
    _rights: Rights,
}

/// What it takes to open a connection: the cluster's right to one more, and a socket.
#[derive(Debug)]
pub struct Rights {
    /// Of the cluster.
    pub grant: Grant,
    /// Of the process.
    pub socket: SocketPermit,
}

impl OpenConnection {
    pub(crate) fn new(pools: &Rc<ClusterPools>, pool: &Rc<EndpointPool>, rights: Rights) -> Self {
        pool.open.set(pool.open.get() + 1);
        pool.shared.connections.fetch_add(1, Ordering::Relaxed);
        pools
            .shared
            .events
            .connections
            .fetch_add(1, Ordering::Relaxed);
        Self {
            pool: Rc::clone(pool),
            pools: Rc::clone(pools),
            _rights: rights,
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.pool.open.set(self.pool.open.get().saturating_sub(1));
        self.pool.shared.connections.fetch_sub(1, Ordering::Relaxed);
        // The rights are given back when this is gone; who waits looks after that.
        self.pools.wake_waiting();
    }
}

/// A request that is active; its cluster counts it until this is dropped.
///
/// It refers to the cluster through the worker's own pools: a reference count that all workers
/// share would be fought over by every request.
#[derive(Debug)]
pub struct ActiveRequest {
    pools: Rc<ClusterPools>,
    worker: usize,
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.pools.shared.deactivate(self.worker);
    }
}

/// A request or connection that an endpoint is busy with; counted until dropped.
#[derive(Debug)]
pub struct Busy(Rc<EndpointPool>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get().saturating_sub(1));
    }
}

impl ClusterPools {
    pub(crate) fn new(state: &ClusterState) -> Self {
        Self {
            id: state.id(),
            shared: Arc::clone(state.shared()),
            cluster: RefCell::new(Arc::clone(state.cluster())),
            endpoints: RefCell::default(),
            freed: Notify::new(),
            waiting: Cell::new(0),
            cursor: Cell::new(rand::random()),
        }
    }

    /// Counts a request as active until the guard is dropped.
    pub(crate) fn activate(self: &Rc<Self>, worker: usize) -> ActiveRequest {
        self.shared.activate(worker);
        ActiveRequest {
            pools: Rc::clone(self),
            worker,
        }
    }

    /// What the cluster counts over all workers.
    pub(crate) fn shared(&self) -> &Arc<ClusterShared> {
        &self.shared
    }

    pub(crate) fn id(&self) -> ClusterId {
        self.id
    }

    /// Whether connections made for this cluster may be used under these settings.
    pub(crate) fn fits(&self, state: &ClusterState) -> bool {
        if !Arc::ptr_eq(&self.shared, state.shared()) {
            // Another cluster with the same number.
            return false;
        }
        let ours = self.cluster.borrow();
        let theirs = state.cluster();
        Arc::ptr_eq(&ours, theirs)
            || (ours.protocol == theirs.protocol
                && ours.tls == theirs.tls
                && ours.proxy_protocol == theirs.proxy_protocol
                && ours.tunnel == theirs.tunnel
                && ours.limits.keepalive == theirs.limits.keepalive
                && ours.limits.http2_keepalive == theirs.limits.http2_keepalive)
    }

    /// Takes over settings that need no new connections.
    pub(crate) fn refresh(&self, state: &ClusterState) {
        *self.cluster.borrow_mut() = Arc::clone(state.cluster());
    }

    /// Asks something of the cluster's limits.
    fn limits<T>(&self, ask: impl FnOnce(&ConnectionLimits) -> T) -> T {
        ask(&self.cluster.borrow().limits)
    }

    /// The pool of an endpoint.
    pub(crate) fn endpoint(&self, state: &EndpointState) -> Rc<EndpointPool> {
        let address = &state.endpoint().address;
        let mut endpoints = self.endpoints.borrow_mut();
        if let Some(pool) = endpoints.get(address) {
            return Rc::clone(pool);
        }
        let pool = Rc::new(EndpointPool::new(Arc::clone(state.shared())));
        endpoints.insert(address.clone(), Rc::clone(&pool));
        pool
    }

    /// Lets go of endpoints the cluster no longer has.
    pub(crate) fn prune(&self, state: &ClusterState) {
        self.refresh(state);
        let addresses: Vec<&EndpointAddress> = state
            .endpoints()
            .iter()
            .map(|endpoint| &endpoint.endpoint().address)
            .collect();
        let listed = state.lists_endpoints();
        self.endpoints.borrow_mut().retain(|address, pool| {
            let keep = if listed {
                addresses.contains(&address)
            } else {
                pool.open.get() > 0
            };
            if !keep {
                pool.retire();
            }
            keep
        });
        // A raised limit lets waiting requests go.
        self.wake_waiting();
    }

    /// Lets go of every endpoint.
    pub(crate) fn retire(&self) {
        for (_, pool) in self.endpoints.borrow_mut().drain() {
            pool.retire();
        }
    }

    /// Closes what has been idle for too long.
    pub(crate) fn sweep(&self) {
        let limit = self.limits(|limits| limits.http_idle_timeout);
        let now = Instant::now();
        for pool in self.endpoints.borrow().values() {
            pool.sweep(now, limit);
        }
    }

    /// The endpoint with most idle connections.
    pub(crate) fn idlest(&self) -> Option<(Idle, Rc<EndpointPool>)> {
        let pools = self.endpoints.borrow();
        let idle = pools
            .values()
            .filter_map(|pool| Some((pool.idle()?, Rc::clone(pool))));
        idle.max_by_key(|(idle, _)| *idle)
    }

    /// Where the round-robin balancer stands; moves on.
    pub(crate) fn next_turn(&self) -> u64 {
        let turn = self.cursor.get();
        self.cursor.set(turn.wrapping_add(1));
        turn
    }

    /// Waits until a connection ended or became idle.
    pub(crate) async fn freed(&self) {
        let _waiting = Waiting::new(&self.waiting);
        self.freed.notified().await;
    }

    fn wake_waiting(&self) {
        if self.waiting.get() > 0 {
            self.freed.notify_waiters();
        }
    }
}

struct Waiting<'a>(&'a Cell<u32>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<u32>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl EndpointPool {
    fn new(shared: Arc<EndpointShared>) -> Self {
        Self {
            shared,
            idle: RefCell::default(),
            http2: RefCell::default(),
            dialing: Cell::new(false),
            dialed: Notify::new(),
            open: Cell::new(0),
            active: Cell::new(0),
            retired: Cell::new(false),
        }
    }

    /// Requests this worker has at the endpoint now.
    pub fn active(&self) -> u32 {
        self.active.get()
    }

    /// Whether somebody is making an HTTP/2 connection.
    pub(crate) fn is_dialing(&self) -> bool {
        self.dialing.get()
    }

    /// Whether this worker has no connection to the endpoint.
    pub(crate) fn is_unconnected(&self) -> bool {
        self.open.get() == 0
    }

    /// Counts a request or connection until the guard is dropped.
    pub(crate) fn busy(self: &Rc<Self>) -> Busy {
        self.active.set(self.active.get() + 1);
        Busy(Rc::clone(self))
    }

    /// Its idle connections; `None` if there are none.
    fn idle(&self) -> Option<Idle> {
        let (http1, http2) = (self.idle.borrow(), self.http2.borrow());
        let shared = http2.iter().filter_map(|one| one.idle_since());
        // The one used last is taken first, so the first one is the oldest.
        let alone = http1.first().map(http1::Idle::since);
        let count = http1.len() + shared.clone().count();
        let oldest = alone.into_iter().chain(shared).min()?;
        Some(Idle {
            count,
            oldest: Reverse(oldest),
        })
    }

    /// Closes the connection that has been idle for longest.
    pub(crate) fn close_oldest(&self) {
        let alone = self.idle.borrow().first().map(http1::Idle::since);
        let mut http2 = self.http2.borrow_mut();
        let shared = http2
            .iter()
            .enumerate()
            .filter_map(|(place, one)| Some((one.idle_since()?, place)))
            .min();
        let shared = shared.filter(|(since, _)| alone.is_none_or(|alone| *since < alone));
        if let Some((_, place)) = shared {
            http2.remove(place);
        } else if alone.is_some() {
            self.idle.borrow_mut().remove(0);
        }
    }

    fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
        self.http2.borrow_mut().clear();
    }

    fn sweep(&self, now: Instant, limit: Option<std::time::Duration>) {
        let stale = |since: Instant| limit.is_some_and(|limit| now.duration_since(since) > limit);
        self.idle
            .borrow_mut()
            .retain(|idle| !idle.is_closed() && !stale(idle.since()));
        self.http2
            .borrow_mut()
            .retain(|one| one.is_usable() && one.idle_since().is_none_or(|since| !stale(since)));
    }
}
