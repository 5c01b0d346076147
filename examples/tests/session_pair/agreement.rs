//! What both sides must agree on when they have come to rest.

use std::collections::BTreeSet;

use mesh_api::name::ResourceName;

use super::{Pair, Versions};

impl Pair {
    /// The proxy holds what was published.
    pub(crate) fn assert_equal(&self) {
        let published: Versions = self
            .published
            .iter()
            .map(|(name, encoded)| (name.clone(), encoded.version))
            .collect();
        assert_eq!(self.proxy.in_force().versions(), published);
    }

    /// The proxy holds what was published, but for what it refused and what follows from that.
    pub(crate) fn assert_agreed(&self) {
        let server = self.server.as_ref().unwrap();
        let held = self.proxy.in_force().versions();
        let expected: Versions = server
            .expected()
            .map(|(name, version)| (name.clone(), version))
            .collect();
        assert_eq!(held, expected, "the server is wrong about the proxy");
        // Refused, and whatever cannot be without it.
        let mut excused: BTreeSet<&ResourceName> = server.withheld().keys().collect();
        loop {
            let count = excused.len();
            for (name, encoded) in self.published.iter() {
                let misses = |name| excused.contains(name) && !held.contains_key(name);
                if encoded.references.iter().any(misses) {
                    excused.insert(name);
                }
            }
            if excused.len() == count {
                break;
            }
        }
        for (name, encoded) in self.published.iter() {
            if held.get(name) != Some(&encoded.version) {
                assert!(excused.contains(name), "{name} is missing without reason");
            }
        }
        // Kept though no longer published: only for the sake of an old version that stays.
        for name in held.keys() {
            if self.published.get(name).is_none() {
                assert!(!excused.is_empty(), "{name} was not removed");
            }
        }
    }
}
