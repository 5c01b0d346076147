//! The configuration stream's service: owns sockets and tasks, nothing else.
//!
//! One task per proxy joins three things: messages of the proxy, the newest desired state from
//! the push loop, and the [`session`] that says what to do about either. On Kubernetes the socket
//! speaks TLS ([`secure`]) and a stream begins with a proof of who opens it ([`authenticate`]).

pub mod authenticate;
pub mod desired;
pub mod registry;
mod secure;
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
use mesh_runtime::tls::{self, SwappableCertificate, TlsError};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::push::Command;
use authenticate::{Authenticator, Refusals};
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
    authenticator: Authenticator,
    refusals: Arc<Refusals>,
    drain: Option<DrainWatch>,
}

impl Discovery {
    /// A service that reports to `registry` and asks the push loop through `commands`. Whoever
    /// reaches it is believed.
    pub fn new(registry: Arc<Registry>, commands: mpsc::Sender<Command>) -> Self {
        Self {
            registry,
            commands,
            authenticator: Authenticator::Loopback,
            refusals: Arc::default(),
            drain: None,
        }
    }

    /// The same, for peers who prove who they are in this way.
    #[must_use]
    pub fn authenticated_by(self, authenticator: Authenticator) -> Self {
        Self {
            authenticator,
            ..self
        }
    }

    /// The same, ending its streams when the drain begins.
    fn draining(self, drain: DrainWatch) -> Self {
        Self {
            drain: Some(drain),
            ..self
        }
    }
}

/// Why the stream is not served any more.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The server itself.
    #[error(transparent)]
    Transport(#[from] tonic::transport::Error),
    /// No TLS to serve with.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

#[tonic::async_trait]
impl discovery_server::Discovery for Discovery {
    type StreamStream = Pin<Box<dyn Stream<Item = Result<ServerMessage, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<ProxyMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let address = request.remote_addr();
        let verified = self.authenticator.authenticate(request.metadata()).await;
        let verified = verified.map_err(|refusal| {
            self.refusals.note(&refusal, address);
            refusal.status()
        })?;
        let (outgoing, answers) = mpsc::channel(OUTGOING);
        let peer = stream::Peer { address, verified };
        let task = stream::ProxyStream::new(self.clone(), outgoing, peer);
        tokio::spawn(task.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// Opens the socket, so that an address in use is known before anything is served.
pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves plaintext until the drain begins and the streams have ended.
pub async fn serve(
    listener: TcpListener,
    service: Discovery,
    drain: DrainWatch,
) -> Result<(), ServeError> {
    let incoming = TcpListenerStream::new(listener);
    let serving = server()
        .tcp_nodelay(true)
        .add_service(limited(service.draining(drain.clone())));
    let drained = async move { drain.triggered().await };
    Ok(serving
        .serve_with_incoming_shutdown(incoming, drained)
        .await?)
}

/// Serves TLS under `certificate` until the drain begins and the streams have ended.
pub async fn serve_tls(
    listener: TcpListener,
    service: Discovery,
    certificate: Arc<SwappableCertificate>,
    drain: DrainWatch,
) -> Result<(), ServeError> {
    let config = tls::server_config(certificate, &[tls::H2])?;
    let refusals = Arc::clone(&service.refusals);
    let connections = secure::accept(listener, config, refusals, drain.clone());
    let incoming = ReceiverStream::new(connections);
    let serving = server().add_service(limited(service.draining(drain.clone())));
    let drained = async move { drain.triggered().await };
    Ok(serving
        .serve_with_incoming_shutdown(incoming, drained)
        .await?)
}

fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .max_concurrent_streams(Some(16))
}

fn limited(service: Discovery) -> DiscoveryServer<Discovery> {
    DiscoveryServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests;
