//! What to send: the way from what a proxy holds to what it should hold, around what it refused.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::encoded::Encoded;
use mesh_api::name::ResourceName;

use super::Session;
use super::view::{Held, View};
use crate::discovery::desired::DesiredState;

/// What a push says.
#[derive(Debug, Default)]
pub(super) struct Difference<'a> {
    pub(super) set: Vec<&'a Encoded>,
    pub(super) removed: Vec<ResourceName>,
    /// Names no resource of this server can have.
    pub(super) foreign: Vec<String>,
    /// Whether it only gives the proxy new versions of endpoint sets it holds.
    updates_endpoints: bool,
}

impl Difference<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.removed.is_empty() && self.foreign.is_empty()
    }

    pub(super) fn is_endpoints_only(&self) -> bool {
        self.updates_endpoints
    }
}

/// What stays as it is because of refusals.
#[derive(Debug, Default)]
struct Kept<'a> {
    /// Not sent, and not removed.
    untouched: BTreeSet<&'a ResourceName>,
    /// Not removed: an old version that stays refers to it.
    needed: BTreeSet<ResourceName>,
    /// An old version stays and nobody knows what it refers to: nothing that anything could
    /// refer to is removed.
    all_needed: bool,
}

impl Kept<'_> {
    fn keeps(&self, name: &ResourceName) -> bool {
        self.untouched.contains(name)
            || self.needed.contains(name)
            || (self.all_needed && can_be_referred_to(name))
    }
}

fn can_be_referred_to(name: &ResourceName) -> bool {
    match name {
        ResourceName::Policy(_) | ResourceName::Endpoints(_) | ResourceName::Cluster(_) => true,
        ResourceName::Settings(_)
        | ResourceName::Workload(_)
        | ResourceName::Routes(_)
        | ResourceName::Listener(_) => false,
    }
}

impl Session {
    /// Everything the proxy lacks, has in another version, or should not have.
    pub(super) fn difference<'a>(&mut self, desired: &'a DesiredState) -> Difference<'a> {
        self.learn_references(desired);
        let kept = self.kept(desired);
        let mut change = Difference {
            updates_endpoints: true,
            ..Difference::default()
        };
        side_by_side(desired, &self.view, |name, encoded, held| {
            let wanted = encoded.filter(|_| self.subscription.includes(name));
            match (wanted, held) {
                (Some(encoded), held) => {
                    let same = held.is_some_and(|held| held.version == encoded.version);
                    if !same && !kept.untouched.contains(name) {
                        change.updates_endpoints &=
                            held.is_some() && matches!(name, ResourceName::Endpoints(_));
                        change.set.push(encoded);
                    }
                }
                (None, Some(_)) if !kept.keeps(name) && !self.may_still_come(name) => {
                    change.removed.push(name.clone());
                }
                (None, _) => {}
            }
        });
        // Asked for by name and not there: the answer is that it is gone.
        for name in self.subscription.take_unanswered() {
            let there = desired.get(&name).is_some() || self.view.held.contains_key(&name);
            if !there {
                change.removed.push(name);
            }
        }
        change.foreign = self.view.foreign.iter().cloned().collect();
        change.updates_endpoints &= change.removed.is_empty() && change.foreign.is_empty();
        change
    }

    /// Whether a workload may be missing only because nobody has looked for it so far.
    fn may_still_come(&self, name: &ResourceName) -> bool {
        self.looking_up && self.subscription.wants_workload(name)
    }

    /// New versions of endpoint sets the proxy holds, or will hold.
    pub(super) fn endpoint_updates<'a>(&self, desired: &'a DesiredState) -> Difference<'a> {
        let mut change = Difference {
            updates_endpoints: true,
            ..Difference::default()
        };
        for (name, held) in &self.view.held {
            if !matches!(name, ResourceName::Endpoints(_)) {
                continue;
            }
            if let Some(encoded) = desired.get(name)
                && encoded.version != held.version
                && self.subscription.includes(name)
                && !self.refusals.withholds(name, encoded.version)
            {
                change.set.push(encoded);
            }
        }
        change
    }

    /// Notes what the resources refer to that the proxy brought from an earlier stream.
    fn learn_references(&mut self, desired: &DesiredState) {
        if !std::mem::take(&mut self.view.unlearned) {
            return;
        }
        for (name, held) in &mut self.view.held {
            if let Some(encoded) = desired.get(name)
                && encoded.version == held.version
            {
                held.references = Some(Arc::clone(&encoded.references));
            }
        }
    }

    /// Follows the consequences of what is withheld.
    fn kept<'a>(&self, desired: &'a DesiredState) -> Kept<'a> {
        let mut kept = Kept {
            all_needed: self.refusals.pinned,
            ..Kept::default()
        };
        if self.refusals.withheld.is_empty() {
            return kept;
        }
        let held = &self.view.held;
        // By name: what will not be there, since it was never taken in any version.
        let mut absent: BTreeSet<&ResourceName> = BTreeSet::new();
        for (name, encoded) in desired.iter() {
            let refused = self.refusals.withholds(name, encoded.version);
            if refused && self.subscription.includes(name) {
                kept.untouched.insert(name);
                if !held.contains_key(name) {
                    absent.insert(name);
                }
            }
        }
        // What refers to something absent cannot be sent either; four kinds deep at most, but
        // the loop need not know that.
        loop {
            let mut found = false;
            for (name, encoded) in desired.iter() {
                let stays = self.view.version(name) == Some(encoded.version);
                let dangles = encoded.references.iter().any(|name| absent.contains(name));
                if stays || !dangles || !self.subscription.includes(name) {
                    continue;
                }
                found |= kept.untouched.insert(name);
                if !held.contains_key(name) {
                    found |= absent.insert(name);
                }
            }
            if !found {
                break;
            }
        }
        for name in &kept.untouched {
            need_references(&self.view, name, &mut kept.needed, &mut kept.all_needed);
        }
        kept
    }
}

/// Walks over both in name order: every name that either has, with what each has of it.
fn side_by_side<'a>(
    desired: &'a DesiredState,
    view: &View,
    mut each: impl FnMut(&ResourceName, Option<&'a Encoded>, Option<&Held>),
) {
    let mut desired = desired.iter().peekable();
    let mut held = view.held.iter().peekable();
    loop {
        let order = match (desired.peek(), held.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) => one.cmp(other),
        };
        let left = if order.is_le() { desired.next() } else { None };
        let right = if order.is_ge() { held.next() } else { None };
        match (left, right) {
            (Some((name, encoded)), right) => each(name, Some(encoded), right.map(|(_, it)| it)),
            (None, Some((name, it))) => each(name, None, Some(it)),
            (None, None) => return,
        }
    }
}

/// Collects what the held version of `name` refers to, at any depth.
fn need_references(
    view: &View,
    name: &ResourceName,
    needed: &mut BTreeSet<ResourceName>,
    all_needed: &mut bool,
) {
    let mut open = vec![name.clone()];
    while let Some(name) = open.pop() {
        let Some(held) = view.held.get(&name) else {
            continue;
        };
        let Some(references) = &held.references else {
            *all_needed |= refers(&name);
            continue;
        };
        for reference in references.iter() {
            if needed.insert(reference.clone()) {
                open.push(reference.clone());
            }
        }
    }
}

fn refers(name: &ResourceName) -> bool {
    match name {
        ResourceName::Cluster(_) | ResourceName::Routes(_) | ResourceName::Listener(_) => true,
        ResourceName::Settings(_)
        | ResourceName::Workload(_)
        | ResourceName::Policy(_)
        | ResourceName::Endpoints(_) => false,
    }
}
