//! What one proxy should have: every resource by name, with one version over the whole.
//!
//! What was compiled is kept apart from what was laid over it since (endpoints that changed, single
//! workloads the proxy asked for), and shared. So that neither costs a copy of all the rest.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::encoded::Encoded;
use mesh_api::name::ResourceName;
use mesh_api::version::SnapshotVersion;

/// What one proxy should have. Closed under references; immutable; shared behind an `Arc`.
#[derive(Clone, Debug, Default)]
pub struct DesiredState {
    compiled: Arc<BTreeMap<ResourceName, Encoded>>,
    /// Wins over what was compiled.
    over: BTreeMap<ResourceName, Encoded>,
    version: SnapshotVersion,
}

impl DesiredState {
    /// The state that holds these resources.
    pub fn new(resources: impl IntoIterator<Item = (ResourceName, Encoded)>) -> Self {
        let compiled: BTreeMap<_, _> = resources.into_iter().collect();
        let version = SnapshotVersion::of(
            compiled
                .iter()
                .map(|(name, encoded)| (name, encoded.version)),
        );
        Self {
            compiled: Arc::new(compiled),
            over: BTreeMap::new(),
            version,
        }
    }

    /// This state with some resources put in or replaced; `None` if nothing would change.
    #[must_use]
    pub fn with_replaced(
        &self,
        newer: impl IntoIterator<Item = (ResourceName, Encoded)>,
    ) -> Option<Self> {
        let mut changed = newer
            .into_iter()
            .filter(|(name, encoded)| {
                self.get(name)
                    .is_none_or(|old| old.version != encoded.version)
            })
            .peekable();
        changed.peek()?;
        let mut next = self.clone();
        for (name, encoded) in changed {
            next.forget(&name);
            next.version.add(&name, encoded.version);
            next.over.insert(name, encoded);
        }
        Some(next)
    }

    /// This state without what was laid over it under these names; `None` if nothing would change.
    #[must_use]
    pub fn without_laid_over<'a>(
        &self,
        names: impl IntoIterator<Item = &'a ResourceName>,
    ) -> Option<Self> {
        let mut laid_over = names
            .into_iter()
            .filter(|name| self.over.contains_key(*name))
            .peekable();
        laid_over.peek()?;
        let mut next = self.clone();
        for name in laid_over {
            next.forget(name);
            next.over.remove(name);
            if let Some(compiled) = self.compiled.get(name) {
                next.version.add(name, compiled.version);
            }
        }
        Some(next)
    }

    /// Takes what there is of a name out of the version.
    fn forget(&mut self, name: &ResourceName) {
        let old = self.over.get(name).or_else(|| self.compiled.get(name));
        if let Some(old) = old {
            self.version.remove(name, old.version);
        }
    }

    /// The resource of that name.
    pub fn get(&self, name: &ResourceName) -> Option<&Encoded> {
        self.over.get(name).or_else(|| self.compiled.get(name))
    }

    /// All resources in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceName, &Encoded)> {
        let mut compiled = self.compiled.iter().peekable();
        let mut over = self.over.iter().peekable();
        std::iter::from_fn(move || {
            let order = match (compiled.peek(), over.peek()) {
                (_, None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((one, _)), Some((other, _))) => one.cmp(other),
            };
            if order.is_eq() {
                compiled.next();
            }
            if order.is_lt() {
                compiled.next()
            } else {
                over.next()
            }
        })
    }

    /// Whether what was compiled is the same for both, and there once.
    #[cfg(test)]
    pub(crate) fn shares_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.compiled, &other.compiled)
    }

    /// A hash over all names and versions: equal states have equal versions, across restarts.
    pub const fn version(&self) -> SnapshotVersion {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use mesh_api::name::PolicyName;
    use mesh_api::policy::{Policy, PolicyRule};
    use mesh_api::resource::Resource;
    use proptest::prelude::*;

    use super::*;

    fn policy(name: u8, reason: u8) -> (ResourceName, Encoded) {
        let rule = PolicyRule::Refuse {
            reason: reason.to_string().into(),
        };
        let name = PolicyName(name.to_string().into());
        let encoded = Encoded::new(&Resource::from(Policy::uniform(name, rule)));
        (encoded.name.clone(), encoded)
    }

    proptest! {
        /// Whatever is laid over a state and taken away again, it is as if it had been made so.
        #[test]
        fn laying_over_is_the_same_as_making_anew(
            compiled in prop::collection::btree_map(0_u8..8, 0_u8..3, 0..8),
            steps in prop::collection::vec((any::<bool>(), 0_u8..8, 0_u8..3), 0..12),
        ) {
            let mut state = DesiredState::new(compiled.iter().map(|(n, r)| policy(*n, *r)));
            let mut over = BTreeMap::new();
            for (lay, name, reason) in steps {
                let next = if lay {
                    over.insert(name, reason);
                    state.with_replaced([policy(name, reason)])
                } else {
                    over.remove(&name);
                    state.without_laid_over([&policy(name, reason).0])
                };
                let before = state.version();
                if let Some(next) = next {
                    state = next;
                } else {
                    prop_assert_eq!(state.version(), before);
                }
                let mut all = compiled.clone();
                all.extend(over.clone());
                let anew = DesiredState::new(all.iter().map(|(n, r)| policy(*n, *r)));
                prop_assert_eq!(state.version(), anew.version());
                prop_assert!(state.iter().eq(anew.iter()));
                for (name, encoded) in anew.iter() {
                    prop_assert_eq!(state.get(name), Some(encoded));
                }
            }
        }
    }
}
