//! One proxy's stream, from Hello to its end.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::error::Rejection;
use mesh_api::name::WorkloadName;
use mesh_api::proto::{ProxyMessage, ServerMessage, server_message};
use mesh_api::version::SnapshotVersion;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use super::registry::{self, ProxyIdentity, Refused, Registry, SessionId};
use super::session::{Capture, Introduction, Output, Role, Session};
use crate::compile::{CaptureMode, ProxyRole};
use crate::push::{Command, Desired};

/// A stream that has not said Hello by then is closed.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How often a proxy is offered again what it refused: its reason may be gone.
const RETRY_REFUSED: Duration = Duration::from_mins(1);
/// States whose acknowledgement is still awaited, remembered for the convergence metric.
const AWAITED: usize = 8;

/// One proxy's stream.
#[derive(Debug)]
pub(super) struct ProxyStream {
    registry: Arc<Registry>,
    commands: mpsc::Sender<Command>,
    outgoing: mpsc::Sender<Result<ServerMessage, Status>>,
    address: Option<SocketAddr>,
    session: Session,
    /// Set by Hello.
    known: Option<Known>,
    awaited: VecDeque<(SnapshotVersion, Instant)>,
}

#[derive(Debug)]
struct Known {
    id: SessionId,
    name: Arc<str>,
    desired: watch::Receiver<Desired>,
}

/// The stream is over.
struct Ended;

impl ProxyStream {
    pub(super) fn new(
        registry: Arc<Registry>,
        commands: mpsc::Sender<Command>,
        outgoing: mpsc::Sender<Result<ServerMessage, Status>>,
        address: Option<SocketAddr>,
    ) -> Self {
        Self {
            registry,
            commands,
            outgoing,
            address,
            session: Session::new(),
            known: None,
            awaited: VecDeque::new(),
        }
    }

    pub(super) async fn run(mut self, mut incoming: Streaming<ProxyMessage>) {
        let hello = tokio::time::sleep(HELLO_WITHIN);
        let mut hello = std::pin::pin!(hello);
        let mut retry = tokio::time::interval(RETRY_REFUSED);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let step = tokio::select! {
                message = incoming.next() => match message {
                    Some(Ok(message)) => self.take_message(message).await,
                    Some(Err(_)) | None => break,
                },
                desired = newest(&mut self.known) => self.take_desired(desired).await,
                _ = retry.tick() => {
                    let outputs = if self.session.withheld().is_empty() {
                        Vec::new()
                    } else {
                        self.session.retry_refused()
                    };
                    self.carry_out(outputs).await
                }
                () = &mut hello, if self.known.is_none() => {
                    self.close(Status::deadline_exceeded("no Hello within 10 seconds")).await;
                    break;
                }
                () = self.outgoing.closed() => break,
            };
            if step.is_err() {
                break;
            }
        }
        self.end().await;
    }

    async fn take_message(&mut self, message: ProxyMessage) -> Result<(), Ended> {
        match self.session.on_message(message) {
            Ok(outputs) => self.carry_out(outputs).await,
            Err(error) => {
                metrics::counter!("mesh_stream_errors_total").increment(1);
                tracing::warn!(proxy = self.name(), address = ?self.address, %error,
                    "stream closed: the proxy broke the protocol");
                self.close(Status::from(error)).await;
                Err(Ended)
            }
        }
    }

    async fn take_desired(&mut self, desired: Desired) -> Result<(), Ended> {
        let outputs = match desired {
            Desired::Starting => return Ok(()),
            Desired::Waiting(reason) => {
                tracing::warn!(proxy = self.name(), %reason, "proxy waits");
                self.report(|status| status.waiting = Some(Arc::clone(&reason)));
                self.session.on_waiting(&reason)
            }
            Desired::State { state, changed } => {
                if self.awaited.len() == AWAITED {
                    self.awaited.pop_front();
                }
                self.awaited.push_back((state.version(), changed));
                self.report(|status| {
                    status.waiting = None;
                    status.desired = Some(Arc::clone(&state));
                });
                self.session.on_desired(state)
            }
        };
        self.carry_out(outputs).await
    }

    async fn carry_out(&mut self, outputs: Vec<Output>) -> Result<(), Ended> {
        // What Hello asks for belongs to the first desired state already.
        let asked_for = outputs.iter().find_map(|output| match output {
            Output::WantedWorkloads(workloads) => Some(workloads.clone()),
            Output::Send(_) | Output::Hello(_) | Output::Acked { .. } | Output::Refused(_) => None,
        });
        let mut introduced = false;
        for output in outputs {
            match output {
                Output::Send(message) => self.send(message).await?,
                Output::Hello(introduction) => {
                    introduced = true;
                    let workloads = asked_for.clone().unwrap_or_default();
                    self.introduce(introduction, workloads).await?;
                }
                Output::WantedWorkloads(workloads) => {
                    if let Some(known) = self.known.as_ref().filter(|_| !introduced) {
                        let command = Command::Wanted {
                            session: known.id,
                            workloads,
                        };
                        self.commands.send(command).await.or(Err(Ended))?;
                    }
                }
                Output::Acked { version } => self.acknowledged(version),
                Output::Refused(rejections) => self.refused(&rejections),
            }
        }
        let synced = self.session.is_synced();
        let withheld = self.session.withheld().is_empty();
        self.report(|status| {
            status.synced = synced;
            if withheld {
                status.refused.clear();
            }
        });
        Ok(())
    }

    async fn send(&mut self, message: ServerMessage) -> Result<(), Ended> {
        if let Some(server_message::Message::Push(push)) = &message.message {
            let (set, removed) = (push.resources.len() as u64, push.removed.len() as u64);
            metrics::counter!("mesh_push_resources_total").increment(set);
            metrics::counter!("mesh_push_removals_total").increment(removed);
            let complete = push.complete;
            self.report(|status| {
                status.resources_sent += set;
                status.removals_sent += removed;
                status.pushes += u64::from(complete);
            });
        }
        self.outgoing.send(Ok(message)).await.or(Err(Ended))
    }

    async fn introduce(
        &mut self,
        introduction: Introduction,
        workloads: BTreeSet<WorkloadName>,
    ) -> Result<(), Ended> {
        let Introduction {
            workload,
            role,
            capture,
            software,
        } = introduction;
        let name: Arc<str> = workload.to_string().into();
        let who = ProxyIdentity {
            workload,
            role: match role {
                Role::Sidecar => ProxyRole::Sidecar,
                Role::Gateway => ProxyRole::Gateway,
            },
            mode: match capture {
                Capture::Explicit => CaptureMode::Explicit,
                Capture::OriginalDestination => CaptureMode::OriginalDestination,
            },
            software: software.into(),
            address: self.address,
        };
        let id = self.registry.connect(who.clone(), Instant::now());
        let (slot, desired) = watch::channel(Desired::Starting);
        tracing::info!(proxy = &*name, address = ?self.address, ?role, "proxy connected");
        self.known = Some(Known { id, name, desired });
        let command = Command::Connected {
            session: id,
            who,
            workloads,
            slot,
        };
        self.commands.send(command).await.or(Err(Ended))
    }

    fn acknowledged(&mut self, version: SnapshotVersion) {
        self.report(|status| status.acks += 1);
        while let Some((awaited, changed)) = self.awaited.front().copied() {
            if !self.awaited.iter().any(|(other, _)| *other == version) {
                break;
            }
            self.awaited.pop_front();
            if awaited == version {
                registry::record_convergence(changed.elapsed());
                break;
            }
        }
    }

    fn refused(&mut self, rejections: &[Rejection]) {
        metrics::counter!("pilot_total_xds_rejects").increment(rejections.len() as u64);
        for rejection in rejections {
            tracing::error!(proxy = self.name(), %rejection,
                "the proxy refused a resource; it keeps what it had, everything else goes on");
        }
        let refused: Vec<Refused> = rejections.iter().map(Refused::from).collect();
        self.report(|status| {
            status.nacks += 1;
            for one in refused {
                status.refused.retain(|old| old.resource != one.resource);
                status.refused.push(one);
            }
        });
    }

    async fn close(&self, status: Status) {
        // A reader that is gone needs no farewell.
        if self.outgoing.send(Err(status)).await.is_err() {
            tracing::debug!(proxy = self.name(), "the proxy left before it was told why");
        }
    }

    async fn end(self) {
        let Some(known) = &self.known else { return };
        tracing::info!(proxy = &*known.name, "proxy disconnected");
        self.registry.disconnect(known.id);
        let command = Command::Disconnected { session: known.id };
        if self.commands.send(command).await.is_err() {
            tracing::debug!("the push loop has ended");
        }
    }

    fn name(&self) -> &str {
        self.known
            .as_ref()
            .map_or("(not introduced)", |known| &known.name)
    }

    fn report(&self, change: impl FnOnce(&mut registry::SessionStatus)) {
        if let Some(known) = &self.known {
            self.registry.update(known.id, change);
        }
    }
}

/// The newest desired state, once there is one that has not been seen.
async fn newest(known: &mut Option<Known>) -> Desired {
    let Some(known) = known else {
        return std::future::pending().await;
    };
    match known.desired.changed().await {
        Ok(()) => known.desired.borrow_and_update().clone(),
        // The push loop has ended; the process is about to.
        Err(_) => std::future::pending().await,
    }
}

impl From<&Rejection> for Refused {
    fn from(rejection: &Rejection) -> Self {
        Self {
            resource: rejection.resource.to_string(),
            version: rejection.version.to_string(),
            field: rejection.field.clone(),
            reason: rejection.reason.clone(),
        }
    }
}
