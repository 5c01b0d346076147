//! An upstream may answer and close before it has read the whole request. Writing on fails then,
//! while its answer lies readable in the socket.
//!
//! hyper gives a connection up at the first failed write, and the answer with it. This stream
//! swallows such a failure and lets reading tell what happened: the answer if there is one, else
//! the end of the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

/// A stream whose failed writes do not hide what can still be read.
#[derive(Debug)]
pub(super) struct LateAnswer<IO> {
    io: IO,
    deaf: bool,
}

impl<IO> LateAnswer<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, deaf: false }
    }

    /// `written`, or all of `length` if the other side has stopped reading.
    fn forgive(
        &mut self,
        written: Poll<io::Result<usize>>,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error)) if is_closed(&error) => {
                self.deaf = true;
                Poll::Ready(Ok(length))
            }
            Poll::Ready(_) | Poll::Pending => written,
        }
    }
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

impl<IO: Read + Unpin> Read for LateAnswer<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<IO: Write + Unpin> Write for LateAnswer<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf {
            return Poll::Ready(Ok(data.len()));
        }
        let written = Pin::new(&mut self.io).poll_write(context, data);
        self.forgive(written, data.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = || data.iter().map(|slice| slice.len()).sum();
        if self.deaf {
            return Poll::Ready(Ok(length()));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(context, data);
        self.forgive(written, length())
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.deaf {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
