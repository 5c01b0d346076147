//! How many connections each source has open: one that opens too many takes none from the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The connections of all sources.
#[derive(Debug)]
pub(super) struct Sources {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of a source, until it is dropped.
#[derive(Debug)]
pub(super) struct Visit {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Sources {
    /// Each source may have this many.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: Mutex::default(),
        })
    }

    /// One more of this source, unless it has as many as it may have.
    pub(super) fn enter(self: &Arc<Self>, source: IpAddr) -> Option<Visit> {
        let source = source.to_canonical();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(source).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Visit {
            sources: Arc::clone(self),
            source,
        })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut open = self
            .sources
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn each_source_has_its_own_number_and_none_is_remembered() {
        let sources = Sources::new(2);
        let source = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
        let visits: Vec<Visit> = (0..2).filter_map(|_| sources.enter(source(1))).collect();
        assert_eq!(visits.len(), 2);
        assert!(sources.enter(source(1)).is_none());
        let mapped = IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        assert!(sources.enter(mapped).is_none(), "the same, seen by IPv6");
        let other = sources.enter(source(2)).unwrap();
        drop((visits, other));
        assert!(sources.open.lock().unwrap().is_empty());
    }
}
