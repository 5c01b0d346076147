//! Who may have a connection to a listener of ours: connections that ask for something go before
//! those that only sit there.
//!
//! When all seats are taken, whoever comes gets the seat of the connection that has been without a
//! request the longest; one that never asked for anything goes before one that did. Only where
//! every seat is at work is the newest turned away. No source gets more than its share, and some
//! seats are kept for this machine and its node, whose kubelet decides whether the process lives.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::neighbours::Neighbours;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeatLimits {
    /// From everywhere together.
    pub connections: usize,
    /// Of these, from one address.
    pub per_source: usize,
    /// Beside these, from this machine and its node.
    pub reserve: usize,
}

/// The seats of one listener.
#[derive(Debug)]
pub(crate) struct Seats {
    limits: SeatLimits,
    at_home: Neighbours,
    /// The port, as metrics name it.
    port: String,
    room: Mutex<Room>,
}

#[derive(Debug, Default)]
struct Room {
    taken: HashMap<u64, Taken>,
    /// Grows with everything that happens, and so tells what was earlier.
    clock: u64,
}

#[derive(Debug)]
struct Taken {
    source: IpAddr,
    at_home: bool,
    /// Whether it ever asked for anything.
    asked: bool,
    /// Whether an answer is being made.
    at_work: bool,
    /// When that last changed.
    since: u64,
    leave: Arc<Notify>,
}

/// One connection's seat, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    id: u64,
    leave: Arc<Notify>,
}

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
pub(crate) struct AtWork<'a>(&'a Seat);

/// Why a connection was ended, or not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Its seat went to another: it had no request.
    Idle,
    /// Its source has its share, all at work.
    Source,
    /// All seats are at work.
    Full,
    /// No first byte came.
    Silent,
    /// No handshake came, or none that succeeded.
    Handshake,
    /// No first request came.
    NoRequest,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Source => "source",
            Self::Full => "full",
            Self::Silent => "silent",
            Self::Handshake => "handshake",
            Self::NoRequest => "no_request",
        }
    }
}

const CLOSED: &str = "mesh_listener_connections_closed_total";
const OPEN: &str = "mesh_listener_connections";

impl Seats {
    /// All free.
    pub(crate) fn new(limits: SeatLimits, at_home: Neighbours, port: String) -> Arc<Self> {
        metrics::describe_counter!(
            CLOSED,
            "Connections to our own ports that were ended or refused."
        );
        metrics::describe_gauge!(OPEN, "Connections to our own ports that are open.");
        Arc::new(Self {
            limits,
            at_home,
            port,
            room: Mutex::default(),
        })
    }

    /// A seat for a connection from there.
    pub(crate) fn take(self: &Arc<Self>, source: IpAddr) -> Result<Seat, Reason> {
        let source = source.to_canonical();
        let at_home = self.at_home.include(source);
        let SeatLimits {
            connections,
            per_source,
            reserve,
        } = self.limits;
        let mut room = self.room();
        let strangers = room.count(|taken| !taken.at_home);
        let evicted = if !at_home && room.count(|taken| taken.source == source) >= per_source {
            let found = room.longest_idle(|taken| taken.source == source);
            Some(found.ok_or(Reason::Source))
        } else if !at_home && strangers >= connections {
            let found = room.longest_idle(|taken| !taken.at_home);
            Some(found.ok_or(Reason::Full))
        } else if room.taken.len() >= connections + reserve {
            let stranger = room.longest_idle(|taken| !taken.at_home);
            // The reserve is not for strangers, what lies beyond it is for both.
            let theirs = at_home || room.taken.len() - strangers > reserve;
            let found = stranger.or_else(|| room.longest_idle(|taken| theirs && taken.at_home));
            Some(found.ok_or(Reason::Full))
        } else {
            None
        };
        match evicted {
            None => {}
            Some(Err(reason)) => {
                drop(room);
                self.note(reason);
                return Err(reason);
            }
            Some(Ok(id)) => {
                if let Some(taken) = room.taken.remove(&id) {
                    taken.leave.notify_one();
                }
                self.note(Reason::Idle);
            }
        }
        let leave = Arc::new(Notify::new());
        let id = room.tick();
        let taken = Taken {
            source,
            at_home,
            asked: false,
            at_work: false,
            since: id,
            leave: Arc::clone(&leave),
        };
        room.taken.insert(id, taken);
        self.show(&room);
        Ok(Seat {
            seats: Arc::clone(self),
            id,
            leave,
        })
    }

    /// Counts a connection that was ended or not begun.
    pub(crate) fn note(&self, reason: Reason) {
        metrics::counter!(CLOSED, "port" => self.port.clone(), "reason" => reason.name())
            .increment(1);
    }

    fn show(&self, room: &Room) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "as many as there are files at most"
        )]
        let open = room.taken.len() as f64;
        metrics::gauge!(OPEN, "port" => self.port.clone()).set(open);
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    fn count(&self, of: impl Fn(&Taken) -> bool) -> usize {
        self.taken.values().filter(|taken| of(taken)).count()
    }

    fn longest_idle(&self, of: impl Fn(&Taken) -> bool) -> Option<u64> {
        let idle = self.taken.iter().filter(|(_, taken)| !taken.at_work);
        idle.filter(|(_, taken)| of(taken))
            .min_by_key(|(_, taken)| (taken.asked, taken.since))
            .map(|(id, _)| *id)
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Seat {
    /// Resolves when the seat went to another.
    pub(crate) async fn lost(&self) {
        self.leave.notified().await;
    }

    /// The head of a request has arrived.
    pub(crate) fn asks(&self) {
        self.change(false);
    }

    /// A request has arrived whole and is being answered. `None` where the seat went to another.
    pub(crate) fn at_work(&self) -> Option<AtWork<'_>> {
        self.change(true).then_some(AtWork(self))
    }

    /// Whether a request ever came.
    pub(crate) fn has_asked(&self) -> bool {
        let room = self.seats.room();
        room.taken.get(&self.id).is_some_and(|taken| taken.asked)
    }

    /// Counts why it ends.
    pub(crate) fn note(&self, reason: Reason) {
        self.seats.note(reason);
    }

    fn change(&self, at_work: bool) -> bool {
        let mut room = self.seats.room();
        let now = room.tick();
        let Some(taken) = room.taken.get_mut(&self.id) else {
            return false;
        };
        taken.at_work = at_work;
        taken.asked = true;
        taken.since = now;
        true
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.change(false);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut room = self.seats.room();
        room.taken.remove(&self.id);
        self.seats.show(&room);
    }
}

#[cfg(test)]
mod tests;
