//! What must outlive a change for the mesh to stay up, as a value.
//!
//! A world is a function of the objects there are and of what is kept. So whoever has both has
//! the same mesh: after a restart, on a second replica, and whatever the order of events was.
//! Kept are
//!
//! - of a virtual service whose newest form refers to something that is not there: the last form
//!   all of which was there, and the definitions of the subsets that form uses and that no
//!   destination rule holds any more;
//! - of an object whose newest form cannot be read: the last that could, and in a file that cannot
//!   be read as a whole everything it held;
//! - of the mesh's settings: the last good value of every key.
//!
//! Everything else a [`World`](super::World) holds is derived from the objects alone. Its
//! generation counts changes and is compared within one process only.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::crd::destination_rule::DestinationRuleSpec;
use crate::crd::object::Resource;
use crate::crd::virtual_service::VirtualServiceSpec;
use crate::meta::{ObjectKey, ObjectMeta};

mod document;
mod former;
mod hold;

pub use document::{MAX_BYTES, NotKept};
pub use former::{Former, Formers, Stood};
pub(super) use hold::{Before, hold};

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Virtual services in the form that is in effect for a newer one.
    pub(super) routes: BTreeMap<ObjectKey, Arc<Resource<VirtualServiceSpec>>>,
    /// Destination rules, cut down to the subsets those routes use and that are nowhere else.
    pub(super) rules: BTreeMap<ObjectKey, Arc<Resource<DestinationRuleSpec>>>,
    /// The forms that count of objects whose newest nobody can read.
    pub(crate) formers: Formers,
    /// The last good value of every key of the mesh's settings; `None`: none were ever read.
    pub(crate) settings: Option<KeptSettings>,
}

/// The last good value of every key of the mesh's settings, by its path, such as
/// `outboundTrafficPolicy.mode`; lists are values. A key that is not there had its default.
pub type KeptSettings = BTreeMap<String, serde_json::Value>;

impl Kept {
    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The virtual services that are held back.
    pub fn routes(&self) -> impl Iterator<Item = &ObjectKey> {
        self.routes.keys()
    }

    /// Whether both keep the same for the same routes.
    pub(super) fn same_routes(&self, other: &Self) -> bool {
        self.routes == other.routes && self.rules == other.rules
    }

    /// Joins what somebody else keeps of the routes: of two forms of one object the newer, as the
    /// API server counts. Where they keep all that is kept here, in forms at least as new, their
    /// definitions of subsets replace those here, so that all have the same in the end.
    pub(super) fn join_routes(&mut self, other: &Self) {
        let covered = self.routes.iter().all(|(key, mine)| {
            let theirs = other.routes.get(key);
            theirs.is_some_and(|theirs| age(&theirs.meta) >= age(&mine.meta))
        });
        if covered {
            self.routes.clone_from(&other.routes);
            self.rules.clone_from(&other.rules);
            return;
        }
        for (key, theirs) in &other.routes {
            let mine = self.routes.get(key);
            if mine.is_none_or(|mine| age(&theirs.meta) > age(&mine.meta)) {
                self.routes.insert(key.clone(), Arc::clone(theirs));
            }
        }
        for rule in other.rules.values() {
            self.keep_rule(Resource::clone(rule));
        }
    }

    /// Adds a rule; with one that is there already the subsets are joined, and the rest is that
    /// of the newer.
    fn keep_rule(&mut self, rule: Resource<DestinationRuleSpec>) {
        let (mut base, others) = match self.rules.remove(&rule.key) {
            None => (rule, Vec::new()),
            Some(there) if age(&rule.meta) > age(&there.meta) => (rule, there.spec.subsets.clone()),
            Some(there) => (Resource::clone(&there), rule.spec.subsets),
        };
        for subset in others {
            if !base.spec.subsets.iter().any(|one| one.name == subset.name) {
                base.spec.subsets.push(subset);
            }
        }
        base.spec.subsets.sort_by(|a, b| a.name.cmp(&b.name));
        self.rules.insert(base.key.clone(), Arc::new(base));
    }
}

/// Which of two forms of an object is newer: that of the object made later, then the one the API
/// server counted higher.
fn age(meta: &ObjectMeta) -> (Option<jiff::Timestamp>, Option<i64>) {
    (meta.creation_timestamp, meta.generation)
}

#[cfg(test)]
mod tests;
