//! Downstream connections that take too long: for the head of a request, or doing nothing.
//!
//! No timer is armed per request. A connection notes in which second it last moved; once a
//! second one task per worker looks through all connections and wakes those whose time is up.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use parking_lot::Mutex;

/// How often connections are looked at; also the unit of time here.
const TICK: Duration = Duration::from_secs(1);

/// All downstream HTTP connections of one worker.
#[derive(Debug)]
pub struct IdleWatch {
    clock: Arc<AtomicU32>,
    connections: Rc<RefCell<Vec<Arc<ConnectionWatch>>>>,
    running: Cell<bool>,
}

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct IdleLimits {
    /// For the head of a request, from its first byte.
    pub head: Duration,
    /// Without any request.
    pub idle: Duration,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Fine,
    /// It has had nothing to do for too long; it is closed in an orderly way.
    Idle,
    /// The head of a request takes too long; it is cut off.
    HeadLate,
}

/// What is known about one connection's movements.
pub struct ConnectionWatch {
    clock: Arc<AtomicU32>,
    /// The tick in which the first byte of an unfinished head arrived; 0 for none.
    head_since: AtomicU32,
    /// The tick of the last byte.
    moved: AtomicU32,
    in_flight: AtomicU32,
    closed: AtomicBool,
    /// Policy no longer lets the connection be there.
    revoked: AtomicBool,
    verdict: AtomicU8,
    waker: Mutex<Option<Waker>>,
    limits: (u32, u32),
    /// Only HTTP/1 tells where a head begins by the bytes it reads.
    tracks_heads: bool,
}

impl fmt::Debug for ConnectionWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionWatch")
            .field("in_flight", &self.in_flight)
            .field("verdict", &self.verdict())
            .finish_non_exhaustive()
    }
}

impl Default for IdleWatch {
    fn default() -> Self {
        Self {
            // 0 means "none".
            clock: Arc::new(AtomicU32::new(1)),
            connections: Rc::default(),
            running: Cell::new(false),
        }
    }
}

impl IdleWatch {
    /// Watches one more connection until its registration is dropped.
    pub fn register(&self, limits: IdleLimits, tracks_heads: bool) -> Registration {
        let ticks = |time: Duration| {
            let ticks = time.as_millis().div_ceil(TICK.as_millis());
            u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
        };
        let now = self.clock.load(Ordering::Relaxed);
        let watch = Arc::new(ConnectionWatch {
            clock: Arc::clone(&self.clock),
            head_since: AtomicU32::new(0),
            moved: AtomicU32::new(now),
            in_flight: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            revoked: AtomicBool::new(false),
            verdict: AtomicU8::new(0),
            waker: Mutex::new(None),
            limits: (ticks(limits.head), ticks(limits.idle)),
            tracks_heads,
        });
        self.connections.borrow_mut().push(Arc::clone(&watch));
        if !self.running.replace(true) {
            tokio::task::spawn_local(run(
                Arc::clone(&self.clock),
                Rc::downgrade(&self.connections),
            ));
        }
        Registration(watch)
    }
}

/// Looks through the connections once per tick; ends with the worker.
async fn run(clock: Arc<AtomicU32>, connections: Weak<RefCell<Vec<Arc<ConnectionWatch>>>>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(connections) = connections.upgrade() else {
            return;
        };
        let now = clock.load(Ordering::Relaxed).wrapping_add(1).max(1);
        clock.store(now, Ordering::Relaxed);
        let mut connections = connections.borrow_mut();
        connections.retain(|watch| !watch.closed.load(Ordering::Relaxed));
        if connections.capacity() > 64 && connections.capacity() > connections.len() * 4 {
            connections.shrink_to_fit();
        }
        for watch in connections.iter() {
            watch.check(now);
        }
    }
}

/// A watched connection.
#[derive(Debug)]
pub struct Registration(Arc<ConnectionWatch>);

impl Registration {
    /// What is watched.
    pub fn watch(&self) -> &Arc<ConnectionWatch> {
        &self.0
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Relaxed);
        *self.0.waker.lock() = None;
    }
}

impl ConnectionWatch {
    /// Whether the connection's time is up.
    pub fn verdict(&self) -> Verdict {
        match self.verdict.load(Ordering::Relaxed) {
            0 => Verdict::Fine,
            1 => Verdict::Idle,
            _ => Verdict::HeadLate,
        }
    }

    /// Whom to wake when the connection's time is up.
    pub fn wake(&self, waker: &Waker) {
        *self.waker.lock() = Some(waker.clone());
    }

    /// The head of a request is complete; the request is in flight until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.head_since.store(0, Ordering::Relaxed);
        // Written by this thread only; a plain store does.
        let now = self.in_flight.load(Ordering::Relaxed);
        self.in_flight.store(now.wrapping_add(1), Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// The connection is ended by policy: so are the requests that end with it.
    pub fn revoke(&self) {
        self.revoked.store(true, Ordering::Relaxed);
    }

    /// Whether the client may be cut off without losing anything of a request.
    pub fn is_between_requests(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0 && self.head_since.load(Ordering::Relaxed) == 0
    }

    /// Whether a request is being answered.
    pub fn is_answering(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    fn check(&self, now: u32) {
        let (head, idle) = self.limits;
        let since = self.head_since.load(Ordering::Relaxed);
        let head_late = since != 0 && now.wrapping_sub(since) > head;
        let moved = self.moved.load(Ordering::Relaxed);
        let idle_late =
            self.in_flight.load(Ordering::Relaxed) == 0 && now.wrapping_sub(moved) > idle;
        if head_late || idle_late {
            self.verdict
                .store(1 + u8::from(head_late), Ordering::Relaxed);
            if let Some(waker) = self.waker.lock().take() {
                waker.wake();
            }
        }
    }

    fn read(&self) {
        let now = self.clock.load(Ordering::Relaxed);
        self.moved.store(now, Ordering::Relaxed);
        if self.tracks_heads
            && self.in_flight.load(Ordering::Relaxed) == 0
            && self.head_since.load(Ordering::Relaxed) == 0
        {
            self.head_since.store(now, Ordering::Relaxed);
        }
    }
}

/// A request in flight; its connection is not idle.
#[derive(Debug)]
pub struct InFlight(Arc<ConnectionWatch>);

impl InFlight {
    /// Whether policy ended the connection.
    pub fn is_revoked(&self) -> bool {
        self.0.revoked.load(Ordering::Relaxed)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let watch = &self.0;
        let now = watch.in_flight.load(Ordering::Relaxed);
        watch
            .in_flight
            .store(now.saturating_sub(1), Ordering::Relaxed);
        watch
            .moved
            .store(watch.clock.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// A stream whose reads are noted.
#[derive(Debug)]
pub struct Watched<IO> {
    io: IO,
    watch: Arc<ConnectionWatch>,
}

impl<IO> Watched<IO> {
    /// Notes every read of `io`.
    pub fn new(io: IO, watch: &Arc<ConnectionWatch>) -> Self {
        Self {
            io,
            watch: Arc::clone(watch),
        }
    }

    /// The stream.
    pub fn into_inner(self) -> IO {
        self.io
    }
}

impl<IO: Read + Unpin> Read for Watched<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if read.is_ready() {
            self.watch.read();
        }
        read
    }
}

impl<IO: Write + Unpin> Write for Watched<IO> {
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
