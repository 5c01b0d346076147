//! The push loop: changes in, desired state per connected proxy out.
//!
//! One task owns the [`World`]. Configuration changes wait for quiet ([`debounce`]) and cost one
//! compilation; endpoint changes go out at once, laid over what each proxy was last told, so that
//! they never wait behind routes. Each proxy has one slot that holds the newest desired state: a
//! busy proxy finds the newest there when it is ready, and nothing is ever queued for it.

pub mod board;
mod command;
pub mod debounce;
mod keeper;
pub mod objects;
mod proxy;
mod slot;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::name::EndpointsName;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::compile::{self, Compiler, ProxyScope};
use crate::discovery::desired::DesiredState;
use crate::discovery::registry::SessionId;
use crate::model::{Affected, Change, Kept, World};
use crate::source::Batch;
use board::{Board, Input};
pub use command::Command;
use debounce::Debounce;
use keeper::Keeper;
use objects::Objects;
use proxy::{Proxy, another_pod, is_another};
pub use slot::Desired;
use slot::offer;

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

/// Endpoints change often and say little about objects; findings about them may be this old.
const ENDPOINTS_EXAMINED_AFTER: Duration = Duration::from_secs(2);

/// The loop's state.
#[derive(Debug)]
pub struct PushLoop {
    world: World,
    compiler: Compiler,
    debounce: Debounce,
    board: Arc<Board>,
    proxies: BTreeMap<SessionId, Proxy>,
    started: bool,
    /// The generation of the world after the last change that was more than endpoints.
    revision: u64,
    /// When endpoints that changed meanwhile are looked at for findings.
    examine_at: Option<Instant>,
    objects: Objects,
    /// Hears what is to be kept.
    keeper: Keeper,
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
            revision: 0,
            examine_at: None,
            objects: Objects::default(),
            keeper: Keeper::default(),
        }
    }

    /// Tells `keeper` what is to be kept, from the first complete state on.
    #[must_use]
    pub fn kept_by(mut self, keeper: watch::Sender<Option<Arc<Kept>>>) -> Self {
        self.keeper = Keeper::new(keeper);
        self
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
                () = until(self.examine_at), if self.examine_at.is_some() => self.examine(),
            }
        }
    }

    fn take_batch(&mut self, batch: Batch) {
        let now = Instant::now();
        count(&batch.changes);
        self.board.replace_reports(batch.reports);
        let mesh_objects: Vec<Change> = batch
            .changes
            .iter()
            .filter(|change| change.kind().is_mesh_resource())
            .cloned()
            .collect();
        // The settings first: objects are read in their light.
        let mut affected = match &batch.mesh {
            Some(reading) => self.world.configure(reading),
            None => Affected::default(),
        };
        let formers_changed = self.world.hold_formers(batch.formers.as_deref());
        affected.merge(self.world.take(batch.changes, batch.kept.as_deref()));
        self.compiler.invalidate(&self.world, &affected);
        let more_than_endpoints = !affected.is_empty() && !affected.endpoints_only();
        if more_than_endpoints {
            self.revision = self.world.generation();
        }
        let objects_changed = self.objects.note(mesh_objects, self.revision, now);
        let first = batch.initial_complete && !self.started;
        self.started |= batch.initial_complete;
        if !self.started {
            return;
        }
        self.keeper.tell(self.world.kept());
        if first {
            // Whoever connected before there was anything to be found in asked in vain.
            for proxy in self.proxies.values_mut() {
                proxy.look_up_all(&self.world);
            }
        }
        if first || more_than_endpoints {
            self.debounce.note(now);
        } else if objects_changed || formers_changed {
            // Nothing to push, but somebody waits to hear what became of the newer form.
            self.examine();
        } else if !affected.is_empty() {
            self.examine_at
                .get_or_insert_with(|| now + ENDPOINTS_EXAMINED_AFTER);
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
                let proxy = Proxy::new(who, slot, workloads, &self.world);
                self.proxies.insert(session, proxy);
                self.push_to(session, Instant::now(), "connect");
            }
            Command::Wanted {
                session,
                workloads,
                more,
                done: _told,
            } => {
                if let Some(proxy) = self.proxies.get_mut(&session) {
                    proxy.want(workloads, &self.world);
                    if !more {
                        proxy.lay_over_workloads();
                    }
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
        self.examine();
        crate::metrics::inputs(&self.world);
        metrics::histogram!("pilot_xds_push_time").record(began.elapsed().as_secs_f64());
    }

    /// Hands over what there is to be examined: the world, and what was compiled from it.
    fn examine(&mut self) {
        self.examine_at = None;
        let scopes = self.proxies.values().filter_map(|proxy| {
            let who = &proxy.who;
            let scope = ProxyScope::new(&self.world, &who.workload, who.role, who.mode)?;
            (!is_another(&scope.workload, who)).then_some(scope)
        });
        self.board.examine(Input {
            proxies: scopes.collect(),
            compiler: self.compiler.without_endpoints(),
            world: self.world.clone(),
            objects: self.objects.clone(),
            revision: self.revision,
        });
    }

    /// Compiles for one proxy and leaves the result in its slot, unless nothing changed.
    fn push_to(&mut self, session: SessionId, changed: Instant, kind: &'static str) {
        if !self.started {
            return;
        }
        let Some(proxy) = self.proxies.get_mut(&session) else {
            return;
        };
        let who = &proxy.who;
        let desired = match ProxyScope::new(&self.world, &who.workload, who.role, who.mode) {
            None => Desired::Waiting(unknown_workload(&who.workload)),
            Some(scope) if is_another(&scope.workload, who) => {
                Desired::Refused(another_pod(who, &scope.workload))
            }
            Some(scope) => {
                let compiled = self.compiler.compile(&self.world, &scope);
                let all = compiled.iter();
                let all = all.map(|(name, encoded)| (name.clone(), encoded.clone()));
                proxy.with_workloads(DesiredState::new(all), changed, self.revision)
            }
        };
        offer(&proxy.slot, desired, kind);
    }

    /// Lays changed endpoints and wanted workloads over what each proxy was last told.
    fn push_endpoints(&mut self, affected: &Affected, changed: Instant) {
        let sets: Vec<(EndpointsName, _)> = affected
            .endpoints
            .iter()
            .filter_map(|name| {
                compile::endpoints::endpoints(&self.world, name).map(|set| (name.clone(), set))
            })
            .collect();
        for proxy in self.proxies.values_mut() {
            proxy.look_again(&affected.addresses, &self.world);
            proxy.lay_over(&sets, changed, "endpoints");
        }
    }
}

/// Counts changes, under the names istiod has for them.
fn count(changes: &[Change]) {
    for change in changes {
        let event = match change {
            Change::Applied(_) => "update",
            Change::Removed(_) => "delete",
            Change::Refused(..) => "refuse",
        };
        let kind = change.kind();
        let labels = [("type", kind.as_str()), ("event", event)];
        if kind.is_mesh_resource() {
            metrics::counter!("pilot_k8s_cfg_events", &labels).increment(1);
        } else {
            metrics::counter!("pilot_k8s_reg_events", &labels).increment(1);
        }
    }
}

fn unknown_workload(workload: &mesh_api::workload::WorkloadId) -> Arc<str> {
    format!(
        "no Pod or WorkloadEntry named {workload} is known; the proxy gets its configuration as \
         soon as there is one"
    )
    .into()
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
