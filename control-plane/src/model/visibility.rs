//! Who may see an object: `exportTo`.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The namespaces an object is visible in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// Every namespace (`*`, or nothing given).
    #[default]
    Public,
    /// These only.
    Namespaces(BTreeSet<Arc<str>>),
    /// None (`~`).
    Nobody,
}

/// How near an object is to a client that sees it: nearer tiers are asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Visible in its own namespace only, and the client lives there.
    Private,
    /// Exported to the client's namespace by name.
    Exported,
    /// Visible to all.
    Public,
}

impl Visibility {
    /// What an `exportTo` list in an object of `namespace` means; a `*` outdoes the rest.
    pub fn parse<'a>(export_to: impl IntoIterator<Item = &'a str>, namespace: &Arc<str>) -> Self {
        let mut names = BTreeSet::new();
        let mut nobody = false;
        for entry in export_to {
            match entry.trim() {
                "*" => return Self::Public,
                "" => {}
                "~" => nobody = true,
                "." => {
                    names.insert(Arc::clone(namespace));
                }
                other => {
                    names.insert(Arc::from(other));
                }
            }
        }
        match (names.is_empty(), nobody) {
            (false, _) => Self::Namespaces(names),
            (true, true) => Self::Nobody,
            (true, false) => Self::Public,
        }
    }

    /// As [`parse`](Self::parse), for an object that may have no list: then the mesh's counts.
    pub fn of(export_to: &[String], default: &[String], namespace: &Arc<str>) -> Self {
        let list = if export_to.is_empty() {
            default
        } else {
            export_to
        };
        Self::parse(list.iter().map(String::as_str), namespace)
    }

    /// Whether a client in `namespace` sees the object.
    pub fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::Public => true,
            Self::Namespaces(names) => names.contains(namespace),
            Self::Nobody => false,
        }
    }

    /// The namespaces that see both objects.
    #[must_use]
    pub fn both(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Nobody, _) | (_, Self::Nobody) => Self::Nobody,
            (Self::Public, one) | (one, Self::Public) => one.clone(),
            (Self::Namespaces(a), Self::Namespaces(b)) => {
                let common: BTreeSet<_> = a.intersection(b).cloned().collect();
                if common.is_empty() {
                    Self::Nobody
                } else {
                    Self::Namespaces(common)
                }
            }
        }
    }

    /// Whether any other namespace than these sees the object.
    pub fn reaches_beyond(&self, namespaces: &[&str]) -> bool {
        match self {
            Self::Public => true,
            Self::Namespaces(names) => names.iter().any(|name| !namespaces.contains(&&**name)),
            Self::Nobody => false,
        }
    }

    /// The tier in which a client of `client` sees an object of `owner`; `None` if not at all.
    pub fn tier(&self, owner: &str, client: &str) -> Option<Tier> {
        match self {
            Self::Public => Some(Tier::Public),
            Self::Namespaces(names) if !names.contains(client) => None,
            Self::Namespaces(names) if names.len() == 1 && owner == client => Some(Tier::Private),
            Self::Namespaces(_) => Some(Tier::Exported),
            Self::Nobody => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_counts_where_nothing_is_said() {
        let own = Arc::from("a");
        let list = |text: &str| vec![text.to_owned()];
        let private = Visibility::of(&[], &list("."), &own);
        assert!(private.includes("a") && !private.includes("b"));
        assert_eq!(
            Visibility::of(&list("*"), &list("."), &own),
            Visibility::Public
        );
        assert_eq!(Visibility::of(&[], &[], &own), Visibility::Public);
    }

    #[test]
    fn export_lists() {
        let own = Arc::from("a");
        let parse = |list: &[&str]| Visibility::parse(list.iter().copied(), &own);
        assert_eq!(parse(&[]), Visibility::Public);
        assert_eq!(parse(&[".", "*"]), Visibility::Public);
        assert_eq!(parse(&["~"]), Visibility::Nobody);
        assert_eq!(parse(&["."]).tier("a", "a"), Some(Tier::Private));
        assert_eq!(parse(&["."]).tier("a", "b"), None);
        assert_eq!(parse(&[".", "b"]).tier("a", "b"), Some(Tier::Exported));
        assert_eq!(parse(&["b"]).tier("a", "a"), None);
        assert!(!parse(&["~"]).includes("a"));
    }

    #[test]
    fn who_sees_two_objects() {
        let own = Arc::from("a");
        let parse = |list: &[&str]| Visibility::parse(list.iter().copied(), &own);
        assert_eq!(parse(&["*"]).both(&parse(&["b"])), parse(&["b"]));
        assert_eq!(parse(&[".", "b"]).both(&parse(&["b", "c"])), parse(&["b"]));
        assert_eq!(parse(&["."]).both(&parse(&["b"])), Visibility::Nobody);
        assert_eq!(parse(&["*"]).both(&parse(&["~"])), Visibility::Nobody);
        assert!(parse(&["*"]).reaches_beyond(&["a", "b"]));
        assert!(parse(&[".", "b"]).reaches_beyond(&["a"]));
        assert!(!parse(&[".", "b"]).reaches_beyond(&["a", "b"]));
        assert!(!parse(&["~"]).reaches_beyond(&[]));
    }
}
