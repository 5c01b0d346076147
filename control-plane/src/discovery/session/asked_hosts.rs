//! The hosts a proxy asked for. It may ask for many, and routes may be many: neither is gone through
//! for the sake of the other.

use std::collections::BTreeSet;
use std::ops::Bound;

use mesh_api::route::Domain;

/// Hosts.
#[derive(Debug, Default)]
pub(super) struct AskedHosts {
    all: BTreeSet<String>,
    /// The same, from their ends to their beginnings: those under a wildcard lie together.
    reversed: BTreeSet<String>,
}

impl AskedHosts {
    pub(super) fn insert(&mut self, host: String) {
        self.reversed.insert(reversed(&host));
        self.all.insert(host);
    }

    pub(super) fn remove(&mut self, host: &str) {
        self.reversed.remove(&reversed(host));
        self.all.remove(host);
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn contains(&self, host: &str) -> bool {
        self.all.contains(host)
    }

    /// Whether this answers for any of them, or might.
    pub(super) fn any_under(&self, domain: &Domain) -> bool {
        match domain {
            Domain::Any => true,
            Domain::Exact(host) => self.contains(host),
            Domain::Suffix(suffix) => {
                let suffix = reversed(suffix);
                let longer = (Bound::Excluded(suffix.as_str()), Bound::Unbounded);
                let mut longer = self.reversed.range::<str, _>(longer);
                longer.next().is_some_and(|one| one.starts_with(&suffix))
            }
        }
    }
}

fn reversed(host: &str) -> String {
    host.chars().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_is_found_by_what_is_under_it() {
        let mut hosts = AskedHosts::default();
        for host in [
            "b.example.com",
            "x-blue.example.org",
            "example.net",
            "é.example.edu",
        ] {
            hosts.insert(host.to_owned());
        }
        for (domain, expected) in [
            ("*", true),
            ("b.example.com", true),
            ("c.example.com", false),
            ("*.example.com", true),
            ("*.com", true),
            ("*.b.example.com", false),
            ("*-blue.example.org", true),
            ("*-green.example.org", false),
            ("*.example.net", false),
            ("*example.net", false),
            ("*.net", true),
            ("*.example.edu", true),
            ("*.m", false),
        ] {
            let parsed = Domain::parse(domain).unwrap();
            assert_eq!(hosts.any_under(&parsed), expected, "{domain}");
            let slowly = hosts.all.iter().any(|host| parsed.matches(host));
            assert!(parsed == Domain::Any || slowly == expected, "{domain}");
        }
        hosts.remove("b.example.com");
        let under = Domain::parse("*.example.com").unwrap();
        assert!(!hosts.any_under(&under) && hosts.len() == 3);
    }
}
