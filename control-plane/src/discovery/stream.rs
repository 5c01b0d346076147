//! One proxy's stream, from Hello to its end.

mod deadline;
mod delivery;
mod introduction;
mod refused;
mod words;
mod workloads;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use mesh_api::limits::{MAX_PROXY_ENTRIES, MAX_PROXY_MESSAGE_BYTES};
use mesh_api::proto::{ProxyMessage, ServerMessage};
use mesh_api::version::SnapshotVersion;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::StreamExt;
use tonic::{Code, Status, Streaming};

use deadline::{Deadlines, Due};
use delivery::{seat_lost, stopping};
use refused::Refusing;
use workloads::Asking;

use super::Discovery;
use super::authenticate::Refusal;
use super::connections::Proved;
use super::registry::{self, SessionId};
use super::seats::Seat;
use super::session::{Output, Session};
use crate::allowance::{Allowance, Rate};
use crate::identity::token::PodIdentity;
use crate::push::{Command, Desired};

/// States whose acknowledgement is still awaited, remembered for the convergence metric.
const AWAITED: usize = 8;

/// How often differences are found because of what a proxy says. Each costs as much as the proxy
/// should have; what it says between two of them is answered together.
const ANSWERS: Rate = Rate::new(10, 16);
/// Who opened a stream.
#[derive(Debug)]
pub(super) struct Peer {
    /// Where from.
    pub(super) address: Option<SocketAddr>,
    /// The pod, where peers have to prove who they are.
    pub(super) verified: Option<Arc<PodIdentity>>,
    /// The seat of its pod; where nobody has to prove anything, it comes with Hello.
    pub(super) seat: Option<Seat>,
    /// Keeps its connection from counting as one without a stream.
    pub(super) _proved: Option<Proved>,
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
    asking: Asking,
    refusing: Refusing,
    words: Allowance,
    answers: Allowance,
    logged: Option<Instant>,
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
        let now = Instant::now();
        let deadlines = Deadlines::new(peer.verified.is_some(), now);
        Self {
            service,
            outgoing,
            peer,
            session: Session::new(),
            known: None,
            awaited: VecDeque::new(),
            newest: None,
            deadlines,
            asking: Asking::default(),
            refusing: Refusing::default(),
            words: Allowance::new(words::RATE, now),
            answers: Allowance::new(ANSWERS, now),
            logged: None,
        }
    }

    pub(super) async fn run(mut self, mut incoming: Streaming<ProxyMessage>) {
        let drain = self.service.drain.clone();
        let mut stopping = std::pin::pin!(stopping(drain.as_ref()));
        loop {
            let (readable, due) = (self.words.ready_at(), self.answers.ready_at());
            let may_speak = readable <= Instant::now();
            let asks = self.session.asks();
            let step = tokio::select! {
                message = incoming.next(), if may_speak => match message {
                    Some(Ok(message)) => self.take_message(message).await,
                    Some(Err(status)) => self.broken(status).await,
                    None => break,
                },
                () = sleep_until(readable), if !may_speak => Ok(()),
                () = sleep_until(due), if asks => self.settle().await,
                desired = newest(&mut self.known) => self.take_desired(desired).await,
                () = self.asking.done() => self.ask().await,
                due = self.deadlines.passed() => self.take_due(due).await,
                () = seat_lost(self.peer.seat.as_ref()) => self.replaced().await,
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

    /// What came was no message, or a larger one than any has to be.
    async fn broken(&self, status: Status) -> Result<(), Ended> {
        if status.code() == Code::OutOfRange {
            let text = format!(
                "a message of a proxy has at most {MAX_PROXY_MESSAGE_BYTES} bytes and \
                 {MAX_PROXY_ENTRIES} entries: {}",
                status.message()
            );
            return self.refuse(&Refusal::TooLarge(text)).await;
        }
        Err(Ended)
    }

    async fn replaced(&self) -> Result<(), Ended> {
        let name = Arc::from(self.name());
        self.refuse(&Refusal::Replaced(name)).await
    }

    /// Answers what the proxy said since it was last answered.
    async fn settle(&mut self) -> Result<(), Ended> {
        self.answers.spend(1, Instant::now());
        let outputs = self.session.settle();
        self.carry_out(outputs).await
    }

    async fn take_message(&mut self, message: ProxyMessage) -> Result<(), Ended> {
        self.words.spend(words::count(&message), Instant::now());
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
                looked_up,
            } => {
                self.deadlines.known();
                let all = self.session.is_looking_up() && self.asking.is_answered(looked_up);
                if all {
                    self.session.looked_up();
                }
                let version = state.version();
                let before = self.newest.replace((version, revision));
                let same = before.is_some_and(|(before, _)| before == version);
                if same && !all {
                    // Nothing new but the revision; what is in progress goes on.
                    return self.carry_out(Vec::new()).await;
                }
                if !same {
                    self.awaits(version, changed);
                }
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
        let mut introduction = None;
        for output in outputs {
            match output {
                Output::Send(message) => self.send(message).await?,
                Output::Hello(who) => introduction = Some(who),
                Output::Workloads(workloads) => self.asking.add(workloads),
                Output::Acked { version } => self.acknowledged(version),
                Output::Refused {
                    rejections,
                    dropped,
                } => self.refused(&rejections, dropped),
            }
        }
        if let Some(introduction) = introduction {
            self.introduce(introduction).await?;
        }
        self.ask().await?;
        let synced = self.session.is_synced();
        // While something is in flight nobody knows whether it is refused again.
        let refused = synced.then(|| self.refusing.exactly(self.session.withheld()));
        let revision = self.newest.map(|(_, revision)| revision);
        self.report(|status| {
            status.synced = synced;
            if let Some(refused) = refused {
                status.refused = refused;
                status.applied = revision.max(status.applied);
            }
        });
        Ok(())
    }

    /// Asks the push loop for workloads, unless it is busy with some.
    async fn ask(&mut self) -> Result<(), Ended> {
        let Some(known) = &self.known else {
            return Ok(());
        };
        let Some((workloads, more, done)) = self.asking.next() else {
            return Ok(());
        };
        let command = Command::Wanted {
            session: known.id,
            workloads,
            more,
            done,
        };
        self.service.commands.send(command).await.or(Err(Ended))
    }

    fn awaits(&mut self, version: SnapshotVersion, changed: Instant) {
        if self.awaited.len() == AWAITED {
            self.awaited.pop_front();
        }
        self.awaited.push_back((version, changed));
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

#[cfg(test)]
mod tests;
