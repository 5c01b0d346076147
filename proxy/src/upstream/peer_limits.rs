//! What an HTTP/2 upstream says it can take (SETTINGS, RFC 9113 section 6.5), read as it goes by.
//!
//! The library keeps requests beyond `MAX_CONCURRENT_STREAMS` in a queue without end and tells
//! nobody. Whoever knows the number opens another connection instead.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::http::frame::{FrameHead, HEAD, Kind};

/// `SETTINGS_MAX_CONCURRENT_STREAMS`.
const MAX_CONCURRENT_STREAMS: u16 = 3;
/// Bytes of one setting: its number and its value.
const SETTING: usize = 6;
/// Nobody needs more settings than this in a frame; the rest is not looked at.
const LOOKED_AT: usize = 100 * SETTING;

/// What the upstream of one connection said.
#[derive(Debug, Default)]
pub(crate) struct PeerLimits {
    /// One more than the streams it allows; 0 while it has said nothing.
    streams: AtomicU32,
    said: Notify,
}

impl PeerLimits {
    /// Streams it allows at once; more than anybody needs while it has set no limit.
    pub(crate) fn streams(&self) -> u32 {
        match self.streams.load(Ordering::Relaxed) {
            0 => u32::MAX,
            more => more - 1,
        }
    }

    /// Waits until it has said something.
    pub(crate) async fn known(&self) {
        loop {
            let said = self.said.notified();
            if self.streams.load(Ordering::Relaxed) > 0 {
                return;
            }
            said.await;
        }
    }

    fn hear(&self, settings: &[u8]) {
        let (settings, _rest) = settings.as_chunks::<SETTING>();
        let limit = settings.iter().rev().find_map(|setting| {
            let [n0, n1, v0, v1, v2, v3] = *setting;
            let is_it = u16::from_be_bytes([n0, n1]) == MAX_CONCURRENT_STREAMS;
            is_it.then(|| u32::from_be_bytes([v0, v1, v2, v3]))
        });
        let before = self.streams.load(Ordering::Relaxed);
        let now = match limit {
            Some(limit) => limit.saturating_add(1),
            None if before == 0 => u32::MAX,
            None => before,
        };
        self.streams.store(now, Ordering::Relaxed);
        self.said.notify_waiters();
    }
}

/// A stream from an HTTP/2 upstream.
#[derive(Debug)]
pub(crate) struct Overheard<IO> {
    io: IO,
    limits: Arc<PeerLimits>,
    /// Bytes of the current frame that do not matter.
    skip: usize,
    /// What came of a frame's head, and of its content if that matters.
    begun: Vec<u8>,
}

impl<IO> Overheard<IO> {
    pub(super) fn new(io: IO) -> (Self, Arc<PeerLimits>) {
        let limits = Arc::<PeerLimits>::default();
        let overheard = Self {
            io,
            limits: Arc::clone(&limits),
            skip: 0,
            begun: Vec::new(),
        };
        (overheard, limits)
    }

    fn overhear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if self.begun.is_empty()
                && let Some(head) = FrameHead::parse(bytes)
                && !matters(head)
            {
                self.skip = HEAD + head.length;
                continue;
            }
            bytes = self.collect(bytes);
        }
    }

    /// Takes as much of a frame as matters; returns the rest.
    fn collect<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let head = FrameHead::parse(&self.begun);
        let needed = HEAD + head.map_or(0, |head| head.length.min(LOOKED_AT));
        let missing = needed.saturating_sub(self.begun.len());
        let (more, rest) = bytes.split_at(missing.min(bytes.len()));
        self.begun.extend_from_slice(more);
        let Some(head) = FrameHead::parse(&self.begun) else {
            return rest;
        };
        if matters(head) {
            let looked_at = HEAD + head.length.min(LOOKED_AT);
            if self.begun.len() < looked_at {
                return rest;
            }
            self.limits.hear(self.begun.get(HEAD..).unwrap_or_default());
            self.skip = HEAD + head.length - looked_at;
        } else {
            self.skip = head.length;
        }
        self.begun = Vec::new();
        rest
    }
}

fn matters(head: FrameHead) -> bool {
    head.kind == Kind::Settings && !head.is_ack()
}

impl<IO: AsyncRead + Unpin> AsyncRead for Overheard<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
        this.overhear(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Overheard<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, content: &[u8]) -> Vec<u8> {
        let mut head = FrameHead::data(0, content.len());
        head[3] = kind;
        head[4] = flags;
        [&head[..], content].concat()
    }

    #[test]
    fn the_limit_is_heard_however_it_is_cut() {
        let bytes = [
            frame(4, 0, &[0, 4, 0, 1, 0, 0, 0, 3, 0, 0, 0, 7]),
            frame(0, 0, &[9; 700]),
            frame(4, 1, &[]),
            frame(8, 0, &[0, 0, 0, 9]),
            frame(4, 0, &[0, 4, 0, 2, 0, 0]),
            frame(4, 0, &[0, 3, 0, 0, 0, 5]),
            frame(4, 0, &[1; 2_000]),
            frame(4, 0, &[0, 3, 0, 0, 0, 0]),
        ]
        .concat();
        for size in 1..60 {
            let (mut overheard, limits) = Overheard::new(());
            assert_eq!(limits.streams(), u32::MAX);
            let mut heard = vec![u32::MAX];
            for piece in bytes.chunks(size) {
                overheard.overhear(piece);
                let now = limits.streams();
                if heard.last() != Some(&now) {
                    heard.push(now);
                }
            }
            // In large pieces some are heard at once.
            assert_eq!(heard.last(), Some(&0), "{size}");
            if size < 10 {
                assert_eq!(heard, [u32::MAX, 7, 5, 0], "{size}");
            }
        }
    }

    #[test]
    fn settings_without_a_limit_are_something_said() {
        let (mut overheard, limits) = Overheard::new(());
        assert!(futures_util::FutureExt::now_or_never(limits.known()).is_none());
        overheard.overhear(&frame(4, 0, &[]));
        assert!(futures_util::FutureExt::now_or_never(limits.known()).is_some());
        assert!(limits.streams() > 1_000_000);
    }
}
