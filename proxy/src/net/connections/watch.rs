//! What is known about one connection's movements.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::{TimeLimits, ticks};
use crate::net::Way;
use crate::net::slots::ConnectionSlot;

/// The longest time for which a connection that carries bytes has carried none when its place may be
/// given away: nobody knows what the silence means, but somebody else wants to speak.
const SILENCE: Duration = Duration::from_mins(1);

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Fine,
    /// It has had nothing to do for too long, or somebody else needs its place; it is closed in an
    /// orderly way.
    Idle,
    /// The head of a request takes too long; it is cut off.
    HeadLate,
    /// The client takes nothing of what lies ready for it; it is cut off.
    Stalled,
    /// The answer's deadline passed while the client was taking it; it is cut off.
    AnswerLate,
}

impl Verdict {
    const ALL: [Self; 5] = [
        Self::Fine,
        Self::Idle,
        Self::HeadLate,
        Self::Stalled,
        Self::AnswerLate,
    ];
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// It has not shown yet.
    Silent,
    /// Requests.
    Http,
    /// Bytes.
    Bytes,
}

/// What is known about one connection's movements. Written by its worker only.
pub struct ConnectionWatch {
    clock: Arc<AtomicU32>,
    slot: ConnectionSlot,
    peer: IpAddr,
    phase: AtomicU8,
    /// Ticks for which a connection that carries bytes has carried none when its place may be given
    /// away.
    silence: AtomicU32,
    /// The tick in which the first byte of an unfinished head arrived; 0 for none.
    head_since: AtomicU32,
    /// The tick of its arrival, of the last byte of HTTP/1, and of the end of the last request.
    moved: AtomicU32,
    /// The tick in which the client stopped taking what lies ready for it; 0 while it takes it.
    blocked_since: AtomicU32,
    /// The tick in which the last of what lies ready was taken, or began to lie; 0 if nothing lies.
    lying_since: AtomicU32,
    /// The tick in which an answer must be over; 0 for none. Only HTTP/1, one answer at a time.
    answer_by: AtomicU32,
    in_flight: AtomicU32,
    closed: AtomicBool,
    /// Policy no longer lets the connection be there.
    revoked: AtomicBool,
    verdict: AtomicU8,
    waker: Mutex<Option<Waker>>,
    task: OnceLock<AbortHandle>,
    limits: OnceLock<Ticks>,
}

/// [`TimeLimits`] in ticks.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    head: u32,
    idle: u32,
    stall: u32,
    /// Only HTTP/1 tells where a head begins by the bytes it reads.
    http1: bool,
}

impl fmt::Debug for ConnectionWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionWatch")
            .field("peer", &self.peer)
            .field("in_flight", &self.in_flight)
            .field("verdict", &self.verdict())
            .finish_non_exhaustive()
    }
}

impl ConnectionWatch {
    pub(super) fn new(clock: Arc<AtomicU32>, slot: ConnectionSlot, peer: IpAddr) -> Self {
        let now = clock.load(Ordering::Relaxed);
        Self {
            clock,
            slot,
            peer,
            phase: AtomicU8::new(Phase::Silent as u8),
            silence: AtomicU32::new(u32::MAX),
            head_since: AtomicU32::new(0),
            moved: AtomicU32::new(now),
            blocked_since: AtomicU32::new(0),
            lying_since: AtomicU32::new(0),
            answer_by: AtomicU32::new(0),
            in_flight: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            revoked: AtomicBool::new(false),
            verdict: AtomicU8::new(Verdict::Fine as u8),
            waker: Mutex::new(None),
            task: OnceLock::new(),
            limits: OnceLock::new(),
        }
    }

    /// One of no worker's connections, for tests of what uses it.
    #[cfg(test)]
    pub fn alone() -> Arc<Self> {
        let slots = crate::net::slots::ConnectionSlots::new(1, 1);
        let here = IpAddr::from([127, 0, 0, 1]);
        Arc::new(Self::new(Arc::default(), slots.exceed(Way::Inbound), here))
    }

    /// Whether the connection's time is up.
    pub fn verdict(&self) -> Verdict {
        let verdict = usize::from(self.verdict.load(Ordering::Relaxed));
        let verdict = Verdict::ALL.get(verdict);
        verdict.copied().unwrap_or(Verdict::Fine)
    }

    /// The tick it is; one is a second.
    pub fn now(&self) -> u32 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Who is at the other end.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Which way the connection goes.
    pub(super) fn way(&self) -> Way {
        self.slot.way()
    }

    /// Since when the connection could be ended without anything of a request being lost; `None`
    /// while it is at work. One that carries bytes is until nothing has gone by for long.
    pub(super) fn idle_since(&self) -> Option<u32> {
        let moved = self.moved.load(Ordering::Relaxed);
        let silent = !self.carries_bytes()
            || self.now().wrapping_sub(moved) >= self.silence.load(Ordering::Relaxed);
        let idle = silent
            && !self.is_answering()
            && !self.is_closed()
            && self.lying_since.load(Ordering::Relaxed) == 0
            // Who was told to go is looked after already.
            && self.verdict() == Verdict::Fine;
        idle.then_some(moved)
    }

    /// Whether it carries bytes that are no requests, or is about to.
    pub(super) fn carries_bytes(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == Phase::Bytes as u8
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        *self.waker.lock() = None;
    }

    pub(super) fn ends_with(&self, task: AbortHandle) {
        // There is one task for each connection.
        let _first = self.task.set(task);
    }

    pub(super) fn speaks_http(&self, limits: TimeLimits, http1: bool) {
        self.phase.store(Phase::Http as u8, Ordering::Relaxed);
        self.moved.store(self.now(), Ordering::Relaxed);
        let TimeLimits { head, idle, stall } = limits;
        // Set once: a connection speaks one protocol.
        let _first = self.limits.set(Ticks {
            head: ticks(head),
            idle: ticks(idle),
            stall: ticks(stall),
            http1,
        });
    }

    pub(super) fn carries(&self, silence: Duration) {
        let silence = ticks(silence.min(SILENCE));
        self.silence.store(silence, Ordering::Relaxed);
        self.phase.store(Phase::Bytes as u8, Ordering::Relaxed);
        self.moved();
    }

    /// Something came from a client of HTTP/1, or bytes were carried that are no requests.
    pub fn moved(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    /// Waits until somebody else needs the place of a connection that carries bytes.
    pub async fn given_up(&self) {
        let mut registered = false;
        std::future::poll_fn(|context| {
            if self.verdict() != Verdict::Fine {
                return Poll::Ready(());
            }
            // Once is enough: a connection's task keeps its waker.
            if !std::mem::replace(&mut registered, true) {
                self.wake(context.waker());
            }
            Poll::Pending
        })
        .await;
    }

    /// Somebody else needs the connection's place.
    pub(super) fn give_way(&self) {
        let silent = self.phase.load(Ordering::Relaxed) == Phase::Silent as u8;
        // Whoever has sent a part of a head is not waited for.
        if !silent && self.is_between_requests() {
            self.end(Verdict::Idle);
        } else {
            self.abort();
        }
    }

    /// Ends the connection at once.
    pub(super) fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// The client took something of what lay ready for it, or did not.
    pub fn wrote(&self, written: &Poll<io::Result<usize>>) {
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        if written.is_pending() {
            if blocked == 0 {
                self.blocked_since.store(self.now(), Ordering::Relaxed);
            }
        } else if blocked != 0 {
            self.blocked_since.store(0, Ordering::Relaxed);
        }
    }

    /// Something lies ready for the client, or the client took some of it; or nothing does any more.
    pub fn lies(&self, something: bool) {
        let since = if something { self.now() } else { 0 };
        self.lying_since.store(since, Ordering::Relaxed);
    }

    /// The head of a request has begun to come from a client of HTTP/1.
    pub fn head_begins(&self) {
        if !self.is_answering() && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
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
        !self.is_answering() && self.head_since.load(Ordering::Relaxed) == 0
    }

    /// Whether a request is being answered.
    pub fn is_answering(&self) -> bool {
        self.in_flight() > 0
    }

    /// Requests being answered.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    pub(super) fn check(&self, now: u32) {
        let limits = self.limits.get().filter(|_| !self.is_closed());
        let Some(limits) = limits else {
            return;
        };
        let since = |tick: &AtomicU32, limit: u32| {
            let tick = tick.load(Ordering::Relaxed);
            tick != 0 && now.wrapping_sub(tick) > limit
        };
        let by = self.answer_by.load(Ordering::Relaxed);
        let verdict = if since(&self.head_since, limits.head) {
            Verdict::HeadLate
        } else if by != 0 && now > by {
            Verdict::AnswerLate
        } else if since(&self.blocked_since, limits.stall)
            || (!self.is_answering() && since(&self.lying_since, limits.stall))
        {
            Verdict::Stalled
        } else if !self.is_answering() && since(&self.moved, limits.idle) {
            Verdict::Idle
        } else {
            return;
        };
        self.end(verdict);
    }

    fn end(&self, verdict: Verdict) {
        self.verdict.store(verdict as u8, Ordering::Relaxed);
        // It stays: worse may have to be said later.
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
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

    /// What became of the connection, if its time was up.
    pub fn verdict(&self) -> Verdict {
        self.0.verdict()
    }

    /// Requests being answered on its connection, this one included.
    pub fn siblings(&self) -> u32 {
        self.0.in_flight()
    }

    /// The answer must be over in so long. Where one connection carries several, each looks after
    /// itself.
    pub fn answer_within(&self, time: Duration) {
        if self.0.limits.get().is_some_and(|limits| limits.http1) {
            let by = self.0.now().saturating_add(ticks(time));
            self.0.answer_by.store(by, Ordering::Relaxed);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let watch = &self.0;
        let now = watch.in_flight.load(Ordering::Relaxed);
        watch
            .in_flight
            .store(now.saturating_sub(1), Ordering::Relaxed);
        watch.answer_by.store(0, Ordering::Relaxed);
        watch.moved.store(watch.now(), Ordering::Relaxed);
    }
}
