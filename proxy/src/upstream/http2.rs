//! A connection that speaks HTTP/2 to an upstream.
//!
//! The `h2` library is used directly, as towards clients: interim answers are heard, and small
//! frames that a slow client does not take are joined by a meter, so that nobody who is served over
//! the same connection loses it to them.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Reason, SendStream};
use http::{Request, Response};
use http_body::Body as _;
use mesh_api::cluster::Http2Keepalive;
use tokio::net::TcpStream;

use super::peer_limits::{Overheard, PeerLimits};
use crate::http::body::{BodyError, RequestBody, StreamBody, UpstreamBody};
use crate::http::early::Interim;
use crate::http::meter::{Meter, Metered};

/// The most header bytes an upstream may answer with.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// Flow-control window of one stream and of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What of one request may lie ready beyond what the upstream has room for.
const SEND_BUFFER: usize = 64 * 1024;
/// What small frames that nobody has read yet may cost, in bytes beyond their content; the meter
/// lets few of each stream lie.
const SMALL_FRAMES: usize = 1 << 20;

type Connection = h2::client::Connection<Metered<Overheard<TcpStream>>, Bytes>;

/// Where requests go in. The connection ends when this is gone and all its streams are over.
#[derive(Debug)]
pub(crate) struct Sender {
    requests: SendRequest<Bytes>,
    meter: Rc<Meter>,
    ended: Rc<Cell<bool>>,
}

/// Drives a connection to its end.
#[derive(Debug)]
pub(crate) struct Driver {
    connection: Connection,
    meter: Rc<Meter>,
    keepalive: Option<Http2Keepalive>,
    ended: Rc<Cell<bool>>,
}

/// Why a request got no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// The connection takes no more requests: this one is back in its slot.
    Unsent,
    /// The stream or the connection broke.
    Broken(h2::Error),
    /// The client's body did.
    Body(BodyError),
}

/// Greets an upstream.
pub(crate) async fn greet(
    stream: TcpStream,
    keepalive: Option<Http2Keepalive>,
) -> Result<(Sender, Driver, Arc<PeerLimits>), h2::Error> {
    let (stream, limits) = Overheard::new(stream);
    let meter = Meter::of_upstream();
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_FRAMES);
    let (requests, connection) = builder.handshake(Metered::new(stream, &meter)).await?;
    let ended = Rc::<Cell<bool>>::default();
    let driver = Driver {
        connection,
        meter: Rc::clone(&meter),
        keepalive,
        ended: Rc::clone(&ended),
    };
    let sender = Sender {
        requests,
        meter,
        ended,
    };
    Ok((sender, driver, limits))
}

impl Driver {
    /// Until the connection ends, or its other end answers no more.
    pub(crate) async fn run(self) -> Result<(), String> {
        let Self {
            mut connection,
            meter,
            keepalive,
            ended,
        } = self;
        let pings = keepalive.and_then(|times| Some((times, connection.ping_pong()?)));
        let silent = async move {
            let Some((times, mut pings)) = pings else {
                return std::future::pending().await;
            };
            loop {
                tokio::time::sleep(times.interval).await;
                let asking = pings.ping(h2::Ping::opaque());
                if !matches!(tokio::time::timeout(times.timeout, asking).await, Ok(Ok(_))) {
                    return;
                }
            }
        };
        let connection = poll_fn(|context| {
            meter.begin_turn();
            Pin::new(&mut connection).poll(context)
        });
        let outcome = tokio::select! {
            biased;
            outcome = connection => outcome.map_err(|error| error.to_string()),
            () = silent => Err("no answer to a PING".to_owned()),
        };
        ended.set(true);
        outcome
    }
}

impl Sender {
    /// Whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.ended.get()
    }

    /// Another handle on the same connection.
    pub(crate) fn share(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            meter: Rc::clone(&self.meter),
            ended: Rc::clone(&self.ended),
        }
    }

    /// Sends the request in `slot` and waits for the head of its answer; what is left of the
    /// request's body is sent meanwhile, and after that.
    pub(crate) async fn send(
        mut self,
        slot: &mut Option<Request<RequestBody>>,
        interim: Option<&Interim>,
    ) -> Result<Response<UpstreamBody>, Unanswered> {
        let ready = poll_fn(|context| self.requests.poll_ready(context)).await;
        let Some(request) = slot.take_if(|_| ready.is_ok()) else {
            return Err(Unanswered::Unsent);
        };
        let (head, body) = request.into_parts();
        let ends = body.is_end_stream();
        let (mut answer, stream) = self
            .requests
            .send_request(Request::from_parts(head, ()), ends)
            .map_err(Unanswered::Broken)?;
        let mut sending = (!ends).then(|| Box::pin(send_body(body, stream)));
        let answered = poll_fn(|context| {
            if let Some(body) = &mut sending
                && let Poll::Ready(sent) = body.as_mut().poll(context)
            {
                sending = None;
                if let Err(error) = sent {
                    return Poll::Ready(Err(Unanswered::Body(error)));
                }
            }
            if let Some(interim) = interim {
                while let Poll::Ready(Some(Ok(early))) = answer.poll_informational(context) {
                    interim.tell(early.status(), early.headers());
                }
            }
            Pin::new(&mut answer)
                .poll(context)
                .map_err(Unanswered::Broken)
        });
        let answered = answered.await?;
        if let Some(rest) = sending {
            tokio::task::spawn_local(rest);
        }
        let (head, stream) = answered.into_parts();
        let body = StreamBody::new(stream, &head.headers, &self.meter);
        Ok(Response::from_parts(head, UpstreamBody::Http2(body)))
    }
}

/// Sends a request's body; fails if the client's end of it does.
async fn send_body(mut body: RequestBody, mut stream: SendStream<Bytes>) -> Result<(), BodyError> {
    loop {
        let frame = poll_fn(|context| {
            if stream.poll_reset(context).is_ready() {
                // The upstream wants no more of it; its answer says why.
                return Poll::Ready(None);
            }
            Pin::new(&mut body).poll_frame(context).map(Some)
        });
        let frame = match frame.await {
            None => return Ok(()),
            Some(None) => {
                let _over = stream.send_data(Bytes::new(), true);
                return Ok(());
            }
            Some(Some(Ok(frame))) => frame,
            Some(Some(Err(error))) => {
                stream.send_reset(Reason::CANCEL);
                return Err(error);
            }
        };
        let over = match frame.into_data() {
            Ok(data) => {
                let last = body.is_end_stream();
                let full = !data.is_empty() && !has_room(&mut stream).await;
                full || stream.send_data(data, last).is_err() || last
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    stream.reserve_capacity(0);
                    let _over = stream.send_trailers(trailers);
                }
                true
            }
        };
        if over {
            return Ok(());
        }
    }
}

/// Waits until the upstream has room for some of what is to be sent; `false` if it wants no more.
async fn has_room(stream: &mut SendStream<Bytes>) -> bool {
    // One byte: asking for all would keep room from streams that could use it now.
    stream.reserve_capacity(1);
    poll_fn(|context| {
        while stream.capacity() == 0 {
            if stream.poll_reset(context).is_ready() {
                return Poll::Ready(false);
            }
            match std::task::ready!(stream.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    })
    .await
}
