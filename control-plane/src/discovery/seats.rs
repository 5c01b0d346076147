//! One stream per pod: the newest has the seat, the one before is told so and ended.
//!
//! And not too many after each other: a stream begins with a compilation and ends with a farewell,
//! both of which everybody else waits for.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::workload::WorkloadId;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::allowance::{Allowance, Rate};

/// Streams of one pod after each other.
const STREAMS: Rate = Rate::new(1, 16);
/// Pods without a stream that are remembered, at least; whether they come too often is forgotten
/// when that makes no difference any more.
const REMEMBERED: usize = 1024;

/// Whose seat it is: a workload, and where pods prove who they are, which pod of that name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sitter {
    pub(super) workload: WorkloadId,
    pub(super) uid: Option<Arc<str>>,
}

/// Who has a stream.
#[derive(Debug, Default)]
pub(super) struct Seats {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    known: HashMap<Sitter, Known>,
    taken: usize,
}

#[derive(Debug)]
struct Known {
    allowance: Allowance,
    /// The stream that has the seat, and how it hears that it has it no longer.
    now: Option<(u64, Arc<Notify>)>,
}

impl Seats {
    /// Takes the seat from whoever has it. `Err`: how long to wait, because it was taken too often.
    pub(super) fn take(self: &Arc<Self>, sitter: Sitter, now: Instant) -> Result<Seat, Duration> {
        let mut table = self.table.lock();
        if table.known.len() >= REMEMBERED + 2 * table.taken {
            table
                .known
                .retain(|_, one| one.now.is_some() || !one.allowance.is_whole(now));
        }
        let holder = table.next;
        let known = table.known.entry(sitter.clone()).or_insert_with(|| Known {
            allowance: Allowance::new(STREAMS, now),
            now: None,
        });
        // Who need not prove anything is believed not to mean harm, either.
        if sitter.uid.is_some() && !known.allowance.take(now) {
            let ready = known.allowance.ready_at();
            return Err(ready.saturating_duration_since(now));
        }
        let lost = Arc::new(Notify::new());
        let before = known.now.replace((holder, Arc::clone(&lost)));
        match before {
            Some((_, former)) => former.notify_one(),
            None => table.taken += 1,
        }
        table.next += 1;
        Ok(Seat {
            seats: Arc::clone(self),
            sitter,
            holder,
            lost,
        })
    }
}

/// The right to a stream, until somebody newer takes it.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    sitter: Sitter,
    holder: u64,
    lost: Arc<Notify>,
}

impl Seat {
    /// Waits until a newer stream has the seat.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.seats.table.lock();
        let Some(known) = table.known.get_mut(&self.sitter) else {
            return;
        };
        if known
            .now
            .as_ref()
            .is_some_and(|(holder, _)| *holder == self.holder)
        {
            known.now = None;
            let idle = known.allowance.is_whole(Instant::now());
            table.taken -= 1;
            if idle {
                table.known.remove(&self.sitter);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: Option<&str>) -> Sitter {
        Sitter {
            workload: format!("shop/{name}").parse().unwrap(),
            uid: uid.map(Arc::from),
        }
    }

    async fn is_lost(seat: &Seat) -> bool {
        let lost = tokio::time::timeout(Duration::from_millis(1), seat.lost()).await;
        lost.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_of_a_pod_has_the_seat() {
        let seats = Arc::<Seats>::default();
        let now = Instant::now();
        let first = seats.take(pod("a", Some("1")), now).unwrap();
        let other = seats.take(pod("b", Some("2")), now).unwrap();
        let replaced = seats.take(pod("a", Some("9")), now).unwrap();
        assert!(!is_lost(&first).await, "of another pod of that name");
        let second = seats.take(pod("a", Some("1")), now).unwrap();
        assert!(is_lost(&first).await);
        drop(first);
        assert!(!is_lost(&second).await && !is_lost(&other).await);
        assert_eq!(seats.table.lock().taken, 3);
        drop((second, other, replaced));
        assert_eq!(seats.table.lock().taken, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_comes_too_often_waits_and_nobody_else_does() {
        let seats = Arc::<Seats>::default();
        let now = Instant::now();
        let storm = (0..200).filter_map(|_| seats.take(pod("a", Some("1")), now).ok());
        assert_eq!(storm.count(), 16);
        let wait = seats.take(pod("a", Some("1")), now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(1));
        assert!(seats.take(pod("b", Some("2")), now).is_ok());
        assert!(seats.take(pod("a", Some("1")), now + wait).is_ok());
        let believed = (0..200).filter_map(|_| seats.take(pod("c", None), now).ok());
        assert_eq!(believed.count(), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn pods_of_the_past_are_forgotten() {
        let seats = Arc::<Seats>::default();
        let mut now = Instant::now();
        for index in 0..10_000 {
            drop(seats.take(pod(&index.to_string(), Some("1")), now));
            now += Duration::from_millis(10);
        }
        assert!(seats.table.lock().known.len() <= REMEMBERED + 1);
    }
}
