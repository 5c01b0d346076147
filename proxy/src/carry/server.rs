//! Server connections: hyper reads requests and writes responses, with limits that are always on,
//! until the client is done, takes too long, or the proxy drains.

mod driver;
mod http2;
mod outgoing;
mod stream;

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mesh_runtime::drain::{DrainWatch, Stage};
use tokio::io::{AsyncRead, AsyncWrite};

use super::response::ResponseBody;
use crate::authz::Watch;
use crate::http::body::ClientBody;
use crate::http::early::Interim;
use crate::http::meter::{Abuse, Meter, Metered};
use crate::http::outbox::Outbox;
use crate::http::server_io::refusal::{HeadLimits, Refusal};
use crate::http::server_io::{ServerIo, Talk};
use crate::http::watched::Watched;
use crate::net::connections::{ConnectionWatch, InFlight, Seat, TimeLimits};
use crate::net::{HttpVersion, Way};
use crate::worker::Worker;
use driver::Driver;
use outgoing::Outgoing;

/// Headers of one message that are read; what is served is decided later.
const MAX_HEADERS: usize = 200;
/// Bytes of one message's head.
const MAX_HEAD: usize = 60 * 1024;
/// What a client is told of these.
const HEAD_LIMITS: HeadLimits = HeadLimits {
    bytes: MAX_HEAD,
    fields: MAX_HEADERS,
};
/// The read buffer of an HTTP/1 connection may grow to this.
const MAX_BUFFER: usize = 64 * 1024;

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
    /// The client sent something that is not HTTP, too much of it, or too slowly; it was told so.
    Refused(Refusal),
    /// The client took nothing of what lay ready for it, or an answer's deadline passed meanwhile.
    Stalled,
    /// The client sent too much of what carries nothing; it was told so.
    Abusive(Abuse),
    /// It was ended because policy no longer lets it be there.
    Revoked,
    /// The connection broke.
    Broken,
}

impl Ended {
    /// Why the proxy ended the connection against its client's will, as metrics have it.
    fn reason(self) -> Option<&'static str> {
        match self {
            Self::Refused(Refusal::HeadLate) => Some("slow_head"),
            Self::Stalled => Some("takes_nothing"),
            Self::Abusive(abuse) => Some(abuse.reason()),
            Self::Revoked => Some("policy"),
            Self::Well | Self::Refused(_) | Self::Broken => None,
        }
    }

    /// What is wrong with the request that was never completed, if the client is to blame.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Well | Self::Stalled | Self::Abusive(_) | Self::Revoked | Self::Broken => None,
        }
    }
}

/// Serves the requests of one connection until it ends.
pub async fn serve<IO, F, R>(
    worker: &Worker,
    (io, seat): (IO, Seat),
    (version, way): (HttpVersion, Way),
    stay: Stay,
    handle: F,
) -> Ended
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<ClientBody>, Turn) -> R + 'static,
    R: Future<Output = Response<ResponseBody>> + 'static,
{
    let limits = TimeLimits {
        head: worker.settings.header_read_timeout,
        idle: worker.idle_timeout(),
        stall: worker.stream_idle_timeout(),
    };
    let is_http1 = version == HttpVersion::Http1;
    seat.speaks_http(limits, is_http1);
    let watch = std::sync::Arc::clone(seat.watch());
    let drain = worker.drains.of(way).clone();
    let scope = Rc::new(RequestScope {
        watch: std::sync::Arc::clone(&watch),
        outbox: Outbox::new(&worker.buffers, &watch),
        stall: limits.stall,
        last_word: is_http1.then(|| drain.clone()),
        talk: is_http1.then(Talk::new),
    });
    let driver = Driver {
        talk: scope.talk.clone(),
        seat,
        drain,
        version,
        stay,
    };
    let ended = match version {
        HttpVersion::Http1 => {
            let talk = scope.talk.clone().unwrap_or_default();
            let interim = Interim::Http1(std::sync::Arc::clone(&talk));
            let io = ServerIo::new(io, talk, std::sync::Arc::clone(&watch), HEAD_LIMITS);
            let io = Watched::new(TokioIo::new(io), &watch);
            let service = service_fn(move |request: Request<_>| {
                scope.asked(&request);
                let turn = scope.begin(interim.clone());
                let answer = handle(request.map(ClientBody::Http1), turn);
                let scope = Rc::clone(&scope);
                async move {
                    let mut answer = answer.await;
                    scope.say_goodbye(&mut answer);
                    scope.answered(answer.status());
                    Ok::<_, Infallible>(answer.map(|body| Outgoing::new(body, &scope.outbox)))
                }
            });
            let connection = http1_server().serve_connection(io, service).with_upgrades();
            driver
                .run(connection, http1::UpgradeableConnection::graceful_shutdown)
                .await
        }
        HttpVersion::Http2 => {
            let meter = Meter::new(&watch);
            let io = Metered::new(io, &meter);
            let connection = http2::Connection::new(io, meter, scope, handle);
            driver.run(connection, http2::Connection::shut_down).await
        }
    };
    if let Some(reason) = ended.reason() {
        metrics::counter!("proxy_connections_ended_total", "reason" => reason).increment(1);
    }
    ended
}

/// An HTTP/1 server with every limit.
fn http1_server() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        // `ServerIo` finds out who has left.
        .half_close(true)
        .header_read_timeout(None)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER);
    builder
}

/// What all requests of a connection share with its driver.
#[derive(Debug)]
pub struct RequestScope {
    watch: std::sync::Arc<ConnectionWatch>,
    outbox: Rc<Outbox>,
    /// How long a client may take nothing of an answer.
    stall: Duration,
    /// Where the answer itself has to say that it is the last one: in HTTP/1.
    last_word: Option<DrainWatch>,
    /// What the stream is told; HTTP/1 only.
    talk: Option<std::sync::Arc<Talk>>,
}

/// What a request holds of its connection.
#[derive(Debug)]
pub struct Turn {
    /// The request is in flight until this is dropped.
    pub in_flight: InFlight,
    /// Where interim answers go.
    pub interim: Interim,
}

impl RequestScope {
    /// A request begins.
    fn begin(&self, interim: Interim) -> Turn {
        Turn {
            in_flight: self.watch.begin(),
            interim,
        }
    }

    fn asked<B: hyper::body::Body>(&self, request: &Request<B>) {
        if let Some(talk) = &self.talk {
            let content = request.body().size_hint().exact();
            talk.asked(request.version(), content);
        }
    }

    fn answered(&self, status: StatusCode) {
        if let Some(talk) = &self.talk {
            talk.answered(status);
        }
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
