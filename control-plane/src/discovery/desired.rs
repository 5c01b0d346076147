//! What one proxy should have: every resource by name, with one version over the whole.

use std::collections::BTreeMap;

use mesh_api::encoded::Encoded;
use mesh_api::name::ResourceName;
use mesh_api::version::SnapshotVersion;

/// What one proxy should have. Closed under references; immutable; shared behind an `Arc`.
#[derive(Clone, Debug, Default)]
pub struct DesiredState {
    resources: BTreeMap<ResourceName, Encoded>,
    version: SnapshotVersion,
}

impl DesiredState {
    /// The state that holds these resources.
    pub fn new(resources: impl IntoIterator<Item = (ResourceName, Encoded)>) -> Self {
        let resources: BTreeMap<_, _> = resources.into_iter().collect();
        let version = SnapshotVersion::of(
            resources
                .iter()
                .map(|(name, encoded)| (name, encoded.version)),
        );
        Self { resources, version }
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
                self.resources
                    .get(name)
                    .is_none_or(|old| old.version != encoded.version)
            })
            .peekable();
        changed.peek()?;
        let mut next = self.clone();
        for (name, encoded) in changed {
            next.version.add(&name, encoded.version);
            if let Some(old) = next.resources.insert(name.clone(), encoded) {
                next.version.remove(&name, old.version);
            }
        }
        Some(next)
    }

    /// The resource of that name.
    pub fn get(&self, name: &ResourceName) -> Option<&Encoded> {
        self.resources.get(name)
    }

    /// All resources in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceName, &Encoded)> {
        self.resources.iter()
    }

    /// A hash over all names and versions: equal states have equal versions, across restarts.
    pub const fn version(&self) -> SnapshotVersion {
        self.version
    }
}
