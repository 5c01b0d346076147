//! One worker: everything one thread needs to carry connections. What it does with them is in
//! [`crate::dispatch`].
//!
//! Nothing here is `Send`: a worker's state lives and dies on its thread, and tests run a worker
//! on a runtime of their own.

pub mod drains;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::authz::Sentry;
use crate::bootstrap::Settings;
use crate::budgets::Budgets;
use crate::config::WorkerConfig;
use crate::config::live::{ConfigCache, LiveConfig};
use crate::http::outbox::Buffers;
use crate::net::Way;
use crate::net::connections::Connections;
use crate::net::slots::ConnectionSlots;
use crate::telemetry::WorkerTelemetry;
use crate::upstream::Upstreams;
use drains::DrainWatches;

/// What all workers of a process share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// What the process was started with.
    pub settings: Arc<Settings>,
    /// The published configuration.
    pub live: Arc<LiveConfig>,
    /// What all peers together may cost.
    pub budgets: Budgets,
    /// Told when the process drains.
    pub drains: DrainWatches,
}

/// The state of one worker thread; used as `Rc<Worker>`.
pub struct Worker {
    /// Which worker, from 0.
    pub id: usize,
    /// What the process was started with.
    pub settings: Arc<Settings>,
    /// This worker's upstream connections and cursors.
    pub upstreams: Upstreams,
    /// This worker's metric cells and its way to the access log.
    pub telemetry: WorkerTelemetry,
    /// Told when the process drains; every connection holds a guard of the one it belongs to.
    pub drains: DrainWatches,
    /// The published configuration.
    pub live: Arc<LiveConfig>,
    /// The cap on downstream connections.
    pub slots: ConnectionSlots,
    /// Looks after everything that goes on by a permit.
    pub sentry: Sentry,
    /// What may be held in memory for this worker's clients.
    pub buffers: Rc<Buffers>,
    /// This worker's downstream connections.
    pub connections: Connections,
    /// The addresses this proxy listens on, admin ports aside.
    pub(crate) bound: RefCell<BTreeSet<SocketAddr>>,
    view: RefCell<View>,
}

struct View {
    cache: ConfigCache,
    config: Rc<WorkerConfig>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker; call it on the thread (and in the runtime) it is to live on.
    pub fn new(id: usize, shared: Shared, telemetry: WorkerTelemetry) -> Rc<Self> {
        let Shared {
            settings,
            live,
            budgets,
            drains,
        } = shared;
        let mut cache = live.cache();
        let config = Rc::new(WorkerConfig::new(Arc::clone(cache.load()), None));
        let upstreams = Upstreams::new(id, &settings, budgets.sockets);
        Rc::new(Self {
            id,
            settings,
            upstreams,
            telemetry,
            drains,
            sentry: Sentry::new(Arc::clone(&live)),
            live,
            slots: budgets.slots,
            buffers: budgets.buffers.of(id),
            connections: Connections::default(),
            bound: RefCell::default(),
            view: RefCell::new(View { cache, config }),
        })
    }

    /// The newest configuration as this worker sees it. One call per request or connection; hold
    /// the `Rc` for as long as the request lives.
    pub fn config(&self) -> Rc<WorkerConfig> {
        let mut view = self.view.borrow_mut();
        let View { cache, config } = &mut *view;
        let active = cache.load();
        if !Arc::ptr_eq(active, &config.active) {
            *config = Rc::new(WorkerConfig::new(Arc::clone(active), Some(&**config)));
            self.upstreams.prune(|id| config.active.cluster_by_id(id));
        }
        Rc::clone(config)
    }
}

impl Worker {
    /// How long a client may send or take nothing while a request of its runs.
    pub fn stream_idle_timeout(&self) -> Duration {
        let of_the_mesh = self.config().active.stream_idle_timeout();
        self.settings.stream_idle_timeout.beside(of_the_mesh)
    }

    /// How long an HTTP connection may have no request, and a stream of gRPC no message.
    pub fn idle_timeout(&self) -> Duration {
        let of_the_mesh = self.config().active.idle_timeout();
        self.settings.idle_timeout.beside(of_the_mesh)
    }

    /// Whether `destination` is a socket this proxy listens on, so that carrying a connection
    /// there would bring it back here. What comes in was going to one of this machine's own
    /// addresses, of which there may be several.
    pub fn is_own_socket(&self, way: Way, destination: SocketAddr) -> bool {
        let address = destination.ip().to_canonical();
        let is_here = way == Way::Inbound
            || address.is_loopback()
            || address == self.settings.address.to_canonical();
        self.bound.borrow().iter().any(|bound| {
            let wildcard = bound.ip().is_unspecified();
            bound.port() == destination.port()
                && (bound.ip().to_canonical() == address || (wildcard && is_here))
        })
    }
}
