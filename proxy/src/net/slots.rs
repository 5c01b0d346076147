//! The cap on downstream connections, shared by all workers: so many from the local application, and
//! so many from others, so that neither can keep the other out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Way;

/// How many connections may be open at once. Clones share the count.
#[derive(Clone, Debug)]
pub struct ConnectionSlots {
    shared: Arc<[Count; 2]>,
}

#[derive(Debug)]
struct Count {
    limit: usize,
    open: AtomicUsize,
}

/// One open connection; gives its place back when dropped.
#[derive(Debug)]
pub struct ConnectionSlot {
    shared: Arc<[Count; 2]>,
    way: Way,
}

fn count(shared: &[Count; 2], way: Way) -> &Count {
    let [outbound, inbound] = shared;
    match way {
        Way::Outbound => outbound,
        Way::Inbound => inbound,
    }
}

impl ConnectionSlots {
    /// At most so many at once.
    pub fn new(outbound: usize, inbound: usize) -> Self {
        let count = |limit| Count {
            limit,
            open: AtomicUsize::new(0),
        };
        Self {
            shared: Arc::new([count(outbound), count(inbound)]),
        }
    }

    /// A place, or `None` if all are taken.
    pub fn acquire(&self, way: Way) -> Option<ConnectionSlot> {
        let slot = self.exceed(way);
        let count = count(&self.shared, way);
        (count.open.load(Ordering::Relaxed) <= count.limit).then_some(slot)
    }

    /// A place, even if all are taken: another connection is about to give one back.
    pub fn exceed(&self, way: Way) -> ConnectionSlot {
        count(&self.shared, way)
            .open
            .fetch_add(1, Ordering::Relaxed);
        ConnectionSlot {
            shared: Arc::clone(&self.shared),
            way,
        }
    }

    /// Connections open now.
    pub fn open(&self, way: Way) -> usize {
        count(&self.shared, way).open.load(Ordering::Relaxed)
    }

    /// The cap.
    pub fn limit(&self, way: Way) -> usize {
        count(&self.shared, way).limit
    }
}

impl ConnectionSlot {
    /// Which way the connection goes.
    pub fn way(&self) -> Way {
        self.way
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        count(&self.shared, self.way)
            .open
            .fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_and_come_back() {
        let slots = ConnectionSlots::new(1, 2);
        let one = slots.acquire(Way::Inbound).unwrap();
        let _two = slots.acquire(Way::Inbound).unwrap();
        assert!(slots.acquire(Way::Inbound).is_none());
        assert_eq!(slots.open(Way::Inbound), 2);
        // Whoever comes the other way has places of its own.
        let other = slots.acquire(Way::Outbound).unwrap();
        assert_eq!(other.way(), Way::Outbound);
        assert!(slots.acquire(Way::Outbound).is_none());
        drop(one);
        assert!(slots.acquire(Way::Inbound).is_some());
        assert_eq!(slots.open(Way::Inbound), 1);
        let more: Vec<_> = (0..3).map(|_| slots.exceed(Way::Inbound)).collect();
        assert_eq!(slots.open(Way::Inbound), 4);
        drop(more);
        assert_eq!(slots.open(Way::Inbound), 1);
    }
}
