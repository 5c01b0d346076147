//! Copies bytes both ways between two connections until both sides are done.
//!
//! A direction holds a buffer only while there is something to copy, so that idle connections
//! cost little; buffers are kept per thread. The end of one direction is passed on (half-close)
//! while the other keeps flowing.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

/// What is copied at a time.
const BUFFER: usize = 16 * 1024;
/// Buffers a thread keeps for the next to copy something.
const KEPT_BUFFERS: usize = 64;

thread_local! {
    static BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of this thread; goes back when dropped.
struct Buffer(Box<[u8]>);

impl Buffer {
    fn take() -> Self {
        let kept = BUFFERS.with_borrow_mut(Vec::pop);
        Self(kept.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice()))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        let keep = |buffers: &RefCell<Vec<Box<[u8]>>>| {
            let mut buffers = buffers.borrow_mut();
            if buffers.len() < KEPT_BUFFERS {
                buffers.push(buffer);
            }
        };
        if BUFFERS.try_with(keep).is_err() {
            tracing::trace!("the thread is ending, and its buffers with it");
        }
    }
}

/// Whose bytes went by; a spine counts them.
pub trait Counted {
    /// `bytes` more came from the client.
    fn received(&self, bytes: u64);
    /// `bytes` more went to the client.
    fn sent(&self, bytes: u64);
}

/// When copying stops although neither side is done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// After so long without a byte in either direction.
    pub idle: Option<Duration>,
    /// After so long altogether.
    pub duration: Option<Duration>,
}

/// Why copying ended.
#[derive(Debug)]
pub enum Ended {
    /// Both sides closed.
    Done,
    /// Nothing happened for too long.
    Idle,
    /// It took too long altogether.
    Duration,
    /// The client's connection broke.
    Client(io::Error),
    /// The upstream's connection broke.
    Upstream(io::Error),
}

/// Copies between `client` and `upstream`; `prefix` was already read from the client.
pub async fn splice(
    client: &mut TcpStream,
    prefix: Bytes,
    upstream: &mut TcpStream,
    limits: Limits,
    counted: &impl Counted,
) -> Ended {
    let activity = Activity::new();
    let (mut client_read, mut client_write) = client.split();
    let (mut upstream_read, mut upstream_write) = upstream.split();
    let up = async {
        if !prefix.is_empty() {
            let length = prefix.len();
            upstream_write
                .write_all(&prefix)
                .await
                .map_err(Ended::Upstream)?;
            drop(prefix);
            counted.received(length as u64);
            activity.touch();
        }
        let note = |bytes| {
            counted.received(bytes);
            activity.touch();
        };
        one_way(&mut client_read, &mut upstream_write, note)
            .await
            .map_err(|broken| broken.blame(Ended::Client, Ended::Upstream))
    };
    let down = async {
        let note = |bytes| {
            counted.sent(bytes);
            activity.touch();
        };
        one_way(&mut upstream_read, &mut client_write, note)
            .await
            .map_err(|broken| broken.blame(Ended::Upstream, Ended::Client))
    };
    tokio::select! {
        both = async { tokio::try_join!(up, down) } => match both {
            Ok(((), ())) => Ended::Done,
            Err(ended) => ended,
        },
        ended = limits.exceeded(&activity) => ended,
    }
}

/// Which end of one direction broke.
enum Broken {
    Reading(io::Error),
    Writing(io::Error),
}

impl Broken {
    fn blame(self, reader: fn(io::Error) -> Ended, writer: fn(io::Error) -> Ended) -> Ended {
        match self {
            Self::Reading(error) => reader(error),
            Self::Writing(error) => writer(error),
        }
    }
}

async fn one_way(
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    note: impl Fn(u64),
) -> Result<(), Broken> {
    loop {
        // A poll may also say "not now" because the task has had its share of the thread, which
        // waiting for readiness does not notice: without this the two would spin.
        tokio::task::coop::consume_budget().await;
        from.readable().await.map_err(Broken::Reading)?;
        let mut buffer = Buffer::take();
        while let Some(read) = read_now(from, &mut buffer.0).await {
            let read = read.map_err(Broken::Reading)?;
            if read == 0 {
                // The other direction may go on: only this one is shut.
                return match to.shutdown().await {
                    Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                        Err(Broken::Writing(error))
                    }
                    Ok(()) | Err(_) => Ok(()),
                };
            }
            let bytes = buffer.0.get(..read).unwrap_or_default();
            to.write_all(bytes).await.map_err(Broken::Writing)?;
            note(read as u64);
        }
    }
}

/// What can be read without waiting, if anything.
///
/// Polls instead of trying, because a poll remembers that a short read emptied the socket, which
/// saves a system call per chunk; and it counts against the task's share of the thread.
async fn read_now(from: &mut ReadHalf<'_>, buffer: &mut [u8]) -> Option<io::Result<usize>> {
    poll_fn(|context| {
        let mut space = ReadBuf::new(buffer);
        Poll::Ready(match Pin::new(&mut *from).poll_read(context, &mut space) {
            Poll::Ready(Ok(())) => Some(Ok(space.filled().len())),
            Poll::Ready(Err(error)) => Some(Err(error)),
            Poll::Pending => None,
        })
    })
    .await
}

/// When a byte last went by.
#[derive(Debug)]
pub(crate) struct Activity {
    started: Instant,
    last: Cell<Instant>,
}

impl Activity {
    /// Begins now.
    pub(crate) fn new() -> Self {
        let started = Instant::now();
        Self {
            started,
            last: Cell::new(started),
        }
    }

    /// A byte went by.
    pub(crate) fn touch(&self) {
        self.last.set(Instant::now());
    }
}

impl Limits {
    /// Waits until a limit is exceeded. The timer is set for the earliest moment that could be,
    /// not anew with every byte.
    pub(crate) async fn exceeded(&self, activity: &Activity) -> Ended {
        let end = self.duration.map(|duration| activity.started + duration);
        loop {
            let idle = self.idle.map(|idle| activity.last.get() + idle);
            let now = Instant::now();
            if end.is_some_and(|end| end <= now) {
                return Ended::Duration;
            }
            if idle.is_some_and(|idle| idle <= now) {
                return Ended::Idle;
            }
            match (idle, end) {
                (None, None) => std::future::pending().await,
                (Some(at), None) | (None, Some(at)) => tokio::time::sleep_until(at).await,
                (Some(idle), Some(end)) => tokio::time::sleep_until(idle.min(end)).await,
            }
        }
    }
}

#[cfg(test)]
mod tests;
