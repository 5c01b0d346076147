//! Closing in two steps (RFC 9112 section 9.6): a connection that is closed while the client still
//! sends is reset, and a reset takes with it what the client has not read yet.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a client may be silent, after it was told that the connection ends.
const SILENT: Duration = Duration::from_secs(1);

/// A connection whose sending side is closed; what still comes is thrown away.
#[derive(Debug)]
pub(super) struct Linger {
    timer: Pin<Box<Sleep>>,
    until: Instant,
    /// Bytes that may still come.
    left: usize,
}

impl Linger {
    /// Begins: for `most` time, and so many bytes.
    pub(super) fn begin(most: Duration, bytes: usize) -> Self {
        Self {
            timer: Box::pin(tokio::time::sleep(SILENT)),
            until: Instant::now() + most,
            left: bytes,
        }
    }

    /// Waits until the client closes its side, or for as long as it may take.
    pub(super) fn poll<IO: AsyncRead>(
        &mut self,
        mut io: Pin<&mut IO>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if Instant::now() >= self.until {
            return Poll::Ready(());
        }
        let mut bytes = [0; 4096];
        let mut moved = false;
        loop {
            let mut space = ReadBuf::new(&mut bytes);
            match io.as_mut().poll_read(context, &mut space) {
                Poll::Pending => break,
                Poll::Ready(Ok(())) if !space.filled().is_empty() => {
                    moved = true;
                    self.left = self.left.saturating_sub(space.filled().len());
                    if self.left == 0 {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        if moved {
            let next = (Instant::now() + SILENT).min(self.until);
            self.timer.as_mut().reset(next);
        }
        ready!(self.timer.as_mut().poll(context));
        Poll::Ready(())
    }
}
