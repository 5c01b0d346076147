//! Stop taking new work, let what is running finish, then cut: the signal and the count.
//!
//! Both halves are one shared allocation with two atomics, cheap enough for one guard per
//! connection on any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Shared {
    triggered: AtomicBool,
    started: Notify,
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

    /// Starts the drain. Starting it twice changes nothing.
    pub fn trigger(&self) {
        self.shared.triggered.store(true, Ordering::SeqCst);
        self.shared.started.notify_waiters();
    }

    /// Whether the drain has started.
    pub fn is_triggered(&self) -> bool {
        self.shared.triggered.load(Ordering::Relaxed)
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
        let started = self.shared.started.notified();
        tokio::pin!(started);
        started.as_mut().enable();
        if self.is_triggered() {
            return;
        }
        started.await;
    }

    /// Whether the drain has started: one relaxed load.
    pub fn is_triggered(&self) -> bool {
        self.shared.triggered.load(Ordering::Relaxed)
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
