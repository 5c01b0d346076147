//! The configuration stream's service: owns sockets and tasks, nothing else.
//!
//! One task per proxy joins three things: messages of the proxy, the newest desired state from
//! the push loop, and the [`session`] that says what to do about either. On Kubernetes the socket
//! speaks TLS ([`door`]) and a stream begins with a proof of who opens it ([`authenticate`]).

pub mod authenticate;
mod capacity;
mod connections;
pub mod desired;
mod door;
mod guarded;
pub mod registry;
mod seats;
pub mod session;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::limits::{MAX_MESSAGE_BYTES, MAX_PROXY_MESSAGE_BYTES};
use mesh_api::proto::discovery_server::{self, DiscoveryServer};
use mesh_api::proto::{ProxyMessage, ServerMessage};
use mesh_runtime::drain::DrainWatch;
use mesh_runtime::tls::{self, SwappableCertificate, TlsError};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::push::Command;
use authenticate::{Authenticator, Refusal, Refusals};
use connections::Connection;
use registry::Registry;
use seats::{Seats, Sitter};

/// Messages written ahead of a slow reader; the session itself never has more than two pushes
/// in flight.
const OUTGOING: usize = 8;
/// On one connection: a proxy needs one, and for a moment the next.
const STREAMS: u32 = 4;
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
    seats: Arc<Seats>,
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
            seats: Arc::default(),
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
        let connection = request.extensions().get::<Connection>().cloned();
        let peer = self.prove(&request, connection.as_ref()).await;
        let peer = peer.map_err(|refusal| {
            let address = connection.as_ref().map(Connection::address);
            self.refusals.note(&refusal, address);
            if let Some(connection) = &connection {
                connection.refused();
            }
            refusal.status()
        })?;
        let (outgoing, answers) = mpsc::channel(OUTGOING);
        let task = stream::ProxyStream::new(self.clone(), outgoing, peer);
        tokio::spawn(task.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

impl Discovery {
    /// Finds out who opens a stream, and gives it the seat of its pod.
    async fn prove(
        &self,
        request: &Request<Streaming<ProxyMessage>>,
        connection: Option<&Connection>,
    ) -> Result<stream::Peer, Refusal> {
        let address = connection.map(Connection::address);
        let headers = request.metadata();
        let from = address.map(|address| address.ip());
        let verified = self.authenticator.authenticate(headers, from).await?;
        let seat = match &verified {
            Some(pod) => {
                let sitter = Sitter {
                    workload: pod.workload.clone(),
                    uid: Some(Arc::clone(&pod.uid)),
                };
                let taken = self.seats.take(sitter, Instant::now());
                Some(taken.map_err(|wait| Refusal::TooOften {
                    pod: pod.workload.clone(),
                    wait,
                })?)
            }
            // Whose it is, Hello says.
            None => None,
        };
        Ok(stream::Peer {
            address,
            verified,
            seat,
            _proved: connection.map(Connection::proved),
        })
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
    let refusals = Arc::clone(&service.refusals);
    let connections = door::accept_plain(listener, refusals, drain.clone());
    let incoming = ReceiverStream::new(connections);
    let serving = server().add_service(limited(service.draining(drain.clone())));
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
    let connections = door::accept_tls(listener, config, refusals, drain.clone());
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
        .max_concurrent_streams(Some(STREAMS))
}

fn limited(service: Discovery) -> DiscoveryServer<Discovery> {
    DiscoveryServer::new(service)
        .max_decoding_message_size(MAX_PROXY_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

#[cfg(test)]
mod tests;
