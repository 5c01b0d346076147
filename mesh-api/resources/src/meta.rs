//! What identifies an object, what is known of every object, and which of two objects comes first.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use crate::Kind;

/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Identifies an object. The API version is no part of it: all versions of a kind are one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// The kind.
    pub kind: Kind,
    /// The namespace; empty for kinds that have none.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its parts.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// What is known of every object besides its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// When the object was made; objects from files seldom say.
    pub creation_timestamp: Option<jiff::Timestamp>,
    /// Counts the changes of the specification.
    pub generation: Option<i64>,
    /// Set where the object could not be read and what it asks for is guessed: what restricts,
    /// and nothing else.
    pub stands_in: bool,
}

/// The order in which objects take precedence: older first, then by name, then by namespace.
///
/// Objects that do not say how old they are come after those that do. Neither file times nor
/// arrival decide, so that the result is the same after every restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Precedence<'a> {
    /// When the object was made, in whole seconds.
    created: Option<i64>,
    name: &'a str,
    namespace: &'a str,
}

impl<'a> Precedence<'a> {
    /// The precedence of one object.
    pub fn new(key: &'a ObjectKey, meta: &ObjectMeta) -> Self {
        Self {
            created: meta.creation_timestamp.map(jiff::Timestamp::as_second),
            name: &key.name,
            namespace: &key.namespace,
        }
    }
}

impl Ord for Precedence<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let age = match (self.created, other.created) {
            (Some(mine), Some(theirs)) => mine.cmp(&theirs),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        age.then_with(|| self.name.cmp(other.name))
            .then_with(|| self.namespace.cmp(other.namespace))
    }
}

impl PartialOrd for Precedence<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_first_then_name_then_namespace() {
        let object = |created: Option<&str>, namespace: &str, name: &str| {
            let meta = ObjectMeta {
                creation_timestamp: created.map(|text| text.parse().unwrap()),
                ..ObjectMeta::default()
            };
            (ObjectKey::new(Kind::VirtualService, namespace, name), meta)
        };
        let in_order = [
            object(Some("2024-01-01T00:00:00Z"), "z", "z"),
            object(Some("2024-01-02T00:00:00.2Z"), "z", "a"),
            object(Some("2024-01-02T00:00:00.9Z"), "a", "b"),
            object(Some("2024-01-02T00:00:00.1Z"), "b", "b"),
            object(None, "z", "a"),
            object(None, "a", "b"),
            object(None, "b", "b"),
        ];
        let mut shuffled = in_order.to_vec();
        shuffled.reverse();
        shuffled.sort_by(|a, b| Precedence::new(&a.0, &a.1).cmp(&Precedence::new(&b.0, &b.1)));
        assert_eq!(shuffled, in_order);
    }
}
