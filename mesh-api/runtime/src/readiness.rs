//! Named gates: a process is ready when every gate is open, and says which are not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::admin::{AdminResponse, Router};

/// All gates of one process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    gates: RwLock<Vec<Arc<Entry>>>,
    changed: Notify,
    /// Whether all were open once.
    started: AtomicBool,
}

/// How long a probe of a process that has never been ready yet is left without an answer. Most
/// become ready within that, and a platform that is answered "not yet" takes it for a failure it
/// has to tell about, and asks again much later than need be. Probes wait at least a second; one that
/// waits longer says so by [`PATIENCE`].
const HOLD: Duration = Duration::from_millis(900);
/// The query parameter by which a probe says how long it can wait, in milliseconds.
const PATIENCE: &str = "patience";
/// Nobody is left without an answer for longer.
const LONGEST_HOLD: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Entry {
    name: String,
    open: AtomicBool,
}

/// One gate. It may close again, as when a process begins to drain.
#[derive(Debug, Clone)]
pub struct Gate {
    entry: Arc<Entry>,
    shared: Arc<Shared>,
}

impl Readiness {
    /// No gates yet, which counts as ready: add the gates before serving the answer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a closed gate. The same name gives the same gate again.
    pub fn gate(&self, name: impl Into<String>) -> Gate {
        let name = name.into();
        let mut gates = self
            .shared
            .gates
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let entry = if let Some(known) = gates.iter().find(|entry| entry.name == name) {
            Arc::clone(known)
        } else {
            let entry = Arc::new(Entry {
                name,
                open: AtomicBool::new(false),
            });
            gates.push(Arc::clone(&entry));
            entry
        };
        Gate {
            entry,
            shared: Arc::clone(&self.shared),
        }
    }

    /// The gates still closed, in the order they were added.
    pub fn closed(&self) -> Vec<String> {
        let gates = self
            .shared
            .gates
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        gates
            .iter()
            .filter(|entry| !entry.open.load(Ordering::Acquire))
            .map(|entry| entry.name.clone())
            .collect()
    }

    /// Whether every gate is open.
    pub fn is_ready(&self) -> bool {
        let gates = self
            .shared
            .gates
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        gates.iter().all(|entry| entry.open.load(Ordering::Acquire))
    }

    /// Waits until every gate is open.
    pub async fn ready(&self) {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Registered before looking, or an opening in between would be missed.
            changed.as_mut().enable();
            if self.is_ready() {
                return;
            }
            changed.await;
        }
    }

    /// The answer for a probe: 200 `ready`, or 503 and the closed gates.
    pub fn response(&self) -> AdminResponse {
        let closed = self.closed();
        if closed.is_empty() {
            AdminResponse::text("ready\n")
        } else {
            AdminResponse::text(format!("not ready, waiting for: {}\n", closed.join(", ")))
                .with_status(http::StatusCode::SERVICE_UNAVAILABLE)
        }
    }

    /// The answer for a probe that can wait: while the process starts, only once it is ready, or
    /// after `hold`; from then on at once.
    async fn answer(&self, hold: Duration) -> AdminResponse {
        if !self.shared.started.load(Ordering::Relaxed)
            && tokio::time::timeout(hold, self.ready()).await.is_ok()
        {
            self.shared.started.store(true, Ordering::Relaxed);
        }
        self.response()
    }

    /// Mounts the probe's answer at `path`.
    #[must_use]
    pub fn mount(&self, router: Router, path: &str) -> Router {
        let readiness = self.clone();
        router.get(
            path,
            "200 when ready, else 503 and what is waited for; while it starts, after a moment \
             (?patience=MILLISECONDS)",
            move |request| {
                let readiness = readiness.clone();
                let hold = hold(request.query(PATIENCE));
                async move { readiness.answer(hold).await }
            },
        )
    }
}

fn hold(patience: Option<&str>) -> Duration {
    let said = patience.and_then(|text| text.parse().ok());
    said.map_or(HOLD, |milliseconds| {
        Duration::from_millis(milliseconds).min(LONGEST_HOLD)
    })
}

impl Gate {
    /// Opens the gate.
    pub fn open(&self) {
        self.entry.open.store(true, Ordering::Release);
        self.shared.changed.notify_waiters();
    }

    /// Closes the gate again.
    pub fn close(&self) {
        self.entry.open.store(false, Ordering::Release);
        self.shared.changed.notify_waiters();
    }

    /// Whether this gate is open.
    pub fn is_open(&self) -> bool {
        self.entry.open.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_all_are_open_and_names_the_others() {
        let readiness = Readiness::new();
        let config = readiness.gate("config");
        let listeners = readiness.gate("listeners");
        assert_eq!(readiness.closed(), ["config", "listeners"]);
        config.open();
        assert_eq!(readiness.closed(), ["listeners"]);
        assert_eq!(readiness.response().status(), 503);

        let waiting = readiness.clone();
        let waiter = tokio::spawn(async move { waiting.ready().await });
        tokio::task::yield_now().await;
        assert!(!waiter.is_finished());
        readiness.gate("listeners").open();
        waiter.await.unwrap();
        assert!(listeners.is_open());
        assert_eq!(readiness.response().status(), 200);
        listeners.close();
        assert!(!readiness.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn while_it_starts_a_probe_is_answered_when_it_is_ready_or_after_a_moment() {
        let begun = tokio::time::Instant::now();
        let readiness = Readiness::new();
        let gate = readiness.gate("config");
        assert_eq!(readiness.answer(HOLD).await.status(), 503);
        assert_eq!(begun.elapsed(), HOLD);

        let asked = readiness.clone();
        let probe = tokio::spawn(async move { asked.answer(HOLD).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!probe.is_finished());
        gate.open();
        assert_eq!(probe.await.unwrap().status(), 200);
        assert_eq!(begun.elapsed(), HOLD + Duration::from_millis(300));

        // Who can wait longer is answered later, and nobody never.
        for (said, expected) in [
            (None, HOLD),
            (Some("soon"), HOLD),
            (Some("2500"), Duration::from_millis(2500)),
            (Some("999999999"), LONGEST_HOLD),
        ] {
            assert_eq!(hold(said), expected);
        }

        // A process that goes says so at once.
        gate.close();
        assert_eq!(readiness.answer(HOLD).await.status(), 503);
        assert_eq!(begun.elapsed(), HOLD + Duration::from_millis(300));
    }
}
