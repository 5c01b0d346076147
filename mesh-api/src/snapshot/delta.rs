//! The difference between two snapshots.

use super::Entry;
use super::ordered::{Difference, OrderedMap, side_by_side};
use crate::name::ResourceName;

/// What makes one snapshot of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// New resources and new versions of resources.
    pub set: Vec<Entry>,
    /// Names that are gone. A name that was never there may stand here.
    pub removed: Vec<ResourceName>,
}

impl Delta {
    /// Whether nothing changes.
    pub const fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty()
    }
}

pub(super) fn between(
    old: &OrderedMap<ResourceName, Entry>,
    new: &OrderedMap<ResourceName, Entry>,
) -> Delta {
    let mut delta = Delta::default();
    side_by_side(old, new, |difference| match difference {
        Difference::Left(name, _) => delta.removed.push(name.clone()),
        Difference::Right(_, entry) => delta.set.push(entry.clone()),
        Difference::Both(_, old, new) => {
            if old.version != new.version {
                delta.set.push(new.clone());
            }
        }
    });
    delta
}
