//! The small HTTP/1.1 listener that every binary's probes, scrapes and debug pages share.
//!
//! It serves operators and kubelets, not traffic: limits are tight and fixed, and it needs
//! nothing but a tokio runtime of either flavour.

mod local;
mod message;
mod router;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::drain::DrainWatch;

pub use local::{LocalBindError, LocalServer};
pub use message::{AdminRequest, AdminResponse};
pub use router::{AdminFuture, Respond, Router};

/// What one admin listener allows.
#[derive(Debug, Clone)]
pub struct AdminLimits {
    /// Connections at once; more are closed right after they are accepted.
    pub connections: usize,
    /// Headers in one request.
    pub headers: usize,
    /// Bytes of request line and headers together.
    pub head_bytes: usize,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// How long a client may take for the head. Also how long an idle connection is kept.
    pub read_timeout: Duration,
    /// How long a client may take for the body, which is held in memory meanwhile.
    pub body_timeout: Duration,
}

impl Default for AdminLimits {
    fn default() -> Self {
        Self {
            connections: 256,
            headers: 64,
            head_bytes: 16 * 1024,
            body_bytes: 1024 * 1024,
            read_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
        }
    }
}

/// A bound admin listener. Bind early, so that a busy port is an error at start, and serve
/// once the routes are known.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
    limits: AdminLimits,
}

/// An admin port that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for admin requests: {source}")]
pub struct AdminBindError {
    /// Where it should have listened.
    pub address: SocketAddr,
    /// What the system says.
    pub source: io::Error,
}

impl AdminServer {
    /// Listens on `address`. Port 0 picks a free one, see [`AdminServer::address`].
    pub async fn bind(address: SocketAddr, limits: AdminLimits) -> Result<Self, AdminBindError> {
        let fail = |source| AdminBindError { address, source };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Self {
            listener,
            address,
            limits,
        })
    }

    /// Serves a socket that listens already, and does not block.
    pub fn on(listener: std::net::TcpListener, limits: AdminLimits) -> io::Result<Self> {
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        Ok(Self {
            listener,
            address,
            limits,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the drain starts, then lets requests in progress finish in the
    /// background, counted by the drain.
    pub async fn serve(self, router: Router, drain: DrainWatch) {
        let router = Arc::new(router);
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = drain.triggered() => return,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Mostly "too many open files": give the rest of the process time to
                    // close some, instead of spinning.
                    tracing::warn!(address = %self.address, %error, "admin accept failed");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            serve_connection((stream, peer), &permits, &router, &self.limits, &drain);
        }
    }
}

/// Serves a connection in the background, unless there are too many already.
fn serve_connection<S>(
    (stream, peer): (S, SocketAddr),
    permits: &Arc<Semaphore>,
    router: &Arc<Router>,
    limits: &AdminLimits,
    drain: &DrainWatch,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
        tracing::warn!(%peer, "too many admin connections");
        return;
    };
    let connection = Connection {
        stream,
        peer,
        router: Arc::clone(router),
        limits: limits.clone(),
    };
    let drain = drain.clone();
    let in_flight = drain.guard();
    tokio::spawn(async move {
        connection.run(drain).await;
        drop((permit, in_flight));
    });
}

/// One accepted connection, with or without TLS around it.
pub(crate) struct Connection<S> {
    pub(crate) stream: S,
    pub(crate) peer: SocketAddr,
    pub(crate) router: Arc<Router>,
    pub(crate) limits: AdminLimits,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Serves it to its end, or until the drain has let its last request finish.
    pub(crate) async fn run(self, drain: DrainWatch) {
        let Self {
            stream,
            peer,
            router,
            limits,
        } = self;
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.read_timeout)
            .max_headers(limits.headers)
            .max_buf_size(limits.head_bytes);
        let service = service_fn(move |request| {
            let router = Arc::clone(&router);
            let limits = limits.clone();
            async move { Ok::<_, Infallible>(answer(&router, &limits, peer, request).await) }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = drain.triggered() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "admin connection ended early");
        }
    }
}

async fn answer(
    router: &Router,
    limits: &AdminLimits,
    peer: SocketAddr,
    request: http::Request<Incoming>,
) -> http::Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let collecting = Limited::new(body, limits.body_bytes).collect();
    let answer = match tokio::time::timeout(limits.body_timeout, collecting).await {
        Ok(Ok(body)) => {
            router
                .respond(AdminRequest::new(parts, body.to_bytes(), peer))
                .await
        }
        Ok(Err(error)) if error.is::<LengthLimitError>() => AdminResponse::error(
            http::StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "a request body may have at most {} bytes",
                limits.body_bytes
            ),
        ),
        Ok(Err(error)) => AdminResponse::error(
            http::StatusCode::BAD_REQUEST,
            format!("the request body could not be read: {error}"),
        ),
        Err(_elapsed) => AdminResponse::error(
            http::StatusCode::REQUEST_TIMEOUT,
            format!(
                "the request body took longer than {:?}",
                limits.body_timeout
            ),
        ),
    };
    answer.into_http()
}
