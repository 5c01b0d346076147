//! The configuration stream's service: owns sockets and tasks, nothing else.
//!
//! One task per proxy joins three things: messages of the proxy, the newest desired state from
//! the push loop, and the [`session`] that says what to do about either.

pub mod desired;
pub mod registry;
pub mod session;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::limits::MAX_MESSAGE_BYTES;
use mesh_api::proto::discovery_server::{self, DiscoveryServer};
use mesh_api::proto::{ProxyMessage, ServerMessage};
use mesh_runtime::drain::DrainWatch;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::push::Command;
use registry::Registry;

/// Messages written ahead of a slow reader; the session itself never has more than two pushes
/// in flight.
const OUTGOING: usize = 8;
/// A dead peer is noticed after one of each.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);

/// The service behind `mesh.v1.Discovery`.
#[derive(Clone, Debug)]
pub struct Discovery {
    registry: Arc<Registry>,
    commands: mpsc::Sender<Command>,
}

impl Discovery {
    /// A service that reports to `registry` and asks the push loop through `commands`.
    pub const fn new(registry: Arc<Registry>, commands: mpsc::Sender<Command>) -> Self {
        Self { registry, commands }
    }
}

#[tonic::async_trait]
impl discovery_server::Discovery for Discovery {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<ServerMessage, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<ProxyMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let address = request.remote_addr();
        let (outgoing, answers) = mpsc::channel(OUTGOING);
        let task = stream::ProxyStream::new(
            Arc::clone(&self.registry),
            self.commands.clone(),
            outgoing,
            address,
        );
        tokio::spawn(task.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// Opens the socket, so that an address in use is known before anything is served.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until the drain begins and the streams have ended.
pub async fn serve(
    listener: TcpListener,
    service: Discovery,
    drain: DrainWatch,
) -> Result<(), tonic::transport::Error> {
    let service = DiscoveryServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .max_concurrent_streams(Some(16))
        .add_service(service)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
            drain.triggered().await;
        })
        .await
}
