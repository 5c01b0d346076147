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
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use crate::bodies::{Bodies, Held, Unread};
use crate::drain::DrainWatch;
use crate::neighbours::Neighbours;
use crate::seats::{Reason, Seat, SeatLimits, Seats};
use crate::shares::Crowded;

pub use local::{LocalBindError, LocalServer};
pub use message::{AdminRequest, AdminResponse};
pub use router::{AdminFuture, Respond, Router};

/// What one admin listener allows.
#[derive(Debug, Clone)]
pub struct AdminLimits {
    /// Connections at once. Beyond it, those go first that ask for nothing.
    pub seats: SeatLimits,
    /// How long a client may take for its first byte.
    pub first_byte: Duration,
    /// Headers in one request.
    pub headers: usize,
    /// Bytes of request line and headers together.
    pub head_bytes: usize,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Bytes of all request bodies together that are held at a time.
    pub all_body_bytes: usize,
    /// How long it may then take for the whole of its first request's head.
    pub first_request: Duration,
    /// How long a client may take for the head. Also how long an idle connection is kept.
    pub read_timeout: Duration,
    /// How long a client may take for the body, which is held in memory meanwhile.
    pub body_timeout: Duration,
}

impl Default for AdminLimits {
    fn default() -> Self {
        Self {
            seats: SeatLimits {
                connections: 256,
                per_source: 64,
                reserve: 64,
            },
            first_byte: Duration::from_secs(2),
            headers: 64,
            head_bytes: 16 * 1024,
            body_bytes: 1024 * 1024,
            all_body_bytes: 8 * 1024 * 1024,
            first_request: Duration::from_secs(5),
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
    /// Whom the reserve is for.
    at_home: Neighbours,
}

/// An admin port that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for admin requests: {cause}")]
pub struct AdminBindError {
    /// Where it should have listened.
    pub address: SocketAddr,
    /// What the system says.
    pub cause: io::Error,
}

impl AdminServer {
    /// Listens on `address`. Port 0 picks a free one, see [`AdminServer::address`].
    pub async fn bind(address: SocketAddr, limits: AdminLimits) -> Result<Self, AdminBindError> {
        let fail = |cause| AdminBindError { address, cause };
        let listener = TcpListener::bind(address).await.map_err(fail)?;
        let address = listener.local_addr().map_err(fail)?;
        Ok(Self {
            listener,
            address,
            limits,
            at_home: Neighbours::of_this_process(),
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
            at_home: Neighbours::of_this_process(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same, with some seats kept for these.
    #[must_use]
    pub fn beside(self, at_home: Neighbours) -> Self {
        Self { at_home, ..self }
    }

    /// Serves until the drain starts, then lets requests in progress finish in the
    /// background, counted by the drain.
    pub async fn serve(self, router: Router, drain: DrainWatch) {
        let (limits, port) = (&self.limits, self.address.port().to_string());
        let bodies = Bodies::new(limits.all_body_bytes, port.clone());
        let seats = Seats::new(limits.seats, self.at_home, port);
        let router = Arc::new(router);
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
            let begun = Connection::begin((stream, peer), &seats, (&router, &bodies), limits);
            let Some(connection) = begun else {
                continue;
            };
            let drain = drain.clone();
            let in_flight = drain.guard();
            tokio::spawn(async move {
                if let Some(connection) = connection.first_byte().await {
                    connection.run(drain).await;
                }
                drop(in_flight);
            });
        }
    }
}

/// One accepted connection, with or without TLS around it.
pub(crate) struct Connection<S> {
    pub(crate) stream: S,
    pub(crate) peer: SocketAddr,
    pub(crate) router: Arc<Router>,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) limits: AdminLimits,
    pub(crate) seat: Seat,
}

impl<S> Connection<S> {
    /// A connection that has a seat, unless all are at work.
    pub(crate) fn begin(
        (stream, peer): (S, SocketAddr),
        seats: &Arc<Seats>,
        (router, bodies): (&Arc<Router>, &Arc<Bodies>),
        limits: &AdminLimits,
    ) -> Option<Self> {
        match seats.take(peer.ip()) {
            Ok(seat) => Some(Self {
                stream,
                peer,
                router: Arc::clone(router),
                bodies: Arc::clone(bodies),
                limits: limits.clone(),
                seat,
            }),
            Err(reason) => {
                tracing::warn!(%peer, ?reason, "a connection to a port of ours was refused");
                None
            }
        }
    }
}

impl Connection<TcpStream> {
    /// The same once its first byte is there, if it comes in time.
    pub(crate) async fn first_byte(self) -> Option<Self> {
        let mut byte = [0];
        // The end of the stream is an answer, too: whoever serves it finds out.
        let waiting = tokio::time::timeout(self.limits.first_byte, self.stream.peek(&mut byte));
        let arrived = tokio::select! {
            arrived = waiting => arrived,
            () = self.seat.lost() => return None,
        };
        if arrived.is_err() {
            self.seat.note(Reason::Silent);
            return None;
        }
        Some(self)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Serves it to its end, until its seat goes to another, or until the drain has let its last
    /// request finish.
    pub(crate) async fn run(self, drain: DrainWatch) {
        let Self {
            stream,
            peer,
            router,
            bodies,
            limits,
            seat,
        } = self;
        let seat = Arc::new(seat);
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.read_timeout)
            .max_headers(limits.headers)
            .max_buf_size(limits.head_bytes);
        let first_request = limits.first_request;
        let asking = Arc::clone(&seat);
        let service = service_fn(move |request| {
            let (router, seat) = (Arc::clone(&router), Arc::clone(&asking));
            let (limits, held) = (limits.clone(), bodies.hold(peer.ip()));
            async move {
                let peer = (peer, &*seat, held);
                Ok::<_, Infallible>(answer(&router, &limits, peer, request).await)
            }
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let no_request = async {
            tokio::time::sleep(first_request).await;
            if seat.has_asked() {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = seat.lost() => return,
            () = no_request => {
                seat.note(Reason::NoRequest);
                return;
            }
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
    (peer, seat, mut held): (SocketAddr, &Seat, Held),
    request: http::Request<Incoming>,
) -> http::Response<Full<Bytes>> {
    seat.asks();
    let (parts, body) = request.into_parts();
    let reading = held.read(body, limits.body_bytes);
    let answer = match tokio::time::timeout(limits.body_timeout, reading).await {
        Ok(Ok(body)) => match seat.at_work() {
            Some(_at_work) => router.respond(AdminRequest::new(parts, body, peer)).await,
            None => AdminResponse::error(
                http::StatusCode::SERVICE_UNAVAILABLE,
                "too many connections; this one was without a request for the longest",
            ),
        },
        Ok(Err(Unread::TooLong)) => AdminResponse::error(
            http::StatusCode::PAYLOAD_TOO_LARGE,
            format!(
                "a request body may have at most {} bytes",
                limits.body_bytes
            ),
        ),
        Ok(Err(Unread::Crowded(why))) => crowded(why, limits),
        Ok(Err(Unread::Broken(error))) => AdminResponse::error(
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

fn crowded(why: Crowded, limits: &AdminLimits) -> AdminResponse {
    let all = limits.all_body_bytes;
    match why {
        Crowded::Source => AdminResponse::error(
            http::StatusCode::TOO_MANY_REQUESTS,
            format!(
                "the bodies of your requests take as much of {all} bytes as is left for everybody \
                 else; wait for the answers"
            ),
        ),
        Crowded::Full => AdminResponse::error(
            http::StatusCode::SERVICE_UNAVAILABLE,
            format!(
                "the bodies of all requests take {all} bytes, which is all there is; try again"
            ),
        ),
    }
}
