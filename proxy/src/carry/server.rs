//! Server connections: hyper reads requests and writes responses, with limits that are always on,
//! until the client is done, takes too long, or the proxy drains.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mesh_runtime::drain::{DrainWatch, Stage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::response::ResponseBody;
use crate::authz::Watch;
use crate::http::executor::LocalExecutor;
use crate::http::idle::{ConnectionWatch, IdleLimits, InFlight, Registration, Verdict, Watched};
use crate::net::{HttpVersion, Way};
use crate::worker::Worker;

/// Headers of one message.
const MAX_HEADERS: usize = 100;
/// Bytes of one message's head.
const MAX_HEAD: usize = 60 * 1024;
/// The read buffer of an HTTP/1 connection may grow to this.
const MAX_BUFFER: usize = 64 * 1024;
/// Requests one HTTP/2 connection may have in flight.
const MAX_STREAMS: u32 = 250;
/// Streams reset by the client before they were looked at, and reset by us for the client's
/// errors, after which an HTTP/2 connection is closed.
const MAX_PENDING_RESETS: usize = 20;
const MAX_LOCAL_RESETS: usize = 256;
/// Flow-control windows: what one stream, and one connection, may send ahead.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// An HTTP/2 client is asked whether it is still there after this time, and has as long to answer.
const PING_AFTER: Duration = Duration::from_mins(1);
const PING_ANSWER: Duration = Duration::from_secs(20);
/// A connection without any request is closed after this time. Proxies that call us close theirs
/// after an hour; the side that sends requests is to be the first, or one of them meets the close.
const IDLE: Duration = Duration::from_mins(65);

/// How long a request that is under way when its permit is revoked may take to come to its end.
const REVOKED: Duration = Duration::from_secs(2);

/// By what right a connection is there, beside the clock and the drain.
#[derive(Debug, Default)]
pub struct Stay {
    /// Watches the policy of the place where it came in; `None` for the local application's.
    pub watch: Option<Watch>,
    /// It is refused: it is told so once, then closed.
    pub refused: bool,
}

/// How a server connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it should.
    Well,
    /// The client sent something that is not HTTP, or too much of it; it was told so.
    Malformed(u16),
    /// The client took too long.
    Slow,
    /// It was ended because policy no longer lets it be there.
    Revoked,
    /// The connection broke.
    Broken,
}

impl Ended {
    /// The status of the request that was never completed, if the client is to blame.
    pub fn refusal(self) -> Option<u16> {
        match self {
            Self::Malformed(code) => Some(code),
            Self::Slow => Some(408),
            Self::Well | Self::Revoked | Self::Broken => None,
        }
    }
}

/// Serves the requests of one connection until it ends.
pub async fn serve<IO, F, R>(
    worker: &Worker,
    io: IO,
    (version, way): (HttpVersion, Way),
    stay: Stay,
    handle: F,
) -> Ended
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>, &Rc<RequestScope>) -> R + 'static,
    R: Future<Output = Response<ResponseBody>> + 'static,
{
    let limits = IdleLimits {
        head: worker.settings.header_read_timeout,
        idle: IDLE,
    };
    let http1 = version == HttpVersion::Http1;
    let registration = worker.idle.register(limits, http1);
    let drain = worker.drains.of(way).clone();
    let scope = Rc::new(RequestScope {
        watch: std::sync::Arc::clone(registration.watch()),
        last_word: http1.then(|| drain.clone()),
    });
    let io = Watched::new(TokioIo::new(io), registration.watch());
    let service = service_fn(move |request| {
        let answer = handle(request, &scope);
        let scope = Rc::clone(&scope);
        async move {
            let mut answer = answer.await;
            scope.say_goodbye(&mut answer);
            Ok::<_, Infallible>(answer)
        }
    });
    let driver = Driver {
        registration,
        drain,
        version,
        stay,
    };
    match version {
        HttpVersion::Http1 => {
            let mut builder = http1::Builder::new();
            builder
                .header_read_timeout(None)
                .max_headers(MAX_HEADERS)
                .max_header_size(MAX_HEAD)
                .max_buf_size(MAX_BUFFER);
            let connection = builder.serve_connection(io, service).with_upgrades();
            driver
                .run(connection, http1::UpgradeableConnection::graceful_shutdown)
                .await
        }
        HttpVersion::Http2 => {
            let mut builder = http2::Builder::new(LocalExecutor);
            builder
                .timer(TokioTimer::new())
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
                .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
                .max_local_error_reset_streams(MAX_LOCAL_RESETS)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .keep_alive_interval(PING_AFTER)
                .keep_alive_timeout(PING_ANSWER);
            let connection = builder.serve_connection(io, service);
            driver
                .run(connection, http2::Connection::graceful_shutdown)
                .await
        }
    }
}

/// What all requests of a connection share with its driver.
#[derive(Debug)]
pub struct RequestScope {
    watch: std::sync::Arc<ConnectionWatch>,
    /// Where the answer itself has to say that it is the last one: in HTTP/1.
    last_word: Option<DrainWatch>,
}

impl RequestScope {
    /// A request is in flight until the guard is dropped.
    pub fn begin(&self) -> InFlight {
        self.watch.begin()
    }

    /// Tells an HTTP/1 client, once the drain is announced, to send its next request elsewhere
    /// (RFC 9112 section 9.6). A connection closed without that word may carry a request already.
    fn say_goodbye<B>(&self, answer: &mut Response<B>) {
        let leaving = |drain: &DrainWatch| drain.stage() > Stage::Running;
        if self.last_word.as_ref().is_some_and(leaving)
            && answer.status() != StatusCode::SWITCHING_PROTOCOLS
        {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
    }
}

/// Drives a connection, and watches the clock and the drain beside it.
struct Driver {
    registration: Registration,
    drain: DrainWatch,
    version: HttpVersion,
    stay: Stay,
}

impl Driver {
    async fn run<C>(mut self, connection: C, shut_down: fn(Pin<&mut C>)) -> Ended
    where
        C: Future<Output = Result<(), hyper::Error>>,
    {
        let mut connection = std::pin::pin!(connection);
        let mut watched = self.stay.watch.take();
        let mut cut: Option<Pin<Box<Sleep>>> = None;
        let mut seen = self.drain.stage();
        let mut next_stage = std::pin::pin!(self.drain.beyond(seen));
        let close_at = self.close_at(seen);
        let mut registered = false;
        let mut closing = false;
        let watch = self.registration.watch();
        std::future::poll_fn(|context: &mut Context<'_>| {
            match watch.verdict() {
                Verdict::HeadLate => return Poll::Ready(Ended::Slow),
                Verdict::Idle if !closing => {
                    closing = true;
                    shut_down(connection.as_mut());
                }
                Verdict::Idle | Verdict::Fine => {}
            }
            if let Some(watched) = &mut watched
                && watched.lost(context).is_some()
            {
                // HTTP/2 says so (GOAWAY, RFC 9113 section 6.8), HTTP/1 closes between requests;
                // what is under way has a moment, then it is cut off with the connection.
                watch.revoke();
                cut.get_or_insert_with(|| Box::pin(tokio::time::sleep(REVOKED)));
                if !std::mem::replace(&mut closing, true) {
                    shut_down(connection.as_mut());
                }
            }
            if let Some(cut) = &mut cut
                && cut.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Ended::Revoked);
            }
            let stage = self.drain.stage();
            if !registered || stage > seen {
                // Once per stage is enough: this task keeps its waker.
                watch.wake(context.waker());
                while next_stage.as_mut().poll(context).is_ready() {
                    next_stage.set(self.drain.beyond(self.drain.stage()));
                }
                (registered, seen) = (true, stage);
            }
            // Before anything is closed, what has already arrived is read: it may be a request.
            let mut polled = connection.as_mut().poll(context);
            let leaves = stage >= close_at || self.is_being_refused();
            if polled.is_pending() && !closing && leaves && self.may_close() {
                closing = true;
                shut_down(connection.as_mut());
                polled = connection.as_mut().poll(context);
            }
            polled.map(|ended| match ended {
                Ok(()) => Ended::Well,
                Err(error) => ended_by(&error),
            })
        })
        .await
    }

    /// When the connection is told to end. HTTP/2 has a word for it that costs no request
    /// (GOAWAY, RFC 9113 section 6.8), so a client is told as soon as it may go; one that comes
    /// after that does not know better yet, and is served until the drain starts. HTTP/1 has that
    /// word only in answers.
    fn close_at(&self, begun: Stage) -> Stage {
        match (self.version, begun) {
            (HttpVersion::Http2, Stage::Running) => Stage::Announced,
            (HttpVersion::Http1 | HttpVersion::Http2, _) => Stage::Triggered,
        }
    }

    /// Whether the client is to go because it was refused. An HTTP/2 client would take GOAWAY for an
    /// answer to the request it has not sent yet.
    fn is_being_refused(&self) -> bool {
        let asked = self.registration.watch().is_answering();
        self.stay.refused && (self.version == HttpVersion::Http1 || asked)
    }

    /// Whether hyper can be told to end without losing a request of which it knows a part.
    fn may_close(&self) -> bool {
        let watch = self.registration.watch();
        match self.version {
            HttpVersion::Http1 => watch.is_answering() || watch.is_between_requests(),
            HttpVersion::Http2 => true,
        }
    }
}

fn ended_by(error: &hyper::Error) -> Ended {
    tracing::trace!(%error, "a downstream connection ended early");
    if error.is_parse_too_large() {
        Ended::Malformed(431)
    } else if error.is_parse() {
        Ended::Malformed(400)
    } else if error.is_timeout() {
        Ended::Slow
    } else {
        Ended::Broken
    }
}
