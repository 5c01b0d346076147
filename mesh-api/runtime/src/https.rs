//! A [`Router`] behind TLS: what the API server calls as a webhook.
//!
//! The same small HTTP/1.1 as the admin listener, with larger bodies, more connections, and a
//! certificate that may be exchanged while it serves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::admin::{AdminLimits, Connection, Router};
use crate::bodies::Bodies;
use crate::drain::DrainWatch;
use crate::neighbours::Neighbours;
use crate::seats::{Reason, SeatLimits, Seats};
use crate::tls::{
    HTTP_1_1, SwappableCertificate, TlsError, server_config, server_config_for_clients_of,
};

/// What a listener with TLS allows.
#[derive(Debug, Clone)]
pub struct HttpsLimits {
    /// What each connection may do.
    pub requests: AdminLimits,
    /// How long a handshake may take, once its first byte is there.
    pub handshake: Duration,
}

impl Default for HttpsLimits {
    fn default() -> Self {
        Self {
            requests: AdminLimits {
                // API servers are few and use one connection per request in progress.
                seats: SeatLimits {
                    connections: 1024,
                    per_source: 256,
                    reserve: 64,
                },
                // An object may have 1.5 MiB where it is stored, and is sent in its JSON form,
                // an update with the old one beside it.
                body_bytes: 8 * 1024 * 1024,
                all_body_bytes: 32 * 1024 * 1024,
                // API servers keep idle connections for 90 s. Whoever closes first must not be
                // us, or a request could meet the end of its connection.
                read_timeout: Duration::from_secs(100),
                ..AdminLimits::default()
            },
            handshake: Duration::from_secs(5),
        }
    }
}

/// A port that cannot be served with TLS.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// The port cannot be opened.
    #[error("cannot listen on {address} for TLS: {cause}")]
    Bind {
        /// Where it should have listened.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
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
    /// Whom the reserve is for.
    at_home: Neighbours,
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
        let fail = |cause| HttpsError::Bind { address, cause };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        Ok(Self {
            address: listener.local_addr().map_err(fail)?,
            listener,
            acceptor: TlsAcceptor::from(config),
            certificate,
            limits,
            at_home: Neighbours::of_this_process(),
        })
    }

    /// Serves nobody but clients with a certificate of one of the roots in this PEM text.
    pub fn only_clients_of(mut self, roots_pem: &str) -> Result<Self, HttpsError> {
        let certificate = Arc::clone(&self.certificate);
        let config = server_config_for_clients_of(roots_pem, certificate, &[HTTP_1_1])?;
        self.acceptor = TlsAcceptor::from(config);
        Ok(self)
    }

    /// The same, with some seats kept for these.
    #[must_use]
    pub fn beside(self, at_home: Neighbours) -> Self {
        Self { at_home, ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the drain starts, then lets requests in progress finish in the background,
    /// counted by the drain.
    pub async fn serve(self, router: Router, drain: DrainWatch) {
        let (limits, port) = (&self.limits, self.address.port().to_string());
        let bodies = Bodies::new(limits.requests.all_body_bytes, port.clone());
        let seats = Seats::new(limits.requests.seats, self.at_home, port);
        let router = Arc::new(router);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = drain.triggered() => return,
            };
            let accepted = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly "too many open files": let some be closed, instead of spinning.
                    tracing::warn!(address = %self.address, %error, "accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let within = (&router, &bodies);
            let begun = Connection::begin(accepted, &seats, within, &limits.requests);
            let Some(connection) = begun else {
                continue;
            };
            let (acceptor, handshake) = (self.acceptor.clone(), limits.handshake);
            let drain = drain.clone();
            let in_flight = drain.guard();
            tokio::spawn(async move {
                if let Some(connection) = open(connection, acceptor, handshake).await {
                    connection.run(drain).await;
                }
                drop(in_flight);
            });
        }
    }
}

/// The connection within TLS, if there is going to be one.
async fn open(
    connection: Connection<TcpStream>,
    acceptor: TlsAcceptor,
    limit: Duration,
) -> Option<Connection<TlsStream<TcpStream>>> {
    let Connection {
        stream,
        peer,
        router,
        bodies,
        limits,
        seat,
    } = connection.first_byte().await?;
    let handshake = tokio::time::timeout(limit, acceptor.accept(stream));
    let handshake = tokio::select! {
        handshake = handshake => handshake,
        () = seat.lost() => return None,
    };
    match handshake {
        Ok(Ok(stream)) => {
            return Some(Connection {
                stream,
                peer,
                router,
                bodies,
                limits,
                seat,
            });
        }
        // As a probe of the port does.
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            tracing::debug!(%peer, "closed without a handshake");
        }
        Ok(Err(error)) => tracing::info!(%peer, %error, "TLS handshake failed"),
        Err(_elapsed) => tracing::info!(%peer, "TLS handshake took longer than {limit:?}"),
    }
    seat.note(Reason::Handshake);
    None
}

#[cfg(test)]
mod tests;
