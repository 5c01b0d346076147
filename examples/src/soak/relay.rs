//! Stands between the control plane and one proxy, passes the stream on message by message, and
//! damages what it is told to.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use futures_util::Stream;
use mesh_api::limits::MAX_MESSAGE_BYTES;
use mesh_api::proto::discovery_client::DiscoveryClient;
use mesh_api::proto::discovery_server::{Discovery, DiscoveryServer};
use mesh_api::proto::{ProxyMessage, ServerMessage, server_message};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{StreamExt as _, wrappers};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::wire::Damage;

/// Messages on their way from the control plane to the proxy.
const IN_TRANSIT: usize = 4;

/// A running relay. Whoever drops it ends it.
#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    orders: Mutex<Orders>,
    /// Goes up when all streams are to end.
    generation: watch::Sender<u64>,
}

/// What is to be done to the stream.
#[derive(Debug, Default)]
struct Orders {
    damage: Option<Damage>,
    /// No stream is let through.
    closed: bool,
    damaged: u64,
}

impl Relay {
    /// Starts a relay to the control plane at `upstream`.
    pub(super) async fn start(upstream: SocketAddr) -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("the relay cannot listen")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            orders: Mutex::default(),
            generation: watch::Sender::new(0),
        });
        let service = DiscoveryServer::new(Through(Arc::clone(&shared)))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let serving = tokio::spawn(async move {
            let server = Server::builder().add_service(service);
            if let Err(error) = server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
            {
                tracing::error!(%error, "the relay ended");
            }
        });
        Ok(Self {
            address,
            shared,
            serving,
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on pushes are damaged like this.
    pub(super) fn arm(&self, damage: Damage) {
        let mut orders = self.shared.orders();
        orders.damage = Some(damage);
        orders.damaged = 0;
    }

    /// From now on everything passes as it is, on new streams: those that were damaged end.
    pub(super) fn heal(&self) {
        {
            let mut orders = self.shared.orders();
            orders.damage = None;
            orders.closed = false;
        }
        self.shared.end_streams();
    }

    /// How often something was damaged since it was armed.
    pub(super) fn damaged(&self) -> u64 {
        self.shared.orders().damaged
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
        self.shared.end_streams();
    }
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end_streams(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    /// Damages a message as ordered. `false`: the stream breaks off behind it.
    fn pass(&self, message: &mut ServerMessage) -> bool {
        let mut orders = self.orders();
        let Some(damage) = orders.damage else {
            return true;
        };
        let Some(server_message::Message::Push(push)) = &mut message.message else {
            return true;
        };
        if damage == Damage::HalfPush {
            push.complete = false;
            push.resources.truncate(push.resources.len().div_ceil(2));
            orders.damaged += 1;
            orders.closed = true;
            return false;
        }
        let count = push.resources.len();
        push.resources
            .retain_mut(|resource| damage.passes(resource));
        let dropped = count - push.resources.len();
        let damaged = push
            .resources
            .iter_mut()
            .filter_map(|resource| damage.apply(resource));
        orders.damaged += damaged.count() as u64 + dropped as u64;
        true
    }
}

/// The service that the proxy sees.
struct Through(Arc<Shared>);

#[tonic::async_trait]
impl Discovery for Through {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<ServerMessage, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<ProxyMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        if self.0.orders().closed {
            return Err(Status::unavailable("the relay is closed"));
        }
        let generation = self.0.generation.subscribe();
        let channel = Endpoint::from_shared(format!("http://{}", self.0.upstream))
            .map_err(|error| Status::internal(error.to_string()))?
            .connect()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let mut client = DiscoveryClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let asked = request.into_inner().map_while(Result::ok);
        let answers = client.stream(asked).await?.into_inner();
        let (out, passed) = mpsc::channel(IN_TRANSIT);
        tokio::spawn(pump(answers, out, generation, Arc::clone(&self.0)));
        Ok(Response::new(Box::pin(ReceiverStream::new(passed))))
    }
}

async fn pump(
    mut answers: Streaming<ServerMessage>,
    out: mpsc::Sender<Result<ServerMessage, Status>>,
    generation: watch::Receiver<u64>,
    shared: Arc<Shared>,
) {
    let mut ended = wrappers::WatchStream::from_changes(generation);
    loop {
        let message = tokio::select! {
            _next = ended.next() => break,
            message = answers.next() => message,
        };
        let (message, goes_on) = match message {
            Some(Ok(mut message)) => {
                let goes_on = shared.pass(&mut message);
                (Ok(message), goes_on)
            }
            Some(Err(status)) => (Err(status), false),
            None => break,
        };
        if out.send(message).await.is_err() || !goes_on {
            break;
        }
    }
    // The proxy may be gone already.
    drop(
        out.send(Err(Status::unavailable("the relay broke the stream off")))
            .await,
    );
}
