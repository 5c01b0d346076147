//! What a proxy holds, assuming that it takes everything in flight, and how to take that back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::name::ResourceName;
use mesh_api::version::{SnapshotVersion, Version};

use super::difference::Difference;

/// A resource a proxy holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) version: Version,
    /// What this version refers to; unknown of what the proxy brought from an earlier stream,
    /// until a desired state has the same version.
    pub(super) references: Option<Arc<[ResourceName]>>,
}

/// What a proxy holds.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) held: BTreeMap<ResourceName, Held>,
    /// Whether it holds things from an earlier stream that were never looked at.
    pub(super) unlearned: bool,
    /// Names it holds that mean nothing to this server; it is told to drop them.
    pub(super) foreign: BTreeSet<String>,
}

/// A push that was sent and not answered.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) nonce: u64,
    /// The desired state it leads to.
    pub(super) version: SnapshotVersion,
    /// What was held before, of everything it changes.
    before: BTreeMap<ResourceName, Option<Held>>,
    set: BTreeMap<ResourceName, Version>,
}

impl InFlight {
    /// The version of the resource the push carried, if any.
    pub(super) fn carried(&self, name: &ResourceName) -> Option<Version> {
        self.set.get(name).copied()
    }

    /// Whether the proxy may lack something altogether if it refuses this push.
    pub(super) fn introduces(&self) -> bool {
        self.before.values().any(Option::is_none)
    }

    /// How many resources it changes.
    pub(super) fn len(&self) -> usize {
        self.before.len()
    }

    /// Everything the push carried.
    pub(super) fn all_carried(&self) -> impl Iterator<Item = (&ResourceName, Version)> {
        self.set.iter().map(|(name, version)| (name, *version))
    }
}

impl View {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.foreign.is_empty()
    }

    pub(super) fn version(&self, name: &ResourceName) -> Option<Version> {
        self.held.get(name).map(|held| held.version)
    }

    pub(super) fn versions(&self) -> impl Iterator<Item = (&ResourceName, Version)> {
        self.held.iter().map(|(name, held)| (name, held.version))
    }

    /// Takes a push that is being sent as if it had been taken.
    pub(super) fn sent(
        &mut self,
        nonce: u64,
        version: SnapshotVersion,
        change: &Difference<'_>,
    ) -> InFlight {
        let mut before = BTreeMap::new();
        let mut set = BTreeMap::new();
        for encoded in &change.set {
            let held = Held {
                version: encoded.version,
                references: Some(Arc::clone(&encoded.references)),
            };
            set.insert(encoded.name.clone(), encoded.version);
            before.insert(
                encoded.name.clone(),
                self.held.insert(encoded.name.clone(), held),
            );
        }
        for name in &change.removed {
            before.insert(name.clone(), self.held.remove(name));
        }
        self.foreign.clear();
        InFlight {
            nonce,
            version,
            before,
            set,
        }
    }

    /// Takes a refused push back. What a `later` push changes again stays as that one leaves
    /// it, and becomes what it would be taken back to.
    pub(super) fn undo(&mut self, refused: &mut InFlight, mut later: Option<&mut InFlight>) {
        for (name, before) in std::mem::take(&mut refused.before) {
            let changed_again = later
                .as_deref_mut()
                .and_then(|later| later.before.get_mut(&name));
            if let Some(again) = changed_again {
                *again = before;
                continue;
            }
            match before {
                Some(held) => self.held.insert(name, held),
                None => self.held.remove(&name),
            };
        }
    }
}
