//! The one pointer that is swapped when configuration changes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::ActiveConfig;

/// The configuration in use, for every thread of the process.
#[derive(Debug)]
pub struct LiveConfig {
    active: Arc<ArcSwap<ActiveConfig>>,
    sequence: watch::Sender<u64>,
    /// How often policies changed.
    policies: AtomicU64,
    policies_changed: watch::Sender<u64>,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            active: Arc::new(ArcSwap::from_pointee(ActiveConfig::default())),
            sequence: watch::Sender::new(0),
            policies: AtomicU64::new(0),
            policies_changed: watch::Sender::new(0),
        }
    }
}

impl LiveConfig {
    /// An empty configuration: no listener, no route.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The configuration in use now.
    pub fn load(&self) -> Arc<ActiveConfig> {
        self.active.load_full()
    }

    /// Puts a configuration in use: every request that begins after this call sees it.
    pub fn publish(&self, next: Arc<ActiveConfig>) {
        let sequence = next.sequence();
        let same_policies = next.has_policies_of(&self.active.load());
        self.active.store(next);
        self.sequence.send_replace(sequence);
        if !same_policies {
            // Whoever sees the new number sees the new policies.
            let policies = self.policies.fetch_add(1, Ordering::Release) + 1;
            self.policies_changed.send_replace(policies);
        }
    }

    /// How often policies have changed so far.
    pub fn policies(&self) -> u64 {
        self.policies.load(Ordering::Acquire)
    }

    /// Told whenever policies change, and of no other change.
    pub fn policies_changed(&self) -> watch::Receiver<u64> {
        self.policies_changed.subscribe()
    }

    /// Told the sequence number of every configuration that is put in use.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.sequence.subscribe()
    }

    /// A worker's way to the configuration: one load of an atomic while nothing changes.
    pub fn cache(&self) -> ConfigCache {
        ConfigCache(arc_swap::Cache::new(Arc::clone(&self.active)))
    }
}

/// Remembers the last configuration it saw, so that looking again costs no reference count.
pub struct ConfigCache(arc_swap::Cache<Arc<ArcSwap<ActiveConfig>>, Arc<ActiveConfig>>);

impl fmt::Debug for ConfigCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigCache").finish_non_exhaustive()
    }
}

impl ConfigCache {
    /// The configuration in use now.
    pub fn load(&mut self) -> &Arc<ActiveConfig> {
        self.0.load()
    }
}
