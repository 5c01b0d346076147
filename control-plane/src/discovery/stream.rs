//! One proxy's stream, from Hello to its end.

mod deadline;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_api::error::Rejection;
use mesh_api::name::WorkloadName;
use mesh_api::proto::{ProxyMessage, ServerMessage, server_message};
use mesh_api::version::SnapshotVersion;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use deadline::{Deadlines, Due};

use super::Discovery;
use super::authenticate::Refusal;
use super::registry::{self, ProxyIdentity, Refused, SessionId};
use super::session::{Introduction, Output, Session};
use crate::identity::token::PodIdentity;
use crate::push::{Command, Desired};

/// States whose acknowledgement is still awaited, remembered for the convergence metric.
const AWAITED: usize = 8;

/// Who opened a stream.
#[derive(Debug)]
pub(super) struct Peer {
    /// Where from.
    pub(super) address: Option<SocketAddr>,
    /// The pod, where peers have to prove who they are.
    pub(super) verified: Option<Arc<PodIdentity>>,
}

/// One proxy's stream.
#[derive(Debug)]
pub(super) struct ProxyStream {
    service: Discovery,
    outgoing: mpsc::Sender<Result<ServerMessage, Status>>,
    peer: Peer,
    session: Session,
    /// Set by Hello.
    known: Option<Known>,
    awaited: VecDeque<(SnapshotVersion, Instant)>,
    /// The newest state the proxy should have, and the revision of the configuration it is of.
    newest: Option<(SnapshotVersion, u64)>,
    deadlines: Deadlines,
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
        service: Discovery,
        outgoing: mpsc::Sender<Result<ServerMessage, Status>>,
        peer: Peer,
    ) -> Self {
        let deadlines = Deadlines::new(peer.verified.is_some(), Instant::now());
        Self {
            service,
            outgoing,
            peer,
            session: Session::new(),
            known: None,
            awaited: VecDeque::new(),
            newest: None,
            deadlines,
        }
    }

    pub(super) async fn run(mut self, mut incoming: Streaming<ProxyMessage>) {
        let drain = self.service.drain.clone();
        let stopping = async {
            match &drain {
                Some(drain) => drain.triggered().await,
                None => std::future::pending().await,
            }
        };
        let mut stopping = std::pin::pin!(stopping);
        loop {
            let step = tokio::select! {
                message = incoming.next() => match message {
                    Some(Ok(message)) => self.take_message(message).await,
                    Some(Err(_)) | None => break,
                },
                desired = newest(&mut self.known) => self.take_desired(desired).await,
                due = self.deadlines.passed() => self.take_due(due).await,
                () = self.outgoing.closed() => break,
                // Ended in order, so that the proxy is connected elsewhere soon.
                () = &mut stopping => break,
            };
            if step.is_err() {
                break;
            }
        }
        self.end().await;
    }

    async fn take_due(&mut self, due: Due) -> Result<(), Ended> {
        match due {
            Due::Hello => {
                self.close(Status::deadline_exceeded("no Hello within 10 seconds"))
                    .await;
                Err(Ended)
            }
            Due::Retry => {
                let outputs = if self.session.withheld().is_empty() {
                    Vec::new()
                } else {
                    self.session.retry_refused()
                };
                self.carry_out(outputs).await
            }
            Due::Gone => match &self.peer.verified {
                Some(pod) => self.refuse(&Refusal::Gone(pod.workload.clone())).await,
                // Who need not prove anything is never gone.
                None => Ok(()),
            },
            Due::Oldest => {
                tracing::debug!(
                    proxy = self.name(),
                    "the stream is old; the proxy opens another"
                );
                Err(Ended)
            }
        }
    }

    async fn refuse(&self, refusal: &Refusal) -> Result<(), Ended> {
        self.service.refusals.note(refusal, self.peer.address);
        self.close(refusal.status()).await;
        Err(Ended)
    }

    async fn take_message(&mut self, message: ProxyMessage) -> Result<(), Ended> {
        match self.session.on_message(message) {
            Ok(outputs) => self.carry_out(outputs).await,
            Err(error) => {
                metrics::counter!("mesh_stream_errors_total").increment(1);
                tracing::warn!(proxy = self.name(), address = ?self.peer.address, %error,
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
                self.newest = None;
                self.report(|status| status.waiting = Some(Arc::clone(&reason)));
                self.deadlines.unknown(Instant::now());
                self.session.on_waiting(&reason)
            }
            Desired::Refused(reason) => {
                return self.refuse(&Refusal::AnotherPod(reason)).await;
            }
            Desired::State {
                state,
                changed,
                revision,
            } => {
                self.deadlines.known();
                let version = state.version();
                let before = self.newest.replace((version, revision));
                if before.is_some_and(|(before, _)| before == version) {
                    // Nothing new but the revision; what is in progress goes on.
                    return self.carry_out(Vec::new()).await;
                }
                if self.awaited.len() == AWAITED {
                    self.awaited.pop_front();
                }
                self.awaited.push_back((version, changed));
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
                        self.service.commands.send(command).await.or(Err(Ended))?;
                    }
                }
                Output::Acked { version } => self.acknowledged(version),
                Output::Refused(rejections) => self.refused(&rejections),
            }
        }
        let synced = self.session.is_synced();
        let withheld: Vec<String> = if synced {
            let withheld = self.session.withheld();
            withheld.keys().map(ToString::to_string).collect()
        } else {
            Vec::new()
        };
        let revision = self.newest.map(|(_, revision)| revision);
        self.report(|status| {
            status.synced = synced;
            if synced {
                // While something is in flight nobody knows whether it is refused again.
                status
                    .refused
                    .retain(|one| withheld.contains(&one.resource));
                status.applied = revision.max(status.applied);
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
        let verified = self.peer.verified.as_ref();
        if let Some(pod) = verified.filter(|pod| pod.workload != workload) {
            let refusal = Refusal::AnotherWorkload {
                token: pod.workload.clone(),
                hello: workload,
            };
            return self.refuse(&refusal).await;
        }
        self.deadlines.introduced();
        let name: Arc<str> = workload.to_string().into();
        let who = ProxyIdentity {
            workload,
            role,
            mode: capture,
            software: software.into(),
            address: self.peer.address,
            uid: self.peer.verified.as_ref().map(|pod| Arc::clone(&pod.uid)),
        };
        let id = self.service.registry.connect(who.clone(), Instant::now());
        let (slot, desired) = watch::channel(Desired::Starting);
        tracing::info!(proxy = &*name, address = ?self.peer.address, ?role, "proxy connected");
        self.known = Some(Known { id, name, desired });
        let command = Command::Connected {
            session: id,
            who,
            workloads,
            slot,
        };
        self.service.commands.send(command).await.or(Err(Ended))
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
        self.deadlines.refused(Instant::now());
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
        self.service.registry.disconnect(known.id);
        let command = Command::Disconnected { session: known.id };
        if self.service.commands.send(command).await.is_err() {
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
            self.service.registry.update(known.id, change);
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

#[cfg(test)]
mod tests;
