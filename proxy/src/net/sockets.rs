//! The cap on connections to upstreams, shared by all workers, so that there is always a file left
//! for the next client's.
//!
//! A client that has many requests under way, each with a connection of its own, gets less the
//! fewer there are left: a share of what is free. The last quarter is for those that have hardly any,
//! so no number of greedy clients takes all.
//!
//! Idle connections belong to workers, and the cap is everybody's: whoever finds no socket, and has no
//! idle connection to close, asks all workers for one and waits a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Of what is free one client may have one part in so many.
const SHARE: usize = 2;
/// One part in so many of all is for clients with few requests under way.
const RESERVE: usize = 4;
const FEW: u32 = 2;

/// How long to wait for a socket that another worker may give up.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many sockets may be open to upstreams. Clones share the count.
#[derive(Clone, Debug)]
pub struct SocketBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    open: AtomicUsize,
    /// Told when somebody needs a socket, and when there is one again.
    wanted: Notify,
    freed: Notify,
    waiting: AtomicUsize,
}

/// The right to one socket; given back when dropped.
#[derive(Debug)]
pub struct SocketPermit {
    shared: Arc<Shared>,
}

impl SocketBudget {
    /// At most `limit` at once.
    pub fn new(limit: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit,
                open: AtomicUsize::new(0),
                wanted: Notify::new(),
                freed: Notify::new(),
                waiting: AtomicUsize::new(0),
            }),
        }
    }

    /// The right to one more socket, for a client that has so many requests under way; `None` if it
    /// has its share.
    pub fn take(&self, under_way: u32) -> Option<SocketPermit> {
        let shared = &self.shared;
        let open = shared.open.fetch_add(1, Ordering::Relaxed) + 1;
        let free = (shared.limit - shared.limit / RESERVE).saturating_sub(open);
        let has = usize::try_from(under_way).unwrap_or(usize::MAX);
        let modest = under_way <= FEW && open <= shared.limit;
        if modest || has <= free / SHARE {
            let shared = Arc::clone(shared);
            return Some(SocketPermit { shared });
        }
        shared.open.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// The right to one more socket whatever is open: another one is being closed for it.
    pub fn exceed(&self) -> SocketPermit {
        self.shared.open.fetch_add(1, Ordering::Relaxed);
        SocketPermit {
            shared: Arc::clone(&self.shared),
        }
    }

    /// The same after every worker was asked for a socket it does not use, and had a moment to give
    /// it up.
    pub async fn ask(&self, under_way: u32) -> Option<SocketPermit> {
        let _waiting = Waiting::new(&self.shared);
        let until = Instant::now() + PATIENCE;
        loop {
            let mut freed = std::pin::pin!(self.shared.freed.notified());
            freed.as_mut().enable();
            if let Some(permit) = self.take(under_way) {
                return Some(permit);
            }
            self.shared.wanted.notify_waiters();
            timeout_at(until, freed).await.ok()?;
        }
    }

    /// Waits until somebody needs a socket.
    pub async fn wanted(&self) {
        self.shared.wanted.notified().await;
    }

    /// Sockets open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// The cap.
    pub fn limit(&self) -> usize {
        self.shared.limit
    }
}

impl Drop for SocketPermit {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        if self.shared.waiting.load(Ordering::Relaxed) > 0 {
            self.shared.freed.notify_waiters();
        }
    }
}

/// Somebody who waits for a socket; counted until dropped.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_many_gets_less_and_something_is_left() {
        let budget = SocketBudget::new(1_000);
        let mut held = Vec::new();
        // One after the other, so that the first ones do not know what will be missing.
        for _client in 0..80 {
            let mut under_way = 1;
            while let Some(permit) = budget.take(under_way) {
                held.push(permit);
                under_way += 1;
            }
        }
        assert!(held.len() > 750 && held.len() < 950, "{}", held.len());
        // The next client is not turned away, nor the ones after it.
        let rest: Vec<_> = std::iter::from_fn(|| budget.take(1)).collect();
        assert_eq!(held.len() + rest.len(), 1_000);
        assert_eq!(budget.open(), 1_000);
        let more = budget.exceed();
        assert_eq!(budget.open(), 1_001);
        drop((held, rest, more));
        assert_eq!(budget.open(), 0);
        assert_eq!(budget.limit(), 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_needs_a_socket_gets_the_one_that_is_given_up() {
        let budget = SocketBudget::new(4);
        let mut held: Vec<_> = std::iter::from_fn(|| budget.take(1)).collect();
        assert_eq!(held.len(), 4);
        let other = budget.clone();
        let giving = async {
            other.wanted().await;
            held.pop();
        };
        // Workers always listen: whoever gives comes first.
        let ((), permit) = tokio::join!(giving, budget.ask(1));
        assert!(permit.is_some());
        // Nobody gives up a second one.
        assert!(budget.ask(1).await.is_none());
        assert_eq!(budget.open(), 4);
    }
}
