//! Versions: what a resource says, and what a whole snapshot says, as eight bytes.
//!
//! Both are hashes of content, so that replicas and restarts of a control plane agree on them.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::name::ResourceName;

/// The version of a resource: a hash of its encoded body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// The version of a resource whose encoded body this is.
    pub fn of_body(body: &[u8]) -> Self {
        Self(leading_eight(Sha256::new().chain_update(body)))
    }
}

/// Which state of a whole snapshot this is: equal for equal maps from name to version.
///
/// A sum over the entries, so that one changed entry costs one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotVersion(pub u64);

impl SnapshotVersion {
    /// The version of a map from name to version.
    pub fn of<'a>(entries: impl IntoIterator<Item = (&'a ResourceName, Version)>) -> Self {
        let mut whole = Self::default();
        for (name, version) in entries {
            whole.add(name, version);
        }
        whole
    }

    /// Takes an entry in.
    pub fn add(&mut self, name: &ResourceName, version: Version) {
        self.0 = self.0.wrapping_add(summand(name, version));
    }

    /// Takes an entry out that was taken in before.
    pub fn remove(&mut self, name: &ResourceName, version: Version) {
        self.0 = self.0.wrapping_sub(summand(name, version));
    }
}

fn summand(name: &ResourceName, version: Version) -> u64 {
    let name = name.to_string();
    leading_eight(
        Sha256::new()
            .chain_update(name.as_bytes())
            .chain_update([0])
            .chain_update(version.0.to_be_bytes()),
    )
}

fn leading_eight(hash: Sha256) -> u64 {
    let digest = hash.finalize();
    digest
        .iter()
        .take(8)
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Text that is not a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is sixteen lower-case hexadecimal digits")]
pub struct InvalidVersion;

fn parse_hex(text: &str) -> Result<u64, InvalidVersion> {
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 16 || !text.bytes().all(digits) {
        return Err(InvalidVersion);
    }
    u64::from_str_radix(text, 16).or(Err(InvalidVersion))
}

macro_rules! sixteen_hex_digits {
    ($($name:ident),*) => {$(
        impl $name {
            /// Its number, as it travels.
            pub const fn bits(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:016x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidVersion;

            fn from_str(text: &str) -> Result<Self, InvalidVersion> {
                parse_hex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}

sixteen_hex_digits!(Version, SnapshotVersion);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_start_of_the_hash() {
        // SHA-256 of the empty text begins e3b0c44298fc1c14.
        let version = Version::of_body(b"");
        assert_eq!(version.to_string(), "e3b0c44298fc1c14");
        assert_eq!("e3b0c44298fc1c14".parse(), Ok(version));
        for bad in ["", "e3b0", "E3B0C44298FC1C14", "+3b0c44298fc1c14"] {
            assert_eq!(bad.parse::<Version>(), Err(InvalidVersion), "{bad}");
        }
    }

    #[test]
    fn a_snapshot_version_depends_on_the_map_alone() {
        let one: ResourceName = "policy/a".parse().unwrap();
        let two: ResourceName = "policy/b".parse().unwrap();
        let both = SnapshotVersion::of([(&one, Version(1)), (&two, Version(2))]);
        let swapped = SnapshotVersion::of([(&one, Version(2)), (&two, Version(1))]);
        assert_ne!(both, swapped);
        assert_eq!(
            both,
            SnapshotVersion::of([(&two, Version(2)), (&one, Version(1))])
        );
        let mut walked = swapped;
        walked.remove(&one, Version(2));
        walked.add(&one, Version(1));
        walked.remove(&two, Version(1));
        walked.add(&two, Version(2));
        assert_eq!(walked, both);
    }
}
