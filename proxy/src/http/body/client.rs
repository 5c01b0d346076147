//! The body of a request as it comes from the client, whichever HTTP it speaks.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::BodyError;
use crate::http::meter::Meter;

/// The body of a request.
#[derive(Debug)]
pub enum ClientBody {
    /// Of HTTP/1.
    Http1(Incoming),
    /// Of HTTP/2.
    Http2(StreamBody),
}

/// The body of an HTTP/2 message. Room for more is given to its sender as it is read.
#[derive(Debug)]
pub struct StreamBody {
    stream: h2::RecvStream,
    number: u32,
    meter: Rc<Meter>,
    /// What is left of the length its head declared.
    left: Option<u64>,
}

impl StreamBody {
    /// The body that comes by `stream`, of a message with this head.
    pub fn new(stream: h2::RecvStream, head: &HeaderMap, meter: &Rc<Meter>) -> Self {
        let number = stream.stream_id().as_u32();
        if !stream.is_end_stream() {
            meter.open(number);
        }
        Self {
            // One that contradicts itself is refused before anybody asks.
            left: head
                .get(header::CONTENT_LENGTH)
                .and_then(|length| length.to_str().ok())
                .and_then(|length| length.parse().ok()),
            meter: Rc::clone(meter),
            number,
            stream,
        }
    }

    /// Reads on.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        match ready!(self.stream.poll_data(context)) {
            Some(Ok(data)) => {
                // Fails only where the stream is gone, which the next read says.
                let _room = self.stream.flow_control().release_capacity(data.len());
                self.meter.read(self.number, data.len());
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(lost)) => Poll::Ready(Some(Err(lost))),
            None => {
                let trailers = ready!(self.stream.poll_trailers(context));
                let frame = trailers.transpose();
                Poll::Ready(frame.map(|frame| frame.map(Frame::trailers)))
            }
        }
    }

    /// Whether everything was read.
    pub(super) fn is_end(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// How much is still to come.
    pub(super) fn hint(&self) -> SizeHint {
        if self.is_end() {
            return SizeHint::with_exact(0);
        }
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.meter.close(self.number);
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Http1(incoming) => Pin::new(incoming)
                .poll_frame(context)
                .map_err(|_lost| BodyError::Downstream),
            Self::Http2(body) => body
                .poll_read(context)
                .map_err(|_lost| BodyError::Downstream),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http2(body) => body.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(incoming) => incoming.size_hint(),
            Self::Http2(body) => body.hint(),
        }
    }
}
