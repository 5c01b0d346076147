//! An HTTP/2 server connection: requests in, each answered by a task of its own.
//!
//! The `h2` library is used directly, because what a client may cost is decided here: how much it
//! may send ahead, when it is told to calm down, and how much may lie ready for it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use h2::server::{Builder, Handshake};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Ended, MAX_HEAD, RequestScope, Turn, stream};
use crate::carry::response::ResponseBody;
use crate::http::body::ClientBody;
use crate::http::meter::{Abuse, Meter};
use crate::http::outbox::Chunk;

/// Requests one connection may have in flight, as browsers and other proxies expect it.
const MAX_STREAMS: u32 = 100;
/// Streams reset by the client before they were looked at, and reset by us for the client's
/// errors, after which a connection is closed.
const MAX_PENDING_RESETS: usize = 20;
const MAX_LOCAL_RESETS: usize = 256;
/// Flow-control windows: what one stream, and one connection, may send ahead of being read.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// What of one answer may lie ready beyond what the client has room for.
const SEND_BUFFER: usize = 64 * 1024;
/// What small frames that nobody has read yet may cost, in bytes beyond their content; the meter lets
/// few of each stream lie.
const SMALL_FRAMES: usize = 1 << 20;
/// Requests begun before others get the worker.
const BATCH: usize = 16;

/// A server connection; a future that is ready when it ended.
pub(super) struct Connection<IO, F> {
    state: State<IO>,
    meter: Rc<Meter>,
    scope: Rc<RequestScope>,
    handle: Rc<F>,
    /// It is to end, but not yet told so.
    closing: bool,
    /// For what it was cut off.
    cut_off: Option<Abuse>,
}

enum State<IO> {
    Greeting(Handshake<IO, Chunk>),
    Serving(h2::server::Connection<IO, Chunk>),
}

/// Why a connection ended early.
#[derive(Debug)]
pub(super) enum Fault {
    /// Of what its client sent too much.
    Abuse(Abuse),
    /// What the library says.
    Protocol(h2::Error),
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Abuse(abuse) => Self::Abusive(abuse),
            // The library has limits of its own, for heads without end and for broken-off requests.
            Fault::Protocol(error)
                if error.is_library() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) =>
            {
                Self::Abusive(Abuse::Limits)
            }
            Fault::Protocol(error) => {
                tracing::trace!(%error, "a downstream HTTP/2 connection ended early");
                Self::Broken
            }
        }
    }
}

impl<IO, F, R> Connection<IO, F>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<ClientBody>, Turn) -> R + 'static,
    R: Future<Output = Response<ResponseBody>> + 'static,
{
    /// Greets the client at the other end of `io`, and answers its requests with `handle`.
    pub(super) fn new(io: IO, meter: Rc<Meter>, scope: Rc<RequestScope>, handle: F) -> Self {
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .data_frame_budget(SMALL_FRAMES);
        Self {
            state: State::Greeting(builder.handshake(io)),
            meter,
            scope,
            handle: Rc::new(handle),
            closing: false,
            cut_off: None,
        }
    }

    /// Tells the client to open no further streams; ends when those there are are over (RFC 9113
    /// section 6.8).
    pub(super) fn shut_down(connection: Pin<&mut Self>) {
        let this = connection.get_mut();
        this.closing = true;
        if let State::Serving(serving) = &mut this.state {
            this.meter.ending();
            serving.graceful_shutdown();
        }
    }

    fn begin(&self, request: Request<h2::RecvStream>, respond: h2::server::SendResponse<Chunk>) {
        let exchange = stream::Exchange {
            respond,
            meter: Rc::clone(&self.meter),
            scope: Rc::clone(&self.scope),
        };
        let handle = Rc::clone(&self.handle);
        tokio::task::spawn_local(exchange.run(request, move |request, turn| handle(request, turn)));
    }

    fn poll_serving(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let mut begun = 0;
        loop {
            let State::Serving(serving) = &mut self.state else {
                return Poll::Ready(Ok(()));
            };
            let accepted = serving.poll_accept(context);
            if let Some(abuse) = self.meter.abuse()
                && self.cut_off.is_none()
            {
                self.cut_off = Some(abuse);
                serving.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                context.waker().wake_by_ref();
            }
            match ready!(accepted) {
                Some(Ok((request, respond))) => {
                    self.begin(request, respond);
                    begun += 1;
                    if begun == BATCH {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                ended => {
                    return Poll::Ready(match (self.cut_off, ended) {
                        (Some(abuse), _) => Err(Fault::Abuse(abuse)),
                        (None, Some(Err(error))) => Err(Fault::Protocol(error)),
                        (None, _) => Ok(()),
                    });
                }
            }
        }
    }
}

impl<IO, F, R> Future for Connection<IO, F>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<ClientBody>, Turn) -> R + 'static,
    R: Future<Output = Response<ResponseBody>> + 'static,
{
    type Output = Result<(), Fault>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.meter.begin_turn();
        if let State::Greeting(greeting) = &mut this.state {
            let greeted = ready!(Pin::new(greeting).poll(context));
            let mut serving = greeted.map_err(Fault::Protocol)?;
            if this.closing {
                this.meter.ending();
                serving.graceful_shutdown();
            }
            this.state = State::Serving(serving);
        }
        this.poll_serving(context)
    }
}
