//! The body of an upstream's answer, whichever HTTP it speaks.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::StreamBody;

/// The body of an answer.
#[derive(Debug)]
pub enum UpstreamBody {
    /// Of HTTP/1.
    Http1(Incoming),
    /// Of HTTP/2.
    Http2(StreamBody),
}

/// An answer ended before it was whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenOff {
    /// The upstream reset its stream; the connection goes on.
    Reset,
    /// The connection ended.
    Closed,
}

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reset => "the upstream reset the stream",
            Self::Closed => "the connection to the upstream ended",
        })
    }
}

impl std::error::Error for BrokenOff {}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Http1(incoming) => Pin::new(incoming)
                .poll_frame(context)
                .map_err(|_lost| BrokenOff::Closed),
            Self::Http2(body) => body.poll_read(context).map_err(|lost| {
                if lost.is_reset() {
                    BrokenOff::Reset
                } else {
                    BrokenOff::Closed
                }
            }),
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
