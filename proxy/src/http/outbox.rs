//! What is held in memory on its way to clients: counted, and bounded for each connection by what
//! all of them leave.
//!
//! A client that does not read makes us hold what it asked for. How much a connection may hold is a
//! share of what is free, so that many greedy ones get little each and there is always something
//! left for one more. Whoever has used its share is not read from upstream until it took some; of
//! several answers on one connection each goes on as long as it is taken ([`Lane`]).

mod lane;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

pub use lane::{Chunk, Lane};

use crate::net::connections::ConnectionWatch;

/// Of what is free a connection may hold one part in so many.
const SHARE: usize = 16;
/// What it may hold whatever the others do, and the most it gets. The kernel holds more of its own
/// for a client that is far away.
const LEAST: usize = 16 * 1024;
const MOST: usize = 512 * 1024;

/// What all workers may hold for clients, in bytes. Each has its part, so that they share nothing.
#[derive(Clone, Debug)]
pub struct BufferBudget {
    limit: usize,
    held: Arc<[Arc<AtomicUsize>]>,
}

impl BufferBudget {
    /// About `limit` bytes for so many workers.
    pub fn new(limit: usize, workers: NonZeroUsize) -> Self {
        Self {
            limit,
            held: (0..workers.get()).map(|_| Arc::default()).collect(),
        }
    }

    /// The part of one worker, by its number.
    pub fn of(&self, worker: usize) -> Rc<Buffers> {
        Buffers::new(
            self.limit / self.held.len().max(1),
            self.held.get(worker).cloned().unwrap_or_default(),
        )
    }

    /// Bytes that may be held.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        let held = self.held.iter();
        held.map(|held| held.load(Ordering::Relaxed)).sum()
    }
}

/// How many times its share a connection may hold so that an answer can begin.
const FIRST: usize = 4;
/// Tasks that may wait at one connection, ended ones included.
const MOST_WAITING: usize = 256;

/// What one worker holds for clients. Only that worker writes it.
#[derive(Debug)]
pub struct Buffers {
    limit: usize,
    held: Arc<AtomicUsize>,
}

impl Buffers {
    fn new(limit: usize, held: Arc<AtomicUsize>) -> Rc<Self> {
        Rc::new(Self { limit, held })
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn add(&self, size: usize) {
        // Only this worker writes it.
        self.held.store(self.held() + size, Ordering::Relaxed);
    }

    fn remove(&self, size: usize) {
        let held = self.held().saturating_sub(size);
        self.held.store(held, Ordering::Relaxed);
    }

    fn share(&self) -> usize {
        (self.limit.saturating_sub(self.held()) / SHARE).clamp(LEAST, MOST)
    }
}

/// Bytes held for another reason: copies of a request. Counted until dropped.
#[derive(Debug)]
pub struct Held {
    buffers: Rc<Buffers>,
    size: usize,
}

impl Held {
    /// Nothing yet.
    pub fn new(buffers: &Rc<Buffers>) -> Self {
        Self {
            buffers: Rc::clone(buffers),
            size: 0,
        }
    }

    /// Holds so many more; `false` if that would be half of all that may be held, so that copies
    /// never keep anybody from his answer.
    #[must_use]
    pub fn grow(&mut self, size: usize) -> bool {
        let fits = self.buffers.held() + size <= self.buffers.limit / 2;
        if fits {
            self.size += size;
            self.buffers.add(size);
        }
        fits
    }
}

impl Held {
    /// Nothing is held any more.
    pub fn clear(&mut self) {
        self.buffers.remove(std::mem::take(&mut self.size));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What is held for one client.
pub struct Outbox {
    buffers: Rc<Buffers>,
    watch: Arc<ConnectionWatch>,
    held: Cell<usize>,
    waiting: RefCell<Vec<Waker>>,
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl Outbox {
    /// Nothing is held yet.
    pub fn new(buffers: &Rc<Buffers>, watch: &Arc<ConnectionWatch>) -> Rc<Self> {
        Rc::new(Self {
            buffers: Rc::clone(buffers),
            watch: Arc::clone(watch),
            held: Cell::new(0),
            waiting: RefCell::default(),
        })
    }

    /// Waits until the client may have more held for it. The `first` of an answer waits for less:
    /// others that are not read must not keep back a short one.
    fn poll_room(&self, context: &Context<'_>, first: bool) -> Poll<()> {
        let share = self.buffers.share();
        let share = if first { share * FIRST } else { share };
        if self.held.get() < share {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= MOST_WAITING {
            // Some of them are gone; those that are not come again.
            for waiter in waiting.drain(..) {
                waiter.wake();
            }
        }
        if !waiting.iter().any(|one| one.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Whether an answer of which nothing lies there may go on whatever else does: one that has
    /// `begun`, of which the client has taken all, unless all that may be held for everybody is; a
    /// new one, of which nobody knows whether it will be taken, with less.
    fn may_go_on(&self, begun: bool) -> bool {
        let limit = self.buffers.limit;
        self.buffers.held() < if begun { limit } else { limit / 2 }
    }

    fn add(&self, size: usize) {
        if self.held.get() == 0 && size > 0 {
            self.watch.lies(true);
        }
        self.held.set(self.held.get() + size);
        self.buffers.add(size);
    }

    fn release(&self, size: usize) {
        self.held.set(self.held.get().saturating_sub(size));
        self.watch.lies(self.held.get() > 0);
        self.buffers.remove(size);
        let waiting = !self.waiting.borrow().is_empty();
        if waiting && self.held.get() <= self.buffers.share() / 2 {
            for waiter in self.waiting.take() {
                waiter.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::task::noop_waker_ref;

    use super::*;

    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn outbox(buffers: &Rc<Buffers>) -> Rc<Outbox> {
        Outbox::new(buffers, &ConnectionWatch::alone())
    }

    fn lane(buffers: &Rc<Buffers>) -> Rc<Lane> {
        Lane::new(&outbox(buffers))
    }

    #[test]
    fn greed_leaves_something_for_one_more() {
        let held = Arc::new(AtomicUsize::new(0));
        let buffers = Buffers::new(64 << 20, Arc::clone(&held));
        let context = Context::from_waker(noop_waker_ref());
        let greedy: Vec<(Rc<Lane>, Vec<Chunk>)> = (0..1_000)
            .map(|_| {
                let lane = lane(&buffers);
                let mut chunks = Vec::new();
                while lane.outbox.poll_room(&context, false).is_ready() {
                    chunks.push(lane.hold(Bytes::from_static(&[0; 16 * 1024])));
                }
                (lane, chunks)
            })
            .collect();
        assert!(greedy[0].1.len() == MOST / (16 * 1024));
        assert_eq!(greedy[999].1.len(), LEAST / (16 * 1024));
        assert!(held.load(Ordering::Relaxed) < 80 << 20);
        let late = lane(&buffers);
        assert!(late.poll_room(&context).is_ready());
        drop(greedy);
        assert_eq!(held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn whoever_waits_is_woken_when_half_is_gone() {
        let buffers = Buffers::new(0, Arc::default());
        let outbox = outbox(&buffers);
        let lane = Lane::new(&outbox);
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let context = Context::from_waker(&waker);
        let mut chunks: Vec<Chunk> = (0..4)
            .map(|_| lane.hold(Bytes::from_static(&[0; LEAST / 4])))
            .collect();
        assert!(outbox.poll_room(&context, false).is_pending());
        assert!(outbox.poll_room(&context, false).is_pending());
        chunks.pop();
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        chunks.pop();
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(outbox.poll_room(&context, false).is_ready());
    }

    #[test]
    fn a_short_answer_is_not_kept_back_and_waiters_do_not_pile_up() {
        let buffers = Buffers::new(0, Arc::default());
        let outbox = outbox(&buffers);
        let _full = Lane::new(&outbox).hold(Bytes::from_static(&[0; LEAST]));
        let context = Context::from_waker(noop_waker_ref());
        assert!(outbox.poll_room(&context, false).is_pending());
        assert!(outbox.poll_room(&context, true).is_ready());
        for _ in 0..10_000 {
            let waker = Waker::from(Arc::new(Count(AtomicUsize::new(0))));
            let context = Context::from_waker(&waker);
            assert!(outbox.poll_room(&context, false).is_pending());
        }
        assert!(outbox.waiting.borrow().len() <= MOST_WAITING);
    }

    #[test]
    fn whoever_is_read_goes_on_beside_those_who_are_not() {
        let held = Arc::new(AtomicUsize::new(0));
        let buffers = Buffers::new(4 << 20, Arc::clone(&held));
        let outbox = outbox(&buffers);
        let context = Context::from_waker(noop_waker_ref());
        let stalled: Vec<(Rc<Lane>, Chunk)> = (0..100)
            .map(|_| {
                let lane = Lane::new(&outbox);
                let chunk = lane.hold(Bytes::from_static(&[0; 16 * 1024]));
                (lane, chunk)
            })
            .collect();
        assert!(
            stalled
                .iter()
                .all(|(lane, _)| lane.poll_room(&context).is_pending())
        );
        let read = Lane::new(&outbox);
        let woken = Arc::new(Count(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let context = Context::from_waker(&waker);
        let mut chunk = Some(read.hold(Bytes::from_static(&[0; 16 * 1024])));
        for turn in 1..50 {
            assert!(read.poll_room(&context).is_pending());
            drop(chunk.take());
            assert_eq!(woken.0.load(Ordering::Relaxed), turn);
            assert!(read.poll_room(&context).is_ready());
            chunk = Some(read.hold(Bytes::from_static(&[0; 16 * 1024])));
        }
        // But not beyond what may be held for everybody.
        held.store(5 << 20, Ordering::Relaxed);
        drop(chunk.take());
        assert!(read.poll_room(&context).is_pending());
    }
}
