//! One request of an HTTP/2 connection, from its head to the last byte of its answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use bytes::Buf;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::header::{self, HeaderValue};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use tokio::time::Sleep;

use super::outgoing::Outgoing;
use super::{RequestScope, Turn};
use crate::carry::response::ResponseBody;
use crate::http::body::{BodyError, ClientBody, StreamBody};
use crate::http::early::{Early, Interim};
use crate::http::meter::Meter;
use crate::http::outbox::Chunk;

/// A request and its answer.
pub(super) struct Exchange {
    pub(super) respond: SendResponse<Chunk>,
    pub(super) meter: Rc<Meter>,
    pub(super) scope: Rc<RequestScope>,
}

/// The client is not there any more, or took too long.
struct Gone;

impl Exchange {
    /// Has the request answered by `handle`, and sends the answer.
    pub(super) async fn run<R>(
        mut self,
        request: Request<RecvStream>,
        handle: impl FnOnce(Request<ClientBody>, Turn) -> R,
    ) where
        R: Future<Output = Response<ResponseBody>>,
    {
        let (parts, body) = request.into_parts();
        let body = StreamBody::new(body, &parts.headers, &self.meter);
        let request = Request::from_parts(parts, ClientBody::Http2(body));
        let begun = self.meter.now();
        let early = Arc::<Early>::default();
        let turn = self.scope.begin(Interim::Http2(Arc::clone(&early)));
        let answer = self.answer(&early, handle(request, turn)).await;
        let Some(answer) = answer else {
            self.meter.broken_off(begun);
            return;
        };
        let (mut head, body) = answer.into_parts();
        complete(&mut head.headers, &body);
        let ends = body.is_end_stream();
        match self
            .respond
            .send_response(Response::from_parts(head, ()), ends)
        {
            Ok(_) if ends => {}
            Ok(stream) => {
                let outgoing = Outgoing::new(body, &self.scope.outbox);
                // Who is gone is not told; the body's end records it.
                let _gone = Sending {
                    stream,
                    meter: &self.meter,
                    patience: self.scope.stall,
                }
                .send(outgoing)
                .await;
            }
            Err(error) => {
                tracing::debug!(%error, "a response's head was refused");
                self.respond.send_reset(Reason::INTERNAL_ERROR);
            }
        }
    }

    /// Waits for the answer, and tells the client what comes before it; `None` if the client breaks
    /// the request off.
    async fn answer(
        &mut self,
        early: &Early,
        answer: impl Future<Output = Response<ResponseBody>>,
    ) -> Option<Response<ResponseBody>> {
        let mut answer = pin!(answer);
        poll_fn(|context| {
            let answered = answer.as_mut().poll(context);
            for early in early.take(context.waker()) {
                if let Err(error) = self.respond.send_informational(early) {
                    tracing::debug!(%error, "an interim answer was refused");
                }
            }
            if let Poll::Ready(answer) = answered {
                return Poll::Ready(Some(answer));
            }
            self.respond.poll_reset(context).map(|_reason| None)
        })
        .await
    }
}

/// Writes what a head says about its content and the time, where it says nothing.
fn complete(headers: &mut HeaderMap, body: &ResponseBody) {
    if !body.is_end_stream()
        && let Some(length) = body.size_hint().exact()
    {
        let length = || HeaderValue::from(length);
        headers.entry(header::CONTENT_LENGTH).or_insert_with(length);
    }
    // RFC 9110 section 6.6.1: whoever has a clock dates a message that came without.
    headers.entry(header::DATE).or_insert_with(|| {
        let now = httpdate::fmt_http_date(SystemTime::now());
        HeaderValue::try_from(now).unwrap_or(HeaderValue::from_static(""))
    });
}

/// An answer's body on its way out.
struct Sending<'a> {
    stream: SendStream<Chunk>,
    meter: &'a Meter,
    /// How long the client may take nothing.
    patience: Duration,
}

impl Sending<'_> {
    async fn send(mut self, body: Outgoing) -> Result<(), Gone> {
        let mut body = pin!(body);
        while let Some(frame) = self.next(body.as_mut()).await? {
            let frame = match frame.into_data() {
                Ok(data) => {
                    let last = body.is_end_stream();
                    self.data(body.as_mut(), data, last).await?;
                    if last {
                        return Ok(());
                    }
                    continue;
                }
                Err(frame) => frame,
            };
            if let Ok(trailers) = frame.into_trailers() {
                self.stream.reserve_capacity(0);
                return self.stream.send_trailers(trailers).map_err(|_over| Gone);
            }
        }
        // What is empty counts nothing and needs no room.
        let nothing = Chunk::nothing();
        self.stream.send_data(nothing, true).map_err(|_over| Gone)
    }

    /// The next frame of the body; looks out for a client that wants no more of it.
    async fn next(&mut self, mut body: Pin<&mut Outgoing>) -> Result<Option<Frame<Chunk>>, Gone> {
        let frame = poll_fn(|context| {
            if self.stream.poll_reset(context).is_ready() {
                return Poll::Ready(Err(Gone));
            }
            body.as_mut().poll_frame(context).map(Ok)
        });
        frame
            .await?
            .transpose()
            .map_err(|error| self.break_off(error))
    }

    /// Sends a chunk once the client has room for some of it.
    async fn data(
        &mut self,
        mut body: Pin<&mut Outgoing>,
        data: Chunk,
        last: bool,
    ) -> Result<(), Gone> {
        if data.has_remaining() {
            // One byte: asking for all would keep room from streams that could use it now.
            self.stream.reserve_capacity(1);
            let mut stall: Option<Pin<Box<Sleep>>> = None;
            poll_fn(|context| self.poll_room(body.as_mut(), &mut stall, context)).await?;
        }
        self.meter.sent(data.remaining());
        self.stream.send_data(data, last).map_err(|_over| Gone)
    }

    fn poll_room(
        &mut self,
        mut body: Pin<&mut Outgoing>,
        stall: &mut Option<Pin<Box<Sleep>>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Gone>> {
        while self.stream.capacity() == 0 {
            if self.stream.poll_reset(context).is_ready() {
                return Poll::Ready(Err(Gone));
            }
            let Poll::Ready(more) = self.stream.poll_capacity(context) else {
                if let Poll::Ready(late) = body.poll_late(context) {
                    return Poll::Ready(Err(self.break_off(late)));
                }
                let stall =
                    stall.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.patience)));
                ready!(stall.as_mut().poll(context));
                body.stalled();
                return Poll::Ready(Err(self.break_off(BodyError::Timeout)));
            };
            match more {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(Err(Gone)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Tells the client that the answer is not whole.
    fn break_off(&mut self, error: BodyError) -> Gone {
        self.stream.send_reset(match error {
            BodyError::Timeout => Reason::CANCEL,
            BodyError::Downstream | BodyError::Upstream | BodyError::Superseded => {
                Reason::INTERNAL_ERROR
            }
        });
        Gone
    }
}
