//! Downstream connections of one worker: those that take too long, for the head of a request, to
//! take an answer, or doing nothing; and, when there is no place for one more, which of them goes.
//!
//! No timer is armed per request. A connection notes in which second it last moved; once a
//! second one task per worker looks through all connections and wakes those whose time is up.

mod room;
mod watch;

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::{Rc, Weak as WeakRc};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::Way;
use super::slots::{ConnectionSlot, ConnectionSlots};
use room::Room;
pub use watch::{ConnectionWatch, InFlight, Verdict};

/// How often connections are looked at; also the unit of time here.
const TICK: Duration = Duration::from_secs(1);

/// All downstream connections of one worker.
#[derive(Debug)]
pub struct Connections {
    clock: Arc<AtomicU32>,
    /// Those that have ended stay until the next look, but take no place meanwhile.
    open: Rc<RefCell<Vec<Weak<ConnectionWatch>>>>,
    room: RefCell<Room>,
    running: Cell<bool>,
}

/// How long a connection that speaks HTTP may take.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// For the head of a request, from its first byte.
    pub head: Duration,
    /// Without any request.
    pub idle: Duration,
    /// For the client to take anything of what lies ready for it.
    pub stall: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            // 0 means "none".
            clock: Arc::new(AtomicU32::new(1)),
            open: Rc::default(),
            room: RefCell::default(),
            running: Cell::new(false),
        }
    }
}

impl Connections {
    /// A place for one more connection: a free one, or that of another which has nothing to do.
    /// `None` if all are at work.
    pub fn place(&self, slots: &ConnectionSlots, way: Way) -> Option<ConnectionSlot> {
        slots.acquire(way).or_else(|| {
            let now = self.clock.load(Ordering::Relaxed);
            let mut room = self.room.borrow_mut();
            let made = room.make(&self.open.borrow(), way, now);
            made.then(|| slots.exceed(way))
        })
    }

    /// Watches one more connection, from `peer`, until what is returned is dropped. It has said
    /// nothing yet.
    pub fn arrive(&self, slot: ConnectionSlot, peer: IpAddr) -> Seat {
        let watch = ConnectionWatch::new(Arc::clone(&self.clock), slot, peer);
        let watch = Arc::new(watch);
        self.open.borrow_mut().push(Arc::downgrade(&watch));
        if !self.running.replace(true) {
            tokio::task::spawn_local(run(Arc::clone(&self.clock), Rc::downgrade(&self.open)));
        }
        Seat(watch)
    }
}

fn ticks(time: Duration) -> u32 {
    let ticks = time.as_millis().div_ceil(TICK.as_millis());
    u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
}

/// Looks through the connections once per tick; ends with the worker.
async fn run(clock: Arc<AtomicU32>, open: WeakRc<RefCell<Vec<Weak<ConnectionWatch>>>>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(open) = open.upgrade() else {
            return;
        };
        let now = clock.load(Ordering::Relaxed).wrapping_add(1).max(1);
        clock.store(now, Ordering::Relaxed);
        let mut open = open.borrow_mut();
        open.retain(|watch| {
            let watch = watch.upgrade();
            if let Some(watch) = &watch {
                watch.check(now);
            }
            watch.is_some()
        });
        if open.capacity() > 64 && open.capacity() > open.len() * 4 {
            open.shrink_to_fit();
        }
    }
}

/// A watched connection. It stops being one when this is dropped; its place is free when nothing
/// that began on it is left.
#[derive(Debug)]
pub struct Seat(Arc<ConnectionWatch>);

impl Seat {
    /// What is watched.
    pub fn watch(&self) -> &Arc<ConnectionWatch> {
        &self.0
    }

    /// What to end if the connection has to go before it speaks HTTP.
    pub fn ends_with(watch: &Arc<ConnectionWatch>, task: AbortHandle) {
        watch.ends_with(task);
    }

    /// The connection speaks HTTP from now on, under these limits.
    pub fn speaks_http(&self, limits: TimeLimits, http1: bool) {
        self.0.speaks_http(limits, http1);
    }

    /// The connection carries bytes from now on, or waits for an upstream to. When places are
    /// scarce, it may be given up once it has been silent for so long, or for a minute.
    pub fn carries(&self, silence: Duration) {
        self.0.carries(silence);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
mod tests;
