//! The connection to the control plane: opened, watched, and opened again.
//!
//! A proxy that starts gives the control plane a second; if no configuration came by then, the
//! last good one from disk is taken, and the stream opened anew so that the Hello tells what is
//! held now. After that the control plane may come and go.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::limits::MAX_MESSAGE_BYTES;
use mesh_api::proto::discovery_client::DiscoveryClient;
use mesh_api::proto::{ProxyMessage, ServerMessage, server_message};
use mesh_api::snapshot::Snapshot;
use mesh_runtime::{Backoff, Gate};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Streaming};

use super::connect::{ConnectError, ControlPlane};
use super::last_good::LastGood;
use super::pushback::pushback;
use super::session::{Answer, ProtocolError, Session, Step};
use super::status::{ControlStatus, Source};
use super::token::TokenError;
use super::{Apply, ClientSettings};

/// The first and the longest step of the back-off between attempts.
/// The longest is short, because a control plane that is back should be noticed within 2 s.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(2));
/// How long opening a stream may take, once there is a connection.
const OPEN_LIMIT: Duration = Duration::from_secs(5);
/// A control plane that does not read for this long is as good as gone.
const SEND_LIMIT: Duration = Duration::from_secs(15);
/// A stream that lived this long was a success, even if nothing was said on it.
const SETTLED: Duration = Duration::from_millis(250);
/// How long a starting proxy waits for the control plane before it takes the last good
/// configuration.
const FALLBACK_AFTER: Duration = Duration::from_secs(1);
/// How often the age of the configuration is published.
const AGE_INTERVAL: Duration = Duration::from_secs(5);
/// Messages that may wait to be sent.
const OUTGOING: usize = 64;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the control plane did not accept the stream within {OPEN_LIMIT:?}")]
    Unanswered,
    #[error("{}", describe(.0))]
    Broken(Box<tonic::Status>),
    #[error("the control plane closed the stream")]
    Closed,
    #[error("the control plane reads nothing any more")]
    Stalled,
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// Not a failure: the last good configuration is in force now, and a new Hello must say so.
    #[error("opened again with the last good configuration")]
    Resumed,
}

fn describe(status: &tonic::Status) -> String {
    let (code, message) = (status.code(), status.message());
    if matches!(code, Code::Unauthenticated | Code::PermissionDenied) {
        format!("the control plane refuses this proxy: {message}")
    } else {
        format!("the stream broke: {code}: {message}")
    }
}

/// Serves configuration to `applier` for as long as it is polled; opens `ready` with the first.
///
/// `wanted` are addresses whose workloads are asked for.
pub async fn run<A: Apply>(
    settings: ClientSettings,
    applier: A,
    wanted: mpsc::Receiver<IpAddr>,
    status: ControlStatus,
    ready: Gate,
) -> Infallible {
    ControlStatus::describe();
    let last_good = settings
        .data_dir
        .as_deref()
        .map(|directory| LastGood::new(directory, &settings.identity));
    let (newest, kept) = watch::channel(None);
    let mut session = Session::new(settings.identity);
    session.stand_for(settings.address);
    let client = Client {
        control_plane: Arc::new(settings.control_plane),
        session,
        applier,
        wanted: Some(wanted),
        status,
        ready,
        newest,
        fallback: last_good.is_some().then(|| Instant::now() + FALLBACK_AFTER),
        last_good: last_good.clone(),
    };
    let keeping = async {
        if let Some(last_good) = last_good {
            last_good.keep(kept).await;
        }
        // Without it, or with the runtime stopping, the client goes on alone.
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        never = client.serve() => match never {},
        never = keeping => match never {},
    }
}

struct Client<A> {
    control_plane: Arc<ControlPlane>,
    session: Session,
    applier: A,
    /// `None` once every worker is gone.
    wanted: Option<mpsc::Receiver<IpAddr>>,
    status: ControlStatus,
    ready: Gate,
    newest: watch::Sender<Option<Arc<Snapshot>>>,
    last_good: Option<LastGood>,
    /// When to take the last good configuration; `None` once there is a configuration.
    fallback: Option<Instant>,
}

impl<A: Apply> Client<A> {
    async fn serve(mut self) -> Infallible {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut ticks = tokio::time::interval(AGE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (lost, settled) = self.stream(&mut ticks).await;
            self.session.closed();
            if settled {
                backoff.reset();
            }
            if matches!(lost, Lost::Resumed) {
                continue;
            }
            let asked_for = if let Lost::Broken(status) = &lost {
                pushback(status)
            } else {
                Duration::ZERO
            };
            let delay = backoff.next_delay(rand::random()).max(asked_for);
            if settled && matches!(lost, Lost::Closed) {
                self.status.ended();
            } else {
                self.status.lost(&lost.to_string(), delay);
            }
            self.pause(delay, &mut ticks).await;
        }
    }

    /// Waits between two attempts, and does meanwhile what needs no stream.
    async fn pause(&mut self, delay: Duration, ticks: &mut Interval) {
        let over = Instant::now() + delay;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(over) => return,
                () = until(self.fallback) => { self.fall_back().await; }
                address = next(&mut self.wanted) => {
                    // Goes out with the next Hello.
                    self.session.want(address);
                }
                _ = ticks.tick() => self.status.publish_age(),
            }
        }
    }

    /// One stream, from opening it to its end; and whether it was a success.
    async fn stream(&mut self, ticks: &mut Interval) -> (Lost, bool) {
        let (outgoing, incoming) = match self.open().await {
            Ok(opened) => opened,
            Err(lost) => return (lost, false),
        };
        self.status.connected();
        let opened = Instant::now();
        let mut stream = Stream {
            outgoing,
            incoming,
            heard: false,
        };
        let lost = loop {
            if let Err(lost) = self.step(&mut stream, ticks).await {
                break lost;
            }
        };
        (lost, stream.heard || opened.elapsed() >= SETTLED)
    }

    async fn open(
        &mut self,
    ) -> Result<(mpsc::Sender<ProxyMessage>, Streaming<ServerMessage>), Lost> {
        let (outgoing, messages) = mpsc::channel(OUTGOING);
        let hello = self.session.opened();
        // The queue is new and has room.
        outgoing.try_send(hello).map_err(|_full| Lost::Stalled)?;
        let connecting = connect(Arc::clone(&self.control_plane), messages);
        tokio::pin!(connecting);
        loop {
            tokio::select! {
                opened = &mut connecting => return opened.map(|incoming| (outgoing, incoming)),
                () = until(self.fallback) => {
                    if self.fall_back().await {
                        return Err(Lost::Resumed);
                    }
                }
            }
        }
    }

    /// Waits for one thing to happen on an open stream, and does what follows from it.
    async fn step(&mut self, stream: &mut Stream, ticks: &mut Interval) -> Result<(), Lost> {
        tokio::select! {
            message = stream.incoming.message() => {
                let message = message
                    .map_err(|status| Lost::Broken(Box::new(status)))?
                    .ok_or(Lost::Closed)?;
                stream.heard = true;
                self.take(message, &stream.outgoing).await
            }
            address = next(&mut self.wanted) => match self.session.want(address) {
                Some(message) => send(&stream.outgoing, message).await,
                None => Ok(()),
            },
            () = until(self.fallback) => {
                if self.session.is_collecting() {
                    // Something is on its way.
                    self.fallback = Some(Instant::now() + FALLBACK_AFTER);
                    return Ok(());
                }
                if self.fall_back().await { Err(Lost::Resumed) } else { Ok(()) }
            }
            _ = ticks.tick() => {
                self.status.publish_age();
                Ok(())
            }
        }
    }

    /// Decodes what came. Regular expressions are compiled on the way, which may take longer than
    /// whoever asks this thread for readiness should wait.
    async fn receive(&mut self, message: ServerMessage) -> Result<Step, Lost> {
        let whole = matches!(
            &message.message,
            Some(server_message::Message::Push(push)) if push.complete
        );
        if !whole {
            return Ok(self.session.receive(message)?);
        }
        let left = self.session.between_streams();
        let mut session = std::mem::replace(&mut self.session, left);
        let decoding = tokio::task::spawn_blocking(move || {
            let step = session.receive(message);
            (session, step)
        });
        let (session, step) = decoding.await.map_err(|_stopping| Lost::Closed)?;
        self.session = session;
        Ok(step?)
    }

    async fn take(
        &mut self,
        message: ServerMessage,
        outgoing: &mpsc::Sender<ProxyMessage>,
    ) -> Result<(), Lost> {
        let answer = match self.receive(message).await? {
            Step::Collecting => return Ok(()),
            Step::Waiting(reason) => {
                self.status.waiting(reason);
                return Ok(());
            }
            Step::Answer(answer) => Some(answer),
            Step::Apply(snapshot) => {
                let result = self.applier.apply(snapshot).await;
                let worked = result.is_ok();
                let answer = self.session.applied(result);
                if worked {
                    let snapshot = Arc::clone(self.session.in_force());
                    self.status
                        .applied(snapshot.version(), Source::ControlPlane);
                    self.newest.send_replace(Some(snapshot));
                }
                answer
            }
        };
        let Some(answer) = answer else { return Ok(()) };
        match &answer {
            Answer::Ack(_) => {
                self.fallback = None;
                self.ready.open();
            }
            Answer::Nack(_, rejections) => self.status.nacked(rejections),
        }
        send(outgoing, answer.message().clone()).await
    }

    /// Takes the last good configuration; whether there is one and it is in force now.
    async fn fall_back(&mut self) -> bool {
        self.fallback = None;
        let Some(place) = self.last_good.clone() else {
            return false;
        };
        let loaded = tokio::task::spawn_blocking(move || place.load()).await;
        let snapshot = match loaded {
            Ok(Ok(Some(snapshot))) => Arc::new(snapshot),
            Ok(Ok(None)) => {
                tracing::warn!(
                    "no configuration from the control plane yet, and none kept from before"
                );
                return false;
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the last good configuration cannot be used");
                return false;
            }
            Err(stopped) => {
                tracing::debug!(%stopped, "the runtime is stopping");
                return false;
            }
        };
        if let Err(rejections) = self.applier.apply(Arc::clone(&snapshot)).await {
            for rejection in &rejections {
                tracing::error!(%rejection, "the last good configuration cannot be applied");
            }
            return false;
        }
        self.status.applied(snapshot.version(), Source::LastGood);
        self.session.resume(snapshot);
        self.ready.open();
        true
    }
}

/// An open stream.
struct Stream {
    outgoing: mpsc::Sender<ProxyMessage>,
    incoming: Streaming<ServerMessage>,
    heard: bool,
}

async fn connect(
    control_plane: Arc<ControlPlane>,
    messages: mpsc::Receiver<ProxyMessage>,
) -> Result<Streaming<ServerMessage>, Lost> {
    let authorization = control_plane.authorization().await?;
    let channel = control_plane.connect().await?;
    let mut client = DiscoveryClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let mut request = Request::new(ReceiverStream::new(messages));
    if let Some(authorization) = authorization {
        request
            .metadata_mut()
            .insert("authorization", authorization);
    }
    match timeout(OPEN_LIMIT, client.stream(request)).await {
        Err(_elapsed) => Err(Lost::Unanswered),
        Ok(Err(status)) => Err(Lost::Broken(Box::new(status))),
        Ok(Ok(response)) => Ok(response.into_inner()),
    }
}

async fn send(outgoing: &mpsc::Sender<ProxyMessage>, message: ProxyMessage) -> Result<(), Lost> {
    match timeout(SEND_LIMIT, outgoing.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_closed)) => Err(Lost::Closed),
        Err(_elapsed) => Err(Lost::Stalled),
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The next address asked for; never, once nobody can ask any more.
async fn next(wanted: &mut Option<mpsc::Receiver<IpAddr>>) -> IpAddr {
    if let Some(receiver) = wanted {
        match receiver.recv().await {
            Some(address) => return address,
            None => *wanted = None,
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests;
