//! Say that we are going, stop taking new work, let what is running finish, then cut: the signal
//! and the count.
//!
//! Saying so first matters to clients that keep connections: one that is closed without notice
//! may already carry their next request.
//!
//! Both halves are one shared allocation with two atomics, cheap enough for one guard per
//! connection on any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// How far a drain has come. It never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Not begun.
    Running,
    /// Clients are told to go elsewhere where the protocol has a word for it; whatever arrives
    /// is still served, and nothing is closed under anybody.
    Announced,
    /// No new work: what is in progress finishes, what has nothing to do is closed.
    Triggered,
}

impl Stage {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Running,
            1 => Self::Announced,
            _ => Self::Triggered,
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    stage: AtomicU8,
    moved_on: Notify,
    in_flight: AtomicUsize,
    idle: Notify,
}

/// The side that starts a drain and waits for it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    shared: Arc<Shared>,
}

/// The side that is told, and that counts what is still running. Clones share it.
#[derive(Debug, Clone)]
pub struct DrainWatch {
    shared: Arc<Shared>,
}

/// Counts as one piece of work in flight until dropped.
#[derive(Debug)]
pub struct InFlight {
    shared: Arc<Shared>,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Drained {
    /// Everything finished in time.
    Idle,
    /// The deadline came first.
    DeadlinePassed {
        /// What was still in flight.
        remaining: usize,
    },
}

impl Shared {
    fn stage(&self) -> Stage {
        Stage::of(self.stage.load(Ordering::Relaxed))
    }

    fn advance(&self, to: Stage) {
        self.stage.fetch_max(to as u8, Ordering::SeqCst);
        self.moved_on.notify_waiters();
    }
}

impl Drain {
    /// A drain not yet started.
    pub fn new() -> Self {
        Self::default()
    }

    /// A watch of this drain.
    pub fn watch(&self) -> DrainWatch {
        DrainWatch {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Announces the drain. Changes nothing once it has been announced or started.
    pub fn announce(&self) {
        self.shared.advance(Stage::Announced);
    }

    /// Starts the drain, announced or not. Starting it twice changes nothing.
    pub fn trigger(&self) {
        self.shared.advance(Stage::Triggered);
    }

    /// Whether the drain has started.
    pub fn is_triggered(&self) -> bool {
        self.shared.stage() == Stage::Triggered
    }

    /// Guards alive now.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    /// Waits until nothing is in flight, for at most `deadline`.
    ///
    /// Does not start the drain: call [`Drain::trigger`] first, or new work keeps coming.
    pub async fn wait_idle(&self, deadline: Duration) -> Drained {
        match tokio::time::timeout(deadline, self.idle()).await {
            Ok(()) => Drained::Idle,
            Err(_elapsed) => match self.in_flight() {
                0 => Drained::Idle,
                remaining => Drained::DeadlinePassed { remaining },
            },
        }
    }

    async fn idle(&self) {
        loop {
            let idle = self.shared.idle.notified();
            tokio::pin!(idle);
            // Registered before looking, or the last guard's drop in between would be missed.
            idle.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            idle.await;
        }
    }
}

impl DrainWatch {
    /// Waits until the drain starts; at once if it has. Safe to drop and call again.
    pub async fn triggered(&self) {
        self.beyond(Stage::Announced).await;
    }

    /// Waits until the drain has come further than `stage`, and for ever if there is nothing
    /// further. Safe to drop and call again.
    pub async fn beyond(&self, stage: Stage) {
        loop {
            let moved_on = self.shared.moved_on.notified();
            tokio::pin!(moved_on);
            // Registered before looking, or a step in between would be missed.
            moved_on.as_mut().enable();
            if self.stage() > stage {
                return;
            }
            moved_on.await;
        }
    }

    /// How far the drain has come: one relaxed load.
    pub fn stage(&self) -> Stage {
        self.shared.stage()
    }

    /// Whether the drain has started: one relaxed load.
    pub fn is_triggered(&self) -> bool {
        self.stage() == Stage::Triggered
    }

    /// Counts one piece of work until the guard is dropped.
    pub fn guard(&self) -> InFlight {
        self.shared.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight {
            shared: Arc::clone(&self.shared),
        }
    }

    /// A watch of a drain that nobody starts, for tests and one-off tools.
    pub fn never() -> Self {
        Drain::new().watch()
    }
}

impl Clone for InFlight {
    fn clone(&self) -> Self {
        self.shared.in_flight.fetch_add(1, Ordering::SeqCst);
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.shared.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_every_guard() {
        let drain = Drain::new();
        let watch = drain.watch();
        let guard = watch.guard();
        let copy = guard.clone();
        let task = tokio::spawn(async move {
            watch.triggered().await;
            watch.triggered().await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(guard);
        });
        drop(copy);
        drain.trigger();
        let begun = tokio::time::Instant::now();
        assert_eq!(
            drain.wait_idle(Duration::from_secs(10)).await,
            Drained::Idle
        );
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn says_what_remained_at_the_deadline() {
        let drain = Drain::new();
        let _one = drain.watch().guard();
        let _two = drain.watch().guard();
        assert!(!drain.is_triggered());
        drain.trigger();
        assert!(drain.watch().is_triggered());
        let outcome = drain.wait_idle(Duration::from_secs(1)).await;
        assert_eq!(outcome, Drained::DeadlinePassed { remaining: 2 });
    }

    #[tokio::test(start_paused = true)]
    async fn is_announced_before_it_starts_and_never_goes_back() {
        let drain = Drain::new();
        let watch = drain.watch();
        assert_eq!(watch.stage(), Stage::Running);
        let told = tokio::spawn({
            let watch = watch.clone();
            async move {
                watch.beyond(Stage::Running).await;
                let first = watch.stage();
                watch.triggered().await;
                (first, watch.stage())
            }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        drain.announce();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!watch.is_triggered() && !told.is_finished());
        drain.trigger();
        drain.announce();
        assert_eq!(told.await.unwrap(), (Stage::Announced, Stage::Triggered));
    }

    #[tokio::test]
    async fn nothing_in_flight_is_idle_at_once() {
        assert_eq!(Drain::new().wait_idle(Duration::ZERO).await, Drained::Idle);
    }

    #[test]
    fn is_send_and_sync() {
        fn check<T: Send + Sync>() {}
        check::<Drain>();
        check::<DrainWatch>();
        check::<InFlight>();
    }
}
