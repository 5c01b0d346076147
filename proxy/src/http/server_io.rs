//! What HTTP/1 asks of the server's end of a connection and hyper does not do, done between hyper
//! and the socket:
//!
//! - interim answers (RFC 9110 section 15.2) are written before the final one;
//! - a client that has sent its last byte gets its answer, and one that has left is noticed
//!   (`leaving.rs`);
//! - a connection is closed in two steps, so that a client that still sends can read why (RFC 9112
//!   section 9.6);
//! - a client whose request cannot be read is told which limit it met (`refusal.rs`).
//!
//! Own bytes go out only where hyper has nothing under way: it flushes the stream when, and only
//! when, all it had was written.

mod leaving;
mod ledger;
pub mod refusal;
mod talk;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::linger::Linger;
use crate::net::connections::{ConnectionWatch, Verdict};
use leaving::Leaving;
use ledger::Ledger;
use refusal::{HeadLimits, Refusal};
use talk::Phase;
pub use talk::Talk;

/// The most that is read ahead of hyper, to find out whether the client is there.
const AHEAD: usize = 64;

/// How long a client that sends content may go on after it was told that the connection ends: an
/// upload is not read for ever. And how long one may that was too slow.
const UPLOAD: Duration = Duration::from_secs(30);
const FAREWELL: Duration = Duration::from_secs(2);

/// The stream of an HTTP/1 connection, below hyper.
#[derive(Debug)]
pub struct ServerIo<IO> {
    io: IO,
    talk: Arc<Talk>,
    watch: Arc<ConnectionWatch>,
    limits: HeadLimits,
    /// Bytes of our own that are to go out before anything of hyper's.
    own: BytesMut,
    /// Whether all that hyper wrote is on its way.
    flushed: bool,
    /// Whether hyper waits for bytes in this turn, and so will see the end itself.
    reading: bool,
    /// What was read while hyper did not ask.
    ahead: BytesMut,
    /// The client has sent its last byte.
    ended: bool,
    /// What belongs to which message.
    ledger: Ledger,
    leaving: Option<Box<Leaving>>,
    linger: Option<Box<Linger>>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> ServerIo<IO> {
    /// The stream `io`, of whose requests `talk` and `watch` know.
    pub fn new(io: IO, talk: Arc<Talk>, watch: Arc<ConnectionWatch>, limits: HeadLimits) -> Self {
        Self {
            io,
            talk,
            watch,
            limits,
            own: BytesMut::new(),
            flushed: true,
            reading: false,
            ahead: BytesMut::new(),
            ended: false,
            ledger: Ledger::default(),
            leaving: None,
            linger: None,
        }
    }

    /// Writes what is ours to write: interim answers, if they can still come before the final one.
    fn poll_own(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.own.is_empty() && self.talk.has_interim() {
            let interim = self.talk.take_interim();
            if self.flushed {
                self.own.extend_from_slice(&interim);
            }
        }
        while !self.own.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(context, &self.own))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.own.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Looks, while a request is being answered, whether its client is still there.
    fn look(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let reading = std::mem::take(&mut self.reading);
        while !reading && !self.ended && self.ahead.len() < AHEAD {
            let mut bytes = [0; AHEAD];
            let mut space = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.io).poll_read(context, &mut space) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(())) if space.filled().is_empty() => self.ended = true,
                Poll::Ready(Ok(())) => self.ahead.extend_from_slice(space.filled()),
            }
        }
        if self.ended {
            return self.check_leaving(context);
        }
        Ok(())
    }

    /// Finds out whether a client that sends nothing more has left.
    fn check_leaving(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let mut leaving = self.leaving.take().unwrap_or_default();
        while leaving.is_due(context) {
            if leaving.may_ask(self.talk.phase()) {
                if self.flushed && self.own.is_empty() {
                    self.own.extend_from_slice(leaving::QUESTION);
                    if let Poll::Ready(asked) = self.poll_own(context) {
                        asked?;
                    }
                }
            } else if leaving.is_given_up(self.talk.phase()) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            leaving.rest();
        }
        self.leaving = Some(leaving);
        Ok(())
    }

    /// Ends the connection: our side first, the other when the client has had time to read.
    fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(self.poll_own(context))?;
            ready!(Pin::new(&mut self.io).poll_shutdown(context))?;
            // Who had nothing to do is owed no time to read why.
            if self.ended || self.watch.verdict() == Verdict::Idle {
                return Poll::Ready(Ok(()));
            }
        }
        let late = self.talk.farewell().is_some();
        let most = if late { FAREWELL } else { UPLOAD };
        let begin = || Box::new(Linger::begin(most, usize::MAX));
        let linger = self.linger.get_or_insert_with(begin);
        linger.poll(Pin::new(&mut self.io), context).map(Ok)
    }

    /// Says the last word to a client whose head takes too long; hyper sees the end of the stream.
    fn poll_farewell(
        &mut self,
        refusal: Refusal,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            if !self.flushed {
                // An earlier answer is still in the way.
                return Poll::Ready(Ok(()));
            }
            if self.own.is_empty() && !self.talk.is_said() {
                self.own.extend_from_slice(&refusal.answer(self.limits));
                self.talk.said();
            }
        }
        // However that ends, it is the end.
        self.poll_close(context).map(|_closed| Ok(()))
    }

    /// What takes the place of an answer that hyper gives by itself, which has no content.
    fn refuse(&mut self, written: &[u8]) -> bool {
        let Some(refusal) = Refusal::of_answer(written, self.ledger.received(), self.limits) else {
            return false;
        };
        self.own.extend_from_slice(&refusal.answer(self.limits));
        self.talk.refuse(refusal);
        true
    }

    /// hyper is given these bytes; says how many.
    fn note(&mut self, bytes: &[u8]) -> usize {
        if self.ledger.read(bytes) && self.talk.phase() == Phase::Idle {
            self.watch.head_begins();
        }
        bytes.len()
    }

    /// An answer is over.
    fn rest(&mut self) {
        self.talk.rest();
        let begun = self.ledger.settle(self.talk.content());
        if begun || !(self.ahead.is_empty() || self.ledger.is_owed()) {
            self.watch.head_begins();
        }
        self.leaving = None;
    }

    fn wrote(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(1..)) = written {
            self.flushed = false;
            if let Some(leaving) = &mut self.leaving {
                leaving.moved();
            }
        }
    }

    /// Before hyper writes: whether it is to wait, and whether its bytes are replaced.
    fn poll_before(&mut self, context: &mut Context<'_>, first: &[u8]) -> Poll<io::Result<bool>> {
        ready!(self.poll_own(context))?;
        let refused = self.flushed && self.talk.phase() == Phase::Idle && self.refuse(first);
        Poll::Ready(Ok(refused))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for ServerIo<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(refusal) = this.talk.farewell() {
            return this.poll_farewell(refusal, context);
        }
        let before = buffer.filled().len();
        if !this.ahead.is_empty() {
            let take = this.ahead.len().min(buffer.remaining());
            buffer.put_slice(&this.ahead.split_to(take));
        }
        if this.ended || buffer.remaining() == 0 {
            this.note(buffer.filled().get(before..).unwrap_or_default());
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut this.io).poll_read(context, buffer);
        let count = this.note(buffer.filled().get(before..).unwrap_or_default());
        match read {
            Poll::Pending => {
                this.reading = true;
                if count > 0 {
                    return Poll::Ready(Ok(()));
                }
            }
            Poll::Ready(Ok(())) => this.ended = count == 0,
            Poll::Ready(Err(_)) => {}
        }
        read
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ServerIo<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if ready!(this.poll_before(context, data))? {
            return Poll::Ready(Ok(data.len()));
        }
        let written = Pin::new(&mut this.io).poll_write(context, data);
        this.wrote(&written);
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let first = data.first().map_or(&[] as &[u8], |first| first);
        if ready!(this.poll_before(context, first))? {
            return Poll::Ready(Ok(data.iter().map(|slice| slice.len()).sum()));
        }
        let written = Pin::new(&mut this.io).poll_write_vectored(context, data);
        this.wrote(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.flushed = true;
        ready!(this.poll_own(context))?;
        ready!(Pin::new(&mut this.io).poll_flush(context))?;
        match this.talk.phase() {
            Phase::Idle | Phase::Over => {}
            Phase::Answering if !this.watch.is_answering() => {
                this.rest();
            }
            Phase::Waiting | Phase::WaitingOld | Phase::Answering => {
                this.talk.register(context.waker());
                this.look(context)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.talk.phase() {
            Phase::Over => Pin::new(&mut this.io).poll_shutdown(context),
            Phase::Idle | Phase::Waiting | Phase::WaitingOld | Phase::Answering => {
                this.poll_close(context)
            }
        }
    }
}

#[cfg(test)]
mod tests;
