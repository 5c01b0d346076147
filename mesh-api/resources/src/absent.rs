//! In this API an empty string and a zero mean "not set" for most optional fields.
//!
//! Folding them into `None` here keeps every reader from having to remember it.

use std::collections::BTreeMap;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Reads a string; the empty one counts as absent.
pub(crate) fn unset_if_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(|text| (!text.is_empty()).then_some(text))
}

/// Reads a number; zero counts as absent.
pub(crate) fn unset_if_zero<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default + PartialEq,
{
    T::deserialize(deserializer).map(|number| (number != T::default()).then_some(number))
}

/// Reads a map that has no meaning without entries.
pub(crate) fn some_entry<'de, D, K, V>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    let map = BTreeMap::deserialize(deserializer)?;
    if map.is_empty() {
        return Err(D::Error::custom("is empty; add an entry, or remove it"));
    }
    Ok(map)
}
