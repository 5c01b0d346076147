//! `connectionPool` limits and the retry budget: counts of one proxy, shared by its workers.
//!
//! A count is only kept where a limit asks for it, so that a cluster without limits costs no
//! contended atomic per request. The number of active requests, which the retry budget needs, is
//! kept in one padded cell per worker.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use mesh_api::cluster::{Cluster, ConnectionLimits};

use crate::error::Limit;

/// Cells for active requests; more workers than this share cells.
const CELLS: usize = 4;

/// What the requests of one cluster count, over all workers and configuration versions.
#[derive(Debug, Default)]
pub struct ClusterShared {
    connections: AtomicU32,
    pending: AtomicU32,
    requests: AtomicU32,
    retries: AtomicU32,
    active: [ActiveCell; CELLS],
    /// What happened so far, for the statistics page.
    pub events: ClusterEvents,
}

/// Rare events of a cluster.
#[derive(Debug, Default)]
pub struct ClusterEvents {
    /// Requests refused because too many were waiting.
    pub pending_overflow: AtomicU64,
    /// Requests refused because too many were active.
    pub request_overflow: AtomicU64,
    /// Connections not opened because too many were open.
    pub connection_overflow: AtomicU64,
    /// Retries not made because too many were running.
    pub retry_overflow: AtomicU64,
    /// Retries made.
    pub retries: AtomicU64,
    /// Connections opened.
    pub connections: AtomicU64,
    /// Connections that could not be opened.
    pub connect_failures: AtomicU64,
    /// Requests that took too long.
    pub timeouts: AtomicU64,
}

/// What an endpoint counts, over all workers and configuration versions.
#[derive(Debug, Default)]
pub struct EndpointShared {
    /// Open connections.
    pub connections: AtomicU32,
    /// Connections that could not be opened.
    pub connect_failures: AtomicU64,
    /// Whether the last attempt to open one failed.
    pub unreachable: AtomicBool,
}

/// On a cache line of its own, so that workers do not fight over it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct ActiveCell(AtomicU32);

/// Which count a grant belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Connections,
    Pending,
    Requests,
    Retries,
}

/// The right to one connection, one waiting request, one request or one retry; given back when
/// dropped.
#[derive(Debug)]
pub struct Grant {
    shared: Arc<ClusterShared>,
    count: Count,
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.shared
            .counter(self.count)
            .fetch_sub(1, Ordering::Relaxed);
    }
}

impl ClusterShared {
    fn counter(&self, count: Count) -> &AtomicU32 {
        match count {
            Count::Connections => &self.connections,
            Count::Pending => &self.pending,
            Count::Requests => &self.requests,
            Count::Retries => &self.retries,
        }
    }

    /// One more, unless `limit` is reached.
    fn take(self: &Arc<Self>, count: Count, limit: u32) -> Option<Grant> {
        self.counter(count)
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < limit).then_some(now + 1)
            })
            .ok()?;
        Some(Grant {
            shared: Arc::clone(self),
            count,
        })
    }

    /// The right to open a connection. `alone`: the worker has none to this endpoint, and may
    /// always open one, since it could otherwise starve behind the other workers. A refusal is
    /// counted once per `counted`.
    pub fn connection(
        self: &Arc<Self>,
        limits: &ConnectionLimits,
        alone: bool,
        counted: &mut bool,
    ) -> Result<Grant, Limit> {
        let limit = match limits.max_connections {
            Some(limit) if !alone => limit,
            Some(_) | None => u32::MAX,
        };
        self.take(Count::Connections, limit).ok_or_else(|| {
            if !std::mem::replace(counted, true) {
                self.events
                    .connection_overflow
                    .fetch_add(1, Ordering::Relaxed);
            }
            Limit::Connections
        })
    }

    /// The right to wait for a connection; nothing is counted where there is no limit.
    pub fn pending(self: &Arc<Self>, limits: &ConnectionLimits) -> Result<Option<Grant>, Limit> {
        let Some(limit) = limits.max_pending_requests else {
            return Ok(None);
        };
        self.take(Count::Pending, limit).map(Some).ok_or_else(|| {
            self.events.pending_overflow.fetch_add(1, Ordering::Relaxed);
            Limit::Pending
        })
    }

    /// The right to send a request; nothing is counted where there is no limit.
    pub fn request(self: &Arc<Self>, limits: &ConnectionLimits) -> Result<Option<Grant>, Limit> {
        let Some(limit) = limits.max_requests else {
            return Ok(None);
        };
        self.take(Count::Requests, limit).map(Some).ok_or_else(|| {
            self.events.request_overflow.fetch_add(1, Ordering::Relaxed);
            Limit::Requests
        })
    }

    /// The right to try again: `maxRetries`, and for what may have reached an application always
    /// the budget.
    ///
    /// A retry of what provably was not sent gives no application more to do than its clients
    /// ask for, so it needs no budget and no count: else one dead endpoint of two, which fails at once and so
    /// looks idle to the balancer, would exhaust it, and most requests would fail in sight of a
    /// healthy endpoint.
    pub fn retry(
        self: &Arc<Self>,
        cluster: &Cluster,
        unsent: bool,
    ) -> Result<Option<Grant>, Limit> {
        if unsent && cluster.limits.max_retries.is_none() {
            self.events.retries.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        }
        let budget = if unsent {
            u32::MAX
        } else {
            let percent = u64::from(cluster.retry_budget.percent.value());
            u32::try_from(u64::from(self.active()) * percent / 1_000_000)
                .unwrap_or(u32::MAX)
                .max(cluster.retry_budget.min_concurrency)
        };
        // Whichever is smaller.
        let limit = cluster
            .limits
            .max_retries
            .map_or(budget, |max| max.min(budget));
        let Some(grant) = self.take(Count::Retries, limit) else {
            self.events.retry_overflow.fetch_add(1, Ordering::Relaxed);
            return Err(Limit::Retries);
        };
        self.events.retries.fetch_add(1, Ordering::Relaxed);
        Ok(Some(grant))
    }

    /// Counts a request of this worker as active.
    pub(crate) fn activate(&self, worker: usize) {
        if let Some(cell) = self.active.get(worker % CELLS) {
            cell.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request of this worker is over.
    pub(crate) fn deactivate(&self, worker: usize) {
        if let Some(cell) = self.active.get(worker % CELLS) {
            cell.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Requests active now.
    pub fn active(&self) -> u32 {
        let cells = self.active.iter();
        cells.map(|cell| cell.0.load(Ordering::Relaxed)).sum()
    }

    /// Connections open now.
    pub fn connections(&self) -> u32 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests waiting for a connection now; 0 where no limit asks for the count.
    pub fn waiting(&self) -> u32 {
        self.pending.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(limit: Option<u32>) -> ConnectionLimits {
        ConnectionLimits {
            max_connections: limit,
            max_pending_requests: limit,
            max_requests: limit,
            ..ConnectionLimits::default()
        }
    }

    #[test]
    fn grants_are_counted_and_given_back() {
        let shared = Arc::new(ClusterShared::default());
        let two = limits(Some(2));
        let first = shared.request(&two).unwrap();
        let _second = shared.request(&two).unwrap();
        assert_eq!(shared.request(&two).unwrap_err(), Limit::Requests);
        assert_eq!(shared.events.request_overflow.load(Ordering::Relaxed), 1);
        drop(first);
        assert!(shared.request(&two).unwrap().is_some());
        assert!(shared.pending(&limits(None)).unwrap().is_none());
        assert_eq!(shared.waiting(), 0);
    }

    #[test]
    fn a_worker_without_a_connection_may_always_open_one() {
        let shared = Arc::new(ClusterShared::default());
        let one = limits(Some(1));
        let _first = shared.connection(&one, false, &mut false).unwrap();
        let mut counted = false;
        for _ in 0..3 {
            assert!(shared.connection(&one, false, &mut counted).is_err());
        }
        assert_eq!(shared.events.connection_overflow.load(Ordering::Relaxed), 1);
        let _alone = shared.connection(&one, true, &mut counted).unwrap();
        assert_eq!(shared.connections(), 2);
    }
}
