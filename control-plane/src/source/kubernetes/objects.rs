//! What the cluster holds, as a state machine without I/O: steps of watches in, changes out.
//!
//! It keeps the last good version of every object beside what was last passed on, so that a list
//! after a gap costs the difference only, an object that cannot be read rejects only itself, and
//! namespaces can come into sight and go out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_api::mesh_config::LabelSelector;

use super::entry::Entry;
use super::trouble::Trouble;
use crate::crd::problem::Problem;
use crate::crd::{Decoded, Kind, Object, Selects};
use crate::meta::ObjectKey;
use crate::model::Change;
use crate::model::kept::{Former, Formers};

/// What happened to the objects of a kind.
#[derive(Debug)]
pub(super) enum Step {
    /// They are about to be listed.
    Listing,
    /// One is there.
    There(ObjectKey, Box<Decoded>),
    /// One is gone.
    Gone(ObjectKey),
    /// All were listed.
    Listed,
    /// Changes arrive as they happen.
    Watching,
    /// They cannot be read now.
    Failed(Trouble),
}

/// The state of one watch.
#[derive(Debug, Default)]
struct Watch {
    /// Whether everything was listed once.
    listed: bool,
    /// While everything is being listed: what came by.
    seen: Option<BTreeSet<ObjectKey>>,
    /// When the API server first said that it does not serve the kind.
    not_served_since: Option<Instant>,
    /// Whether the start does not wait for it.
    excused: bool,
    trouble: Option<Trouble>,
}

/// Everything the cluster holds that concerns a mesh.
#[derive(Debug)]
pub(super) struct Objects {
    watches: BTreeMap<Kind, Watch>,
    entries: BTreeMap<ObjectKey, Entry>,
    /// Former versions that were kept before the start, or by another replica.
    kept: BTreeMap<ObjectKey, Object>,
    /// Versions that count for newer ones, and whether others did when that was last told.
    formers: BTreeMap<ObjectKey, Former>,
    formers_changed: bool,
    /// What was passed on: the object, or that it cannot be read.
    sent: BTreeMap<ObjectKey, Result<Object, Selects>>,
    /// Objects that may be different from what was passed on.
    dirty: BTreeSet<ObjectKey>,
    /// Namespaces in sight: those any of these choose; all if there are none.
    selectors: Vec<LabelSelector>,
    /// Always in sight.
    root_namespace: String,
    /// How long a kind may be unknown to an API server that has just started.
    settle: Duration,
}

impl Objects {
    /// Nothing yet. `kinds` have to be listed before the state is complete.
    pub(super) fn new(
        kinds: impl IntoIterator<Item = Kind>,
        root_namespace: &str,
        settle: Duration,
    ) -> Self {
        Self {
            watches: kinds
                .into_iter()
                .map(|kind| (kind, Watch::default()))
                .collect(),
            entries: BTreeMap::new(),
            kept: BTreeMap::new(),
            formers: BTreeMap::new(),
            formers_changed: false,
            sent: BTreeMap::new(),
            dirty: BTreeSet::new(),
            selectors: Vec::new(),
            root_namespace: root_namespace.to_owned(),
            settle,
        }
    }

    /// Takes in a step. Returns whether the troubles are different now.
    pub(super) fn take(&mut self, kind: Kind, step: Step, now: Instant) -> bool {
        let watch = self.watches.entry(kind).or_default();
        match step {
            Step::Listing => watch.seen = Some(BTreeSet::new()),
            Step::There(key, decoded) => {
                if let Some(seen) = &mut watch.seen {
                    seen.insert(key.clone());
                }
                self.there(key, *decoded);
            }
            Step::Gone(key) => self.gone(key),
            Step::Listed => {
                watch.listed = true;
                watch.not_served_since = None;
                let recovered = watch.trouble.take().is_some();
                let seen = watch.seen.take().unwrap_or_default();
                self.retain(kind, &seen);
                return recovered;
            }
            Step::Watching => return watch.trouble.take().is_some(),
            Step::Failed(trouble) => return watch.failed(trouble, now, self.settle),
        }
        false
    }

    fn there(&mut self, key: ObjectKey, decoded: Decoded) {
        let before = self.entries.remove(&key);
        let own = before.and_then(|entry| entry.object.ok());
        let kept = self.kept.get(&key).cloned();
        let entry = Entry::new(decoded, [kept, own].into_iter().flatten());
        self.note_former(&key, entry.former());
        let relabelled = key.kind == Kind::Namespace;
        self.dirty.insert(key.clone());
        let namespace = key.name.clone();
        self.entries.insert(key, entry);
        if relabelled {
            self.look_again(&namespace);
        }
    }

    fn gone(&mut self, key: ObjectKey) {
        self.kept.remove(&key);
        if self.entries.remove(&key).is_none() {
            return;
        }
        self.note_former(&key, None);
        let namespace = (key.kind == Kind::Namespace).then(|| key.name.clone());
        self.dirty.insert(key);
        if let Some(namespace) = namespace {
            self.look_again(&namespace);
        }
    }

    fn note_former(&mut self, key: &ObjectKey, former: Option<Former>) {
        let Some(former) = former else {
            self.formers_changed |= self.formers.remove(key).is_some();
            return;
        };
        if self.formers.get(key) != Some(&former) {
            self.formers.insert(key.clone(), former);
            self.formers_changed = true;
        }
    }

    /// The versions that count for newer ones which were refused, if they are others than when
    /// this was last asked.
    pub(super) fn formers(&mut self) -> Option<Arc<Formers>> {
        let changed = std::mem::take(&mut self.formers_changed);
        changed.then(|| Arc::new(self.formers.values().cloned().collect()))
    }

    /// Takes in what is kept: for objects that were refused, where it is newer than what is known
    /// here.
    pub(super) fn adopt(&mut self, formers: &Formers) {
        let readable = |former: &Former| {
            let object = former.decoded().object()?.clone();
            Some((former.key.clone(), object))
        };
        self.kept = formers.iter().filter_map(readable).collect();
        let mut adopted = Vec::new();
        for (key, object) in &self.kept {
            if let Some(entry) = self.entries.get_mut(key)
                && entry.adopt(object.clone())
            {
                adopted.push((key.clone(), entry.former()));
            }
        }
        for (key, former) in adopted {
            self.note_former(&key, former);
            self.dirty.insert(key);
        }
    }

    /// Objects of a kind that a complete list did not show are gone.
    fn retain(&mut self, kind: Kind, seen: &BTreeSet<ObjectKey>) {
        let missing: Vec<ObjectKey> = self
            .entries
            .keys()
            .filter(|key| key.kind == kind && !seen.contains(*key))
            .cloned()
            .collect();
        for key in missing {
            self.gone(key);
        }
    }

    /// The objects of a namespace may have come into sight, or gone out of it.
    fn look_again(&mut self, namespace: &str) {
        if !self.selectors.is_empty() {
            let inside = self.entries.keys().filter(|key| key.namespace == namespace);
            self.dirty.extend(inside.cloned());
        }
    }

    /// Chooses the namespaces in sight.
    pub(super) fn select(&mut self, selectors: &[LabelSelector]) {
        if self.selectors != selectors {
            self.selectors = selectors.to_vec();
            self.dirty.extend(self.entries.keys().cloned());
        }
    }

    fn is_in_sight(&self, key: &ObjectKey) -> bool {
        if self.selectors.is_empty()
            || key.namespace.is_empty()
            || key.namespace == self.root_namespace
        {
            return true;
        }
        let namespace = ObjectKey::new(Kind::Namespace, "", key.namespace.clone());
        let object = self
            .entries
            .get(&namespace)
            .and_then(|entry| entry.object.as_ref().ok());
        object.is_some_and(|object| {
            let labels = &object.meta().labels;
            self.selectors.iter().any(|one| one.matches(labels))
        })
    }

    /// Whether everything that has to be known at the start is known.
    pub(super) fn is_complete(&self) -> bool {
        self.watches
            .values()
            .all(|watch| watch.listed || watch.excused)
    }

    /// The kinds the start still waits for.
    pub(super) fn waits_for(&self) -> impl Iterator<Item = Kind> {
        self.watches
            .iter()
            .filter(|(_, watch)| !watch.listed && !watch.excused)
            .map(|(kind, _)| *kind)
    }

    /// The kinds that cannot be read now, and why.
    pub(super) fn troubles(&self) -> impl Iterator<Item = (Kind, &Trouble)> {
        self.watches
            .iter()
            .filter_map(|(kind, watch)| Some((*kind, watch.trouble.as_ref()?)))
    }

    /// The objects of a kind in their last good version.
    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        let from = ObjectKey::new(kind, "", "");
        self.entries
            .range(from..)
            .take_while(move |(key, _)| key.kind == kind)
            .filter_map(|(_, entry)| entry.object.as_ref().ok())
    }

    /// What is different from what was passed on, and what there is to say about those objects.
    pub(super) fn changes(&mut self) -> (Vec<Change>, Vec<(ObjectKey, Vec<Problem>)>) {
        let mut changes = Vec::new();
        let mut said = Vec::new();
        for key in std::mem::take(&mut self.dirty) {
            let entry = self.entries.get(&key).filter(|_| self.is_in_sight(&key));
            let problems = entry
                .map(|entry| entry.problems.clone())
                .unwrap_or_default();
            let wanted = entry.map(|entry| entry.object.clone());
            said.push((key.clone(), problems));
            match (self.sent.get(&key), wanted) {
                (None, None) => {}
                (Some(_), None) => {
                    self.sent.remove(&key);
                    changes.push(Change::Removed(key));
                }
                // Writing a status, or a heartbeat, changes an object for the API server only.
                (Some(before), Some(now)) if *before == now => {}
                (_, Some(now)) => {
                    self.sent.insert(key.clone(), now.clone());
                    changes.push(match now {
                        Ok(object) => Change::Applied(object),
                        Err(selects) => Change::Refused(key, selects),
                    });
                }
            }
        }
        (changes, said)
    }
}

impl Watch {
    /// Returns whether there is something new to say.
    fn failed(&mut self, trouble: Trouble, now: Instant, settle: Duration) -> bool {
        if trouble == Trouble::NotServed {
            // A kind that was there is only believed to be gone when its objects are listed as
            // gone: an API server that starts may not serve everything yet.
            let since = *self.not_served_since.get_or_insert(now);
            let settled = now.saturating_duration_since(since) >= settle;
            if !self.listed && !settled {
                return false;
            }
            self.excused |= settled;
        } else {
            self.not_served_since = None;
        }
        let known = self
            .trouble
            .as_ref()
            .is_some_and(|before| before.is_like(&trouble));
        if !known {
            self.trouble = Some(trouble);
        }
        !known
    }
}

/// The place reports about an object are filed under.
pub(super) fn place(key: &ObjectKey) -> Arc<str> {
    format!("kubernetes/{}/{}/{}", key.kind, key.namespace, key.name).into()
}
