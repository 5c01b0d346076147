//! A response's body: it carries the request's record, so that the metrics and the access-log
//! line are written when the last byte, or the error, goes by, and gives the upstream connection
//! back at that moment.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::http::body::{BodyError, BrokenOff, UpstreamBody};
use crate::http::headers::strip_trailers;
use crate::http::respond::grpc_deadline_exceeded;
use crate::net::connections::{InFlight, Verdict};
use crate::telemetry::{RequestRecord, ResponseFlag};
use crate::upstream::UpstreamLease;

/// The body of a response to the client.
pub struct ResponseBody {
    kind: Kind,
    tail: Option<Tail>,
}

enum Kind {
    /// Nothing, or nothing any more.
    Empty,
    /// The proxy's own answer.
    Full(Bytes),
    /// The upstream's.
    Upstream(UpstreamBody),
}

/// What ends with the response, or with the request that is cut off before it got one.
pub struct Tail {
    /// The facts of the request.
    pub record: RequestRecord,
    /// Holds the connection open for as long as the response is being sent.
    pub connection: Option<InFlight>,
    /// The upstream connection.
    pub upstream: Option<UpstreamLease>,
    /// When the whole request must be over.
    pub deadline: Option<Pin<Box<Sleep>>>,
    /// Whether a response that its deadline ends can still say so: gRPC over HTTP/2, in trailers.
    pub grpc_status: bool,
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

impl fmt::Debug for Tail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").finish_non_exhaustive()
    }
}

impl Tail {
    /// The end of a request that holds nothing yet but its client's connection.
    pub fn new(record: RequestRecord, connection: InFlight) -> Self {
        Self {
            record,
            connection: Some(connection),
            upstream: None,
            deadline: None,
            grpc_status: false,
        }
    }

    /// The response went out whole.
    fn complete(&mut self) {
        self.record.finish();
        if let Some(lease) = self.upstream.take() {
            lease.release();
        }
        self.connection = None;
        self.deadline = None;
    }

    fn break_off(&mut self, flag: ResponseFlag, details: &'static str) {
        self.record.flag(flag);
        self.record.set_details(details);
        self.record.finish();
        // Not released: the connection is in the middle of a response.
        self.upstream = None;
    }
}

impl Drop for Tail {
    /// What is not over by now was cut off. A record that is not finished here finishes itself as
    /// left by the client.
    fn drop(&mut self) {
        let Some(connection) = &self.connection else {
            return;
        };
        if connection.is_revoked() {
            self.break_off(ResponseFlag::NotEnforceable, "policy_revoked");
            return;
        }
        match connection.verdict() {
            Verdict::Fine | Verdict::Idle | Verdict::HeadLate => {}
            Verdict::Stalled => self.break_off(ResponseFlag::StreamIdle, "stream_idle_timeout"),
            Verdict::AnswerLate => {
                self.break_off(ResponseFlag::UpstreamTimeout, "response_timeout");
            }
        }
    }
}

impl ResponseBody {
    /// The proxy's own answer.
    pub fn full(content: Bytes, tail: Tail) -> Self {
        let kind = if content.is_empty() {
            Kind::Empty
        } else {
            Kind::Full(content)
        };
        Self {
            kind,
            tail: Some(tail),
        }
    }

    /// No body, and nothing that ends with it.
    pub fn none() -> Self {
        Self {
            kind: Kind::Empty,
            tail: None,
        }
    }

    /// The upstream's answer.
    pub fn upstream(incoming: UpstreamBody, tail: Tail) -> Self {
        Self {
            kind: Kind::Upstream(incoming),
            tail: Some(tail),
        }
    }

    fn complete(&mut self) {
        if let Some(tail) = &mut self.tail {
            tail.complete();
        }
    }

    fn break_off(&mut self, flag: ResponseFlag, details: &'static str) {
        self.kind = Kind::Empty;
        if let Some(mut tail) = self.tail.take() {
            tail.break_off(flag, details);
        }
    }

    /// Ends the response before its upstream does: a gRPC client is told why, others see a
    /// response that is cut off.
    fn time_out(&mut self) -> Result<Frame<Bytes>, BodyError> {
        let tells = self.tail.as_mut().filter(|tail| tail.grpc_status);
        let last = tells.map_or(Err(BodyError::Timeout), |tail| {
            let status = grpc_deadline_exceeded();
            tail.record.trailers(&status);
            Ok(Frame::trailers(status))
        });
        self.break_off(ResponseFlag::UpstreamTimeout, "response_timeout");
        last
    }

    /// The head goes to the client.
    pub fn begin(&mut self, head: &http::response::Parts) {
        if let Some(tail) = &mut self.tail {
            tail.record.response_head(head);
        }
    }

    /// Whether the answer's deadline passed; whoever asks is woken when it does.
    pub fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<BodyError> {
        let deadline = self.tail.as_mut().and_then(|tail| tail.deadline.as_mut());
        let Some(deadline) = deadline else {
            return Poll::Pending;
        };
        std::task::ready!(deadline.as_mut().poll(context));
        self.break_off(ResponseFlag::UpstreamTimeout, "response_timeout");
        Poll::Ready(BodyError::Timeout)
    }

    /// The client took nothing for too long.
    pub fn stalled(&mut self) {
        self.break_off(ResponseFlag::StreamIdle, "stream_idle_timeout");
    }

    fn is_over(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(_) => false,
            Kind::Upstream(incoming) => incoming.is_end_stream(),
        }
    }

    fn poll_upstream(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Kind::Upstream(incoming) = &mut self.kind else {
            return Poll::Ready(None);
        };
        match Pin::new(incoming).poll_frame(context) {
            Poll::Pending => {
                let late = self.tail.as_mut().and_then(|tail| tail.deadline.as_mut());
                if late.is_some_and(|deadline| deadline.as_mut().poll(context).is_ready()) {
                    return Poll::Ready(Some(self.time_out()));
                }
                Poll::Pending
            }
            Poll::Ready(None) => {
                self.kind = Kind::Empty;
                self.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    strip_trailers(trailers);
                }
                let whole = frame.is_trailers() || incoming_ended(&self.kind);
                if let Some(tail) = &mut self.tail {
                    if let Some(data) = frame.data_ref() {
                        tail.record.response_chunk(data);
                    } else if let Some(trailers) = frame.trailers_ref() {
                        tail.record.trailers(trailers);
                    }
                    if whole && let Some(lease) = tail.upstream.take() {
                        // The client may take long for what is left; the upstream need not wait.
                        lease.release();
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                let flag = match error {
                    BrokenOff::Reset => ResponseFlag::UpstreamReset,
                    BrokenOff::Closed => ResponseFlag::UpstreamClosed,
                };
                self.break_off(flag, "upstream_reset_after_response_started");
                Poll::Ready(Some(Err(BodyError::Upstream)))
            }
        }
    }
}

fn incoming_ended(kind: &Kind) -> bool {
    match kind {
        Kind::Upstream(incoming) => incoming.is_end_stream(),
        Kind::Empty | Kind::Full(_) => false,
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match &mut this.kind {
            Kind::Empty => {
                this.complete();
                Poll::Ready(None)
            }
            Kind::Full(content) => {
                let content = std::mem::take(content);
                this.kind = Kind::Empty;
                if let Some(tail) = &mut this.tail {
                    tail.record.response_chunk(&content);
                }
                Poll::Ready(Some(Ok(Frame::data(content))))
            }
            Kind::Upstream(_) => this.poll_upstream(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(content) => SizeHint::with_exact(content.len() as u64),
            Kind::Upstream(incoming) => incoming.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // The server does not ask again after the last chunk, nor at all if there is no body.
        if self.is_over() {
            self.complete();
        }
    }
}
