//! The cap on downstream connections, shared by all workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many connections may be open at once. Clones share the count.
#[derive(Clone, Debug)]
pub struct ConnectionSlots {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: usize,
    open: AtomicUsize,
}

/// One open connection; gives its place back when dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    shared: Arc<Shared>,
}

impl ConnectionSlots {
    /// At most `limit` at once.
    pub fn new(limit: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit,
                open: AtomicUsize::new(0),
            }),
        }
    }

    /// A place, or `None` if all are taken.
    pub fn acquire(&self) -> Option<ConnectionSlot> {
        let before = self.shared.open.fetch_add(1, Ordering::Relaxed);
        if before >= self.shared.limit {
            self.shared.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(ConnectionSlot {
            shared: Arc::clone(&self.shared),
        })
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// The cap.
    pub fn limit(&self) -> usize {
        self.shared.limit
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many connections `open_files` allow: each may need a second one upstream, and some files
/// stay free for the admin port, the control plane and the disk.
pub fn connections_for(open_files: u64) -> usize {
    let reserve = (open_files / 8).clamp(32, 512);
    usize::try_from(open_files.saturating_sub(reserve) / 2)
        .unwrap_or(usize::MAX)
        .max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let slots = ConnectionSlots::new(2);
        let one = slots.acquire().unwrap();
        let _two = slots.acquire().unwrap();
        assert!(slots.acquire().is_none());
        assert_eq!(slots.open(), 2);
        drop(one);
        assert!(slots.acquire().is_some());
        assert_eq!(slots.open(), 1);
    }

    #[test]
    fn some_files_stay_free() {
        assert_eq!(connections_for(256), 112);
        assert_eq!(connections_for(20_000), 9_744);
        assert_eq!(connections_for(10), 1);
        assert!(connections_for(1 << 20) >= 500_000);
    }
}
