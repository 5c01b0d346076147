//! What those who send reviews may make the injector ask the API server.
//!
//! Anybody in the cluster can reach the webhook, and a review of a namespace that is not known
//! leads to a read. So each source has a budget of reads, few run at once, and a name that does
//! not exist is not asked for again at once. A review that finds the budget used up is answered
//! by what is known, or asked to come again.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::Labels;
use crate::review::Namespaces;

/// Reads a source may make at once, and how fast it gets new ones.
const BURST: f64 = 50.0;
const PER_SECOND: f64 = 20.0;
/// Reads at once, of all sources together.
const AT_ONCE: usize = 16;
/// How long a namespace counts as missing. One that is made meanwhile is known by its watch.
const MISSING: Duration = Duration::from_secs(2);
/// Names and sources that are remembered.
const REMEMBERED: usize = 1024;

/// The budget of all sources.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    state: Arc<Mutex<State>>,
    reads: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    /// When each was found missing.
    missing: HashMap<String, Instant>,
    sources: HashMap<IpAddr, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Budget {
    /// Nothing used yet.
    pub(super) fn new() -> Self {
        Self {
            state: Arc::default(),
            reads: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// The namespaces as one source may ask for them.
    pub(super) fn of<'b, N>(&'b self, source: IpAddr, namespaces: &'b N) -> Metered<'b, N> {
        Metered {
            budget: self,
            source: source.to_canonical(),
            namespaces,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_missing(&self, name: &str) -> bool {
        let state = self.state();
        let seen = state.missing.get(name);
        seen.is_some_and(|seen| seen.elapsed() < MISSING)
    }

    fn note_missing(&self, name: &str) {
        let mut state = self.state();
        let seen = Instant::now();
        make_room(&mut state.missing, |seen| *seen);
        state.missing.insert(name.to_owned(), seen);
    }

    /// Takes one read of a source's budget, if there is one left.
    fn take(&self, source: IpAddr) -> bool {
        let mut state = self.state();
        let at = Instant::now();
        make_room(&mut state.sources, |bucket| bucket.at);
        let bucket = state
            .sources
            .entry(source)
            .or_insert(Bucket { left: BURST, at });
        let since = at.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + since * PER_SECOND).min(BURST);
        bucket.at = at;
        let enough = bucket.left >= 1.0;
        if enough {
            bucket.left -= 1.0;
        }
        enough
    }
}

/// Forgets the oldest entry of a map that is full.
fn make_room<K: Clone + Eq + Hash, V>(map: &mut HashMap<K, V>, at: impl Fn(&V) -> Instant) {
    if map.len() < REMEMBERED {
        return;
    }
    let oldest = map.iter().min_by_key(|(_, value)| at(value));
    if let Some(key) = oldest.map(|(key, _)| key.clone()) {
        map.remove(&key);
    }
}

/// The namespaces as one source may ask for them.
#[derive(Debug)]
pub(super) struct Metered<'b, N> {
    budget: &'b Budget,
    source: IpAddr,
    namespaces: &'b N,
}

impl<N: Namespaces + Sync> Namespaces for Metered<'_, N> {
    fn known(&self, name: &str) -> Option<Labels> {
        self.namespaces.known(name)
    }

    async fn read(&self, name: &str) -> Result<Option<Labels>, String> {
        if self.budget.is_missing(name) {
            return Ok(None);
        }
        if !self.budget.take(self.source) {
            return Err(format!(
                "{} asked for too many namespaces that are not known here",
                self.source
            ));
        }
        let permit = self.budget.reads.acquire().await;
        let read = self.namespaces.read(name).await;
        drop(permit);
        if matches!(read, Ok(None)) {
            self.budget.note_missing(name);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Knows none, and counts how often it is asked.
    #[derive(Default)]
    struct Nothing(AtomicUsize);

    impl Namespaces for Nothing {
        fn known(&self, _name: &str) -> Option<Labels> {
            None
        }

        async fn read(&self, _name: &str) -> Result<Option<Labels>, String> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(None)
        }
    }

    fn source(last: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_does_not_exist_is_read_once() {
        let (budget, nothing) = (Budget::new(), Nothing::default());
        for last in 0..10 {
            let metered = budget.of(source(last), &nothing);
            assert_eq!(metered.read("gone").await, Ok(None));
        }
        assert_eq!(nothing.0.load(Ordering::Relaxed), 1);
        tokio::time::sleep(MISSING).await;
        assert_eq!(budget.of(source(1), &nothing).read("gone").await, Ok(None));
        assert_eq!(nothing.0.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_source_uses_up_its_own_budget_and_nobody_elses() {
        let (budget, nothing) = (Budget::new(), Nothing::default());
        let greedy = budget.of(source(1), &nothing);
        let mut refused = 0;
        for index in 0..200 {
            let read = greedy.read(&format!("n-{index}")).await;
            refused += usize::from(read.is_err());
        }
        assert_eq!(refused, 150);
        let other = budget.of(source(2), &nothing);
        assert_eq!(other.read("fresh").await, Ok(None));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(greedy.read("again").await, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_has_bounds() {
        let (budget, nothing) = (Budget::new(), Nothing::default());
        for index in 0..5000_u16 {
            let [high, low] = index.to_be_bytes();
            let source = IpAddr::V4(Ipv4Addr::new(10, 1, high, low));
            let metered = budget.of(source, &nothing);
            metered.read(&format!("n-{index}")).await.unwrap();
        }
        let state = budget.state();
        assert!(state.missing.len() <= REMEMBERED && state.sources.len() <= REMEMBERED);
    }
}
