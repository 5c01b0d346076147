//! One answer's part of what is held for its client.
//!
//! On a connection with many answers, those that are not read must not keep back one that is: an
//! answer of which nothing lies any more may always go on by one chunk.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use super::Outbox;

/// What is held of one answer.
pub struct Lane {
    pub(super) outbox: Rc<Outbox>,
    held: Cell<usize>,
    /// Some of it was held before.
    begun: Cell<bool>,
    /// Whoever waits until nothing of it is held.
    waiting: RefCell<Option<Waker>>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl Lane {
    /// Nothing is held yet.
    pub fn new(outbox: &Rc<Outbox>) -> Rc<Self> {
        Rc::new(Self {
            outbox: Rc::clone(outbox),
            held: Cell::new(0),
            begun: Cell::new(false),
            waiting: RefCell::default(),
        })
    }

    /// Waits until more of the answer may be held.
    pub fn poll_room(&self, context: &Context<'_>) -> Poll<()> {
        let taken = self.held.get() == 0;
        if taken && self.outbox.may_go_on(self.begun.get()) {
            return Poll::Ready(());
        }
        let room = self.outbox.poll_room(context, !self.begun.get());
        if room.is_pending() && !taken {
            let mut waiting = self.waiting.borrow_mut();
            if !waiting
                .as_ref()
                .is_some_and(|one| one.will_wake(context.waker()))
            {
                *waiting = Some(context.waker().clone());
            }
        }
        room
    }

    /// Bytes that are counted until they are gone.
    pub fn hold(self: &Rc<Self>, data: Bytes) -> Chunk {
        let size = data.len();
        self.begun.set(true);
        self.held.set(self.held.get() + size);
        self.outbox.add(size);
        Chunk {
            data,
            size,
            lane: Some(Rc::clone(self)),
        }
    }

    fn release(&self, size: usize) {
        self.held.set(self.held.get().saturating_sub(size));
        self.outbox.release(size);
        if self.held.get() == 0
            && let Some(waiting) = self.waiting.take()
        {
            waiting.wake();
        }
    }
}

/// Bytes on their way to a client.
pub struct Chunk {
    data: Bytes,
    size: usize,
    lane: Option<Rc<Lane>>,
}

impl Chunk {
    /// No bytes.
    pub fn nothing() -> Self {
        Self {
            data: Bytes::new(),
            size: 0,
            lane: None,
        }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if let Some(lane) = &self.lane {
            lane.release(self.size);
        }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        self.data.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.data
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
    }
}
