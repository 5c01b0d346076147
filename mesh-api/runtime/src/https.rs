//! A [`Router`] behind TLS: what the API server calls as a webhook.
//!
//! The same small HTTP/1.1 as the admin listener, with larger bodies, more connections, and a
//! certificate that may be exchanged while it serves.

mod sources;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::admin::{AdminLimits, Connection, Router};
use crate::drain::DrainWatch;
use crate::tls::{
    HTTP_1_1, SwappableCertificate, TlsError, server_config, server_config_for_clients_of,
};
use sources::Sources;

/// What a listener with TLS allows.
#[derive(Debug, Clone)]
pub struct HttpsLimits {
    /// What each connection may do.
    pub requests: AdminLimits,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// Connections at once of one source; more are closed right after they are accepted. API
    /// servers are few and use one connection per request in progress.
    pub per_source: usize,
}

impl Default for HttpsLimits {
    fn default() -> Self {
        Self {
            requests: AdminLimits {
                connections: 1024,
                // An object may have 1.5 MiB where it is stored, and is sent in its JSON form,
                // an update with the old one beside it.
                body_bytes: 8 * 1024 * 1024,
                // API servers keep idle connections for 90 s. Whoever closes first must not be
                // us, or a request could meet the end of its connection.
                read_timeout: Duration::from_secs(100),
                ..AdminLimits::default()
            },
            handshake: Duration::from_secs(10),
            per_source: 256,
        }
    }
}

/// A port that cannot be served with TLS.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The port cannot be opened.
    #[error("cannot listen on {address} for TLS: {source}")]
    Bind {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A bound listener with TLS.
pub struct HttpsServer {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    certificate: Arc<SwappableCertificate>,
    limits: HttpsLimits,
}

impl std::fmt::Debug for HttpsServer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HttpsServer")
            .field("address", &self.address)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl HttpsServer {
    /// Listens on `address`. Port 0 picks a free one, see [`HttpsServer::address`].
    pub async fn bind(
        address: SocketAddr,
        certificate: Arc<SwappableCertificate>,
        limits: HttpsLimits,
    ) -> Result<Self, HttpsError> {
        let config = server_config(Arc::clone(&certificate), &[HTTP_1_1])?;
        let fail = |source| HttpsError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        Ok(Self {
            address: listener.local_addr().map_err(fail)?,
            listener,
            acceptor: TlsAcceptor::from(config),
            certificate,
            limits,
        })
    }

    /// Serves nobody but clients with a certificate of one of the roots in this PEM text.
    pub fn only_clients_of(mut self, roots_pem: &str) -> Result<Self, HttpsError> {
        let certificate = Arc::clone(&self.certificate);
        let config = server_config_for_clients_of(roots_pem, certificate, &[HTTP_1_1])?;
        self.acceptor = TlsAcceptor::from(config);
        Ok(self)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the drain starts, then lets requests in progress finish in the background,
    /// counted by the drain.
    pub async fn serve(self, router: Router, drain: DrainWatch) {
        let router = Arc::new(router);
        let permits = Arc::new(Semaphore::new(self.limits.requests.connections));
        let sources = Sources::new(self.limits.per_source);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = drain.triggered() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly "too many open files": let some be closed, instead of spinning.
                    tracing::warn!(address = %self.address, %error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Some(visit) = sources.enter(peer.ip()) else {
                tracing::debug!(address = %self.address, %peer, "too many connections of this source");
                continue;
            };
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                tracing::warn!(address = %self.address, %peer, "too many connections");
                continue;
            };
            let opening = Opening {
                acceptor: self.acceptor.clone(),
                router: Arc::clone(&router),
                limits: self.limits.clone(),
                stream,
                peer,
            };
            let drain = drain.clone();
            let in_flight = drain.guard();
            tokio::spawn(async move {
                opening.run(drain).await;
                drop((permit, visit, in_flight));
            });
        }
    }
}

struct Opening {
    acceptor: TlsAcceptor,
    router: Arc<Router>,
    limits: HttpsLimits,
    stream: TcpStream,
    peer: SocketAddr,
}

impl Opening {
    async fn run(self, drain: DrainWatch) {
        let peer = self.peer;
        let handshake = self.acceptor.accept(self.stream);
        let stream = match tokio::time::timeout(self.limits.handshake, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::info!(%peer, %error, "TLS handshake failed");
                return;
            }
            Err(_elapsed) => {
                tracing::info!(%peer, "TLS handshake took longer than {:?}", self.limits.handshake);
                return;
            }
        };
        let connection = Connection {
            stream,
            peer,
            router: self.router,
            limits: self.limits.requests,
        };
        connection.run(drain).await;
    }
}

#[cfg(test)]
mod tests;
