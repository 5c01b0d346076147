//! One try: a connection, and the request sent over it.
//!
//! A connection that had been idle may have been closed by the other side just now. Where hyper
//! hands the request back, nothing of it was written, and it goes out on another connection
//! without anybody noticing.

use std::error::Error as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::client::conn::TrySendError;

use super::connect::Dial;
use super::http2::Unanswered;
use super::pool::http2::Dialing;
use super::pool::{Http1Lease, Http2Stream};
use super::{LeasedConnection, LocalCluster, LocalEndpoint, Rights, UpstreamLease, Upstreams};
use crate::error::{Limit, ProxyError, RequestFault, UpstreamFault};
use crate::http::body::{BodyError, RequestBody, UpstreamBody};
use crate::http::early::Interim;

/// How many connections that turn out to be closed one try goes through.
const MAX_STALE: usize = 8;
/// A connection idle for longer than this may be closed by its server at any moment.
const STALE_AFTER: Duration = Duration::from_millis(250);

/// What all tries of one request have in common.
#[derive(Debug)]
pub struct Target<'a> {
    /// The connections of the worker it runs on.
    pub upstreams: &'a Upstreams,
    /// The cluster.
    pub cluster: &'a Rc<LocalCluster>,
    /// Requests under way on the client's connection.
    pub under_way: u32,
    /// Whether HTTP/2 is spoken to the endpoint.
    pub http2: bool,
    /// Whether a safe request that met a closing connection may be sent again even if it may
    /// have been written: only towards the application this proxy stands for.
    pub resend_safe: bool,
    /// Who passes interim answers on.
    pub interim: Option<Interim>,
}

/// An answered try.
#[derive(Debug)]
pub struct Sent {
    /// The answer.
    pub response: Response<UpstreamBody>,
    /// What the request holds until the answer was read.
    pub lease: UpstreamLease,
    /// The endpoint's address.
    pub remote: SocketAddr,
    /// Our address.
    pub local: Option<SocketAddr>,
}

/// A try without an answer.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: ProxyError,
    /// The connection it was sent over, if there was one.
    pub over: Option<(SocketAddr, Option<SocketAddr>)>,
}

impl Failed {
    pub(crate) fn before(error: impl Into<ProxyError>) -> Self {
        Self {
            error: error.into(),
            over: None,
        }
    }
}

/// Sends the request in `slot` to `endpoint` and waits for the head of the answer. The request
/// is back in the slot afterwards if, and only if, nothing of it was sent.
///
/// The slot, rather than the request itself, is handed down so that the future of a request does
/// not hold room for it at every level.
pub async fn attempt(
    target: &Target<'_>,
    endpoint: &LocalEndpoint,
    slot: &mut Option<Request<RequestBody>>,
) -> Result<Sent, Failed> {
    let state = target.cluster.state();
    let grant = state
        .shared()
        .request(&state.cluster().limits)
        .map_err(|limit| Failed::before(UpstreamFault::Overflow(limit)))?;
    let busy = endpoint.pool().busy();
    let active = target.cluster.pools().activate(target.upstreams.worker());
    let mut stale = 0;
    loop {
        let connection = acquire(target, endpoint).await.map_err(Failed::before)?;
        let reused = is_reused(&connection);
        let request = slot.as_ref().filter(|_| target.resend_safe);
        let spare = spare(&connection, request);
        let over = addresses(&connection);
        match send(connection, slot, target.interim.as_ref()).await {
            Ok((response, connection)) => {
                let (remote, local) = over;
                return Ok(Sent {
                    response,
                    lease: UpstreamLease {
                        connection,
                        busy,
                        active,
                        grant,
                    },
                    remote,
                    local,
                });
            }
            Err(error) => {
                stale += 1;
                let over = Some(over);
                if !reused || stale >= MAX_STALE {
                    return Err(Failed { error, over });
                }
                let closed = matches!(error, ProxyError::Upstream(UpstreamFault::Closed { .. }));
                if slot.is_none() && closed {
                    *slot = spare.map(|spare| *spare);
                }
                if slot.is_none() {
                    return Err(Failed { error, over });
                }
            }
        }
    }
}

/// A copy of a safe request without a body that is about to go over a connection which its server
/// may be closing.
fn spare(
    connection: &LeasedConnection,
    request: Option<&Request<RequestBody>>,
) -> Option<Box<Request<RequestBody>>> {
    let (LeasedConnection::Http1(lease), Some(request)) = (connection, request) else {
        return None;
    };
    let may_close = lease.idle_for.is_some_and(|idle| idle > STALE_AFTER);
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    let bodyless = matches!(request.body(), RequestBody::Empty);
    // In a box: hardly any request has one.
    (may_close && safe && bodyless).then(|| Box::new(copy_head(request, RequestBody::Empty)))
}

/// The same head with another body.
pub(crate) fn copy_head(request: &Request<RequestBody>, body: RequestBody) -> Request<RequestBody> {
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn is_reused(connection: &LeasedConnection) -> bool {
    match connection {
        LeasedConnection::Http1(lease) => lease.idle_for.is_some(),
        LeasedConnection::Http2(stream) => stream.reused,
    }
}

fn addresses(connection: &LeasedConnection) -> (SocketAddr, Option<SocketAddr>) {
    match connection {
        LeasedConnection::Http1(lease) => (lease.connection.remote, lease.connection.local),
        LeasedConnection::Http2(stream) => (stream.connection.remote, stream.connection.local),
    }
}

/// A connection: an idle or shared one, a new one, or, at the limit, one that becomes free.
async fn acquire(
    target: &Target<'_>,
    endpoint: &LocalEndpoint,
) -> Result<LeasedConnection, UpstreamFault> {
    let dial = Dial {
        upstreams: target.upstreams,
        cluster: target.cluster.state().cluster(),
        pools: target.cluster.pools(),
        endpoint: endpoint.state(),
        pool: endpoint.pool(),
    };
    if let Some(ready) = take(&dial, target.http2) {
        return Ok(ready);
    }
    dial.check()?;
    let shared = target.cluster.state().shared();
    let limits = &dial.cluster.limits;
    let _pending = shared.pending(limits).map_err(UpstreamFault::Overflow)?;
    let mut counted = false;
    loop {
        if target.http2 && dial_in_progress(&dial).await {
            if let Some(ready) = take(&dial, true) {
                return Ok(ready);
            }
            continue;
        }
        let alone = dial.pool.is_unconnected();
        match shared.connection(limits, alone, &mut counted) {
            // Rare, and large: in a box of its own.
            Ok(grant) => {
                let socket = target.upstreams.socket(target.under_way).await;
                let socket = socket.map_err(UpstreamFault::Overflow)?;
                let rights = Rights { grant, socket };
                return Box::pin(open(&dial, target.http2, rights)).await;
            }
            Err(
                Limit::Connections
                | Limit::Pending
                | Limit::Requests
                | Limit::Retries
                | Limit::Sockets,
            ) => {
                dial.pools.freed().await;
                if let Some(ready) = take(&dial, target.http2) {
                    return Ok(ready);
                }
            }
        }
    }
}

fn take(dial: &Dial<'_>, http2: bool) -> Option<LeasedConnection> {
    if http2 {
        Http2Stream::take(dial.pools, dial.pool).map(LeasedConnection::Http2)
    } else {
        Http1Lease::take(dial.pools, dial.pool).map(LeasedConnection::Http1)
    }
}

/// Waits while somebody else makes a connection that can be shared.
async fn dial_in_progress(dial: &Dial<'_>) -> bool {
    if !dial.pool.is_dialing() {
        return false;
    }
    Dialing::done(dial.pool).await;
    true
}

async fn open(
    dial: &Dial<'_>,
    http2: bool,
    rights: Rights,
) -> Result<LeasedConnection, UpstreamFault> {
    let opened = if http2 {
        let _duty = Dialing::begin(dial.pool);
        dial.http2(rights).await.map(|connection| {
            LeasedConnection::Http2(Http2Stream::share(connection, dial.pools, dial.pool))
        })
    } else {
        dial.http1(rights).await.map(|connection| {
            LeasedConnection::Http1(Http1Lease::new(connection, dial.pools, dial.pool))
        })
    };
    opened.map_err(|fault| {
        let events = &dial.pools.shared().events;
        events
            .connect_failures
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        UpstreamFault::Connect(fault)
    })
}

/// Sends over one connection.
async fn send(
    connection: LeasedConnection,
    slot: &mut Option<Request<RequestBody>>,
    interim: Option<&Interim>,
) -> Result<(Response<UpstreamBody>, LeasedConnection), ProxyError> {
    match connection {
        LeasedConnection::Http1(mut lease) => {
            let Some(request) = slot.take() else {
                return Err(UpstreamFault::Closed { unsent: false }.into());
            };
            lease.connection.ear.listen(interim);
            let sending = lease.connection.sender.try_send_request(request);
            match sending.await {
                Ok(response) => Ok((
                    response.map(UpstreamBody::Http1),
                    LeasedConnection::Http1(lease),
                )),
                Err(error) => Err(failed(error, slot)),
            }
        }
        LeasedConnection::Http2(stream) => {
            match Box::pin(stream.sender().send(slot, interim)).await {
                Ok(response) => Ok((response, LeasedConnection::Http2(stream))),
                Err(unanswered) => {
                    let error = unanswered_means(unanswered);
                    if !is_reset(&error) {
                        stream.condemn();
                    }
                    Err(error)
                }
            }
        }
    }
}

fn is_reset(error: &ProxyError) -> bool {
    matches!(
        error,
        ProxyError::Upstream(UpstreamFault::Reset { .. }) | ProxyError::Request(_)
    )
}

/// Puts the request back if it comes back, and says what went wrong.
fn failed(
    mut error: TrySendError<Request<RequestBody>>,
    slot: &mut Option<Request<RequestBody>>,
) -> ProxyError {
    *slot = error.take_message();
    classify(&error.into_error(), slot.is_some())
}

/// What a failure of hyper's client means.
fn classify(error: &hyper::Error, unsent: bool) -> ProxyError {
    if unsent {
        return UpstreamFault::Closed { unsent: true }.into();
    }
    if error.is_user() {
        // The only thing of ours that fails while a request is sent is its body.
        let cause = error
            .source()
            .and_then(|cause| cause.downcast_ref::<BodyError>());
        return body_failed(cause.copied());
    }
    if error.is_parse() {
        return UpstreamFault::Protocol.into();
    }
    UpstreamFault::Closed { unsent: false }.into()
}

/// What it means that a request over HTTP/2 got no answer.
fn unanswered_means(unanswered: Unanswered) -> ProxyError {
    match unanswered {
        Unanswered::Unsent => UpstreamFault::Closed { unsent: true }.into(),
        Unanswered::Body(error) => body_failed(Some(error)),
        Unanswered::Broken(error) => {
            let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM)
                || (error.is_go_away()
                    && error.is_remote()
                    && error.reason() == Some(h2::Reason::NO_ERROR));
            if refused || error.is_reset() {
                UpstreamFault::Reset { refused }.into()
            } else {
                UpstreamFault::Closed { unsent: false }.into()
            }
        }
    }
}

fn body_failed(cause: Option<BodyError>) -> ProxyError {
    match cause {
        Some(BodyError::Timeout) => RequestFault::BodySlow.into(),
        Some(BodyError::Downstream | BodyError::Upstream | BodyError::Superseded) | None => {
            RequestFault::BodyBroken.into()
        }
    }
}
