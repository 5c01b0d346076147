//! In this API an empty string and a zero mean "not set" for most optional fields.
//!
//! Folding them into `None` here keeps every reader from having to remember it.

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
