//! What is published where, and where to write next. No I/O and no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mesh_runtime::Backoff;
use tokio::time::Instant;

/// The first and the longest wait before the same namespace is written again.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
/// A ConfigMap nobody touched for this long starts over with the first wait.
const SETTLED: Duration = Duration::from_mins(10);

#[derive(Debug, Default)]
pub(super) struct Ledger {
    namespaces: BTreeSet<String>,
    published: BTreeMap<String, String>,
    tries: BTreeMap<String, Try>,
    /// What a list under way has not shown yet.
    unseen_namespaces: BTreeSet<String>,
    unseen_published: BTreeSet<String>,
    namespaces_known: bool,
    published_known: bool,
}

#[derive(Debug)]
struct Try {
    backoff: Backoff,
    last: Instant,
    again: Instant,
}

impl Ledger {
    /// A namespace is there and stays, or not.
    pub(super) fn namespace(&mut self, name: &str, stays: bool) {
        self.unseen_namespaces.remove(name);
        if stays {
            self.namespaces.insert(name.to_owned());
        } else {
            self.namespaces.remove(name);
            self.tries.remove(name);
        }
    }

    /// What is published in a namespace.
    pub(super) fn published(&mut self, namespace: &str, value: Option<String>) {
        self.unseen_published.remove(namespace);
        match value {
            Some(value) => self.published.insert(namespace.to_owned(), value),
            None => self.published.remove(namespace),
        };
    }

    /// A new list of namespaces begins; what it does not show is gone.
    pub(super) fn relist_namespaces(&mut self) {
        self.unseen_namespaces.clone_from(&self.namespaces);
    }

    pub(super) fn namespaces_listed(&mut self) {
        self.namespaces_known = true;
        for gone in std::mem::take(&mut self.unseen_namespaces) {
            self.namespace(&gone, false);
        }
    }

    /// A new list of what is published begins.
    pub(super) fn relist_published(&mut self) {
        self.unseen_published = self.published.keys().cloned().collect();
    }

    pub(super) fn published_listed(&mut self) {
        self.published_known = true;
        for gone in std::mem::take(&mut self.unseen_published) {
            self.published.remove(&gone);
        }
    }

    /// The namespace to write next and not before when. Nothing while not all is known.
    pub(super) fn next(&self, bundle: &str) -> Option<(String, Option<Instant>)> {
        if !self.namespaces_known || !self.published_known {
            return None;
        }
        let mut next: Option<(&String, Option<Instant>)> = None;
        for namespace in &self.namespaces {
            if self
                .published
                .get(namespace)
                .is_some_and(|known| known == bundle)
            {
                continue;
            }
            let again = self.tries.get(namespace).map(|tried| tried.again);
            // One never tried comes first.
            if next.is_none_or(|(_, earliest)| again < earliest) {
                next = Some((namespace, again));
            }
            if again.is_none() {
                break;
            }
        }
        next.map(|(namespace, again)| (namespace.clone(), again))
    }

    /// It was written, or not; the next time comes later.
    pub(super) fn tried(&mut self, namespace: &str, now: Instant, random: u32) {
        let tried = self
            .tries
            .entry(namespace.to_owned())
            .or_insert_with(|| Try {
                backoff: Backoff::new(AGAIN.0, AGAIN.1),
                last: now,
                again: now,
            });
        if now.saturating_duration_since(tried.last) >= SETTLED {
            tried.backoff.reset();
        }
        tried.last = now;
        tried.again = now + tried.backoff.next_delay(random);
    }
}
