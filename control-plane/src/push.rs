//! The push loop: changes in, desired state per connected proxy out.
//!
//! One task owns the [`World`]. Configuration changes wait for quiet ([`debounce`]) and cost one
//! compilation; endpoint changes go out at once, laid over what each proxy was last told, so that
//! they never wait behind routes. Each proxy has one slot that holds the newest desired state: a
//! busy proxy finds the newest there when it is ready, and nothing is ever queued for it.

pub mod board;
pub mod debounce;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mesh_api::name::{EndpointsName, ResourceName, WorkloadName};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::compile::{self, Compiler, ProxyScope};
use crate::discovery::desired::DesiredState;
use crate::discovery::registry::{ProxyIdentity, SessionId};
use crate::model::{Affected, Change, World};
use crate::source::Batch;
use board::Board;
use debounce::Debounce;

/// What a proxy should have, as its session sees it.
#[derive(Clone, Debug)]
pub enum Desired {
    /// The sources have not been read yet.
    Starting,
    /// The proxy cannot be served yet.
    Waiting(Arc<str>),
    /// This configuration.
    State {
        /// The resources.
        state: Arc<DesiredState>,
        /// When the change that led to it was seen.
        changed: Instant,
    },
}

/// What sessions tell the loop.
#[derive(Debug)]
pub enum Command {
    /// A proxy introduced itself.
    Connected {
        /// Its session.
        session: SessionId,
        /// Who it is.
        who: ProxyIdentity,
        /// The workloads it wants beside its configuration.
        workloads: BTreeSet<WorkloadName>,
        /// Where its newest desired state goes.
        slot: watch::Sender<Desired>,
    },
    /// It wants these workloads beside its configuration (the whole set, not a difference).
    Wanted {
        /// Its session.
        session: SessionId,
        /// The workloads' addresses.
        workloads: BTreeSet<WorkloadName>,
    },
    /// Its stream ended.
    Disconnected {
        /// Its session.
        session: SessionId,
    },
}

/// How long changes are collected.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Quiet that ends a burst.
    pub quiet: Duration,
    /// The longest a change waits.
    pub longest: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(20),
            longest: Duration::from_millis(500),
        }
    }
}

/// The loop's state.
#[derive(Debug)]
pub struct PushLoop {
    world: World,
    compiler: Compiler,
    debounce: Debounce,
    board: Arc<Board>,
    proxies: BTreeMap<SessionId, Proxy>,
    started: bool,
}

#[derive(Debug)]
struct Proxy {
    who: ProxyIdentity,
    slot: watch::Sender<Desired>,
    wanted: BTreeSet<WorkloadName>,
}

impl PushLoop {
    /// A loop over an empty world.
    pub fn new(world: World, timing: Timing, board: Arc<Board>) -> Self {
        Self {
            world,
            compiler: Compiler::default(),
            debounce: Debounce::new(timing.quiet, timing.longest),
            board,
            proxies: BTreeMap::new(),
            started: false,
        }
    }

    /// Runs until every sender of `commands` is gone. `synced` is told once the first complete
    /// state of the sources has been compiled.
    pub async fn run(
        mut self,
        mut batches: mpsc::Receiver<Batch>,
        mut commands: mpsc::Receiver<Command>,
        synced: impl FnOnce(),
    ) {
        let mut synced = Some(synced);
        let mut sources_open = true;
        loop {
            let due = self.debounce.due();
            tokio::select! {
                batch = batches.recv(), if sources_open => match batch {
                    Some(batch) => self.take_batch(batch),
                    None => sources_open = false,
                },
                command = commands.recv() => match command {
                    Some(command) => self.take_command(command),
                    None => return,
                },
                () = until(due), if due.is_some() => {
                    self.push_configuration();
                    if let Some(synced) = synced.take() {
                        synced();
                    }
                }
            }
        }
    }

    fn take_batch(&mut self, batch: Batch) {
        let now = Instant::now();
        metrics::counter!("pilot_k8s_cfg_events").increment(batch.changes.len() as u64);
        self.board.replace_reports(batch.reports);
        let affected = self
            .world
            .apply(batch.changes.into_iter().map(Change::from));
        self.compiler.invalidate(&self.world, &affected);
        let first = batch.initial_complete && !self.started;
        self.started |= batch.initial_complete;
        if !self.started {
            return;
        }
        if first || !affected.endpoints_only() {
            self.debounce.note(now);
        }
        if !first && !affected.is_empty() {
            self.push_endpoints(&affected, now);
        }
    }

    fn take_command(&mut self, command: Command) {
        match command {
            Command::Connected {
                session,
                who,
                workloads,
                slot,
            } => {
                let proxy = Proxy {
                    who,
                    slot,
                    wanted: workloads,
                };
                self.proxies.insert(session, proxy);
                self.push_to(session, Instant::now(), "connect");
            }
            Command::Wanted { session, workloads } => {
                if let Some(proxy) = self.proxies.get_mut(&session) {
                    proxy.wanted = workloads;
                    self.push_to(session, Instant::now(), "workload");
                }
            }
            Command::Disconnected { session } => {
                self.proxies.remove(&session);
            }
        }
    }

    /// Compiles for every proxy.
    fn push_configuration(&mut self) {
        let changed = self.debounce.take().unwrap_or_else(Instant::now);
        let began = Instant::now();
        metrics::histogram!("pilot_debounce_time")
            .record(began.saturating_duration_since(changed).as_secs_f64());
        let sessions: Vec<SessionId> = self.proxies.keys().copied().collect();
        for session in sessions {
            self.push_to(session, changed, "config");
        }
        self.board.examine(self.world.clone());
        metrics::histogram!("pilot_xds_push_time").record(began.elapsed().as_secs_f64());
    }

    /// Compiles for one proxy and leaves the result in its slot, unless nothing changed.
    fn push_to(&mut self, session: SessionId, changed: Instant, kind: &'static str) {
        if !self.started {
            return;
        }
        let Some(proxy) = self.proxies.get(&session) else {
            return;
        };
        let who = &proxy.who;
        let desired = match ProxyScope::new(&self.world, &who.workload, who.role, who.mode) {
            None => Desired::Waiting(unknown_workload(&who.workload)),
            Some(scope) => {
                let compiled = self.compiler.compile(&self.world, &scope);
                let wanted = workloads(&self.world, &proxy.wanted);
                let state = DesiredState::new(
                    compiled
                        .iter()
                        .map(|(name, encoded)| (name.clone(), encoded.clone()))
                        .chain(wanted),
                );
                Desired::State {
                    state: Arc::new(state),
                    changed,
                }
            }
        };
        offer(&proxy.slot, desired, kind);
    }

    /// Lays changed endpoints and wanted workloads over what each proxy was last told.
    fn push_endpoints(&self, affected: &Affected, changed: Instant) {
        let sets: Vec<(EndpointsName, _)> = affected
            .endpoints
            .iter()
            .filter_map(|name| {
                compile::endpoints::endpoints(&self.world, name).map(|set| (name.clone(), set))
            })
            .collect();
        for proxy in self.proxies.values() {
            let touched: BTreeSet<WorkloadName> = proxy
                .wanted
                .iter()
                .filter(|name| affected.addresses.contains(&name.0))
                .copied()
                .collect();
            let current = proxy.slot.borrow().clone();
            let Desired::State { state, .. } = current else {
                continue;
            };
            let overlay = sets
                .iter()
                .filter(|(name, _)| state.get(&ResourceName::Endpoints(name.clone())).is_some())
                .map(|(name, set)| (ResourceName::Endpoints(name.clone()), set.clone()))
                .chain(workloads(&self.world, &touched));
            if let Some(state) = state.with_replaced(overlay) {
                offer(
                    &proxy.slot,
                    Desired::State {
                        state: Arc::new(state),
                        changed,
                    },
                    "endpoints",
                );
            }
        }
    }
}

fn workloads(
    world: &World,
    wanted: &BTreeSet<WorkloadName>,
) -> impl Iterator<Item = (ResourceName, mesh_api::encoded::Encoded)> {
    wanted.iter().filter_map(|name| {
        compile::workload(world, name.0).map(|found| (ResourceName::Workload(*name), found))
    })
}

fn unknown_workload(workload: &mesh_api::workload::WorkloadId) -> Arc<str> {
    format!(
        "no Pod or WorkloadEntry named {workload} is known; the proxy gets its configuration as \
         soon as there is one"
    )
    .into()
}

/// Leaves `desired` in the slot and wakes the session, unless it says what is already there.
fn offer(slot: &watch::Sender<Desired>, desired: Desired, kind: &'static str) {
    slot.send_if_modified(|current| {
        let same = match (&*current, &desired) {
            (Desired::State { state: old, .. }, Desired::State { state: new, .. }) => {
                old.version() == new.version()
            }
            (Desired::Waiting(old), Desired::Waiting(new)) => old == new,
            (Desired::Starting, Desired::Starting) => true,
            (Desired::Starting | Desired::Waiting(_) | Desired::State { .. }, _) => false,
        };
        if !same {
            metrics::counter!("pilot_xds_pushes", "type" => kind).increment(1);
            *current = desired;
        }
        !same
    });
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
