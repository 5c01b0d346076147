//! Hosts and wildcards: which virtual host answers for a Host header.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A host pattern; lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    /// This host exactly.
    Exact(Arc<str>),
    /// `*.example.com`, `*-blue.example.com`: any host that ends in the text kept here
    /// (`.example.com`), at any depth, but is longer.
    Suffix(Arc<str>),
    /// `*`: every host.
    Any,
}

impl Domain {
    /// The pattern of a host as users write it; lower-cased. `None` for empty text or a `*`
    /// anywhere but in front.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text == "*" {
            return Some(Self::Any);
        }
        match text.strip_prefix('*') {
            Some("." | "-") => None,
            Some(suffix) if !suffix.contains('*') => Some(Self::Suffix(Arc::from(suffix))),
            Some(_) => None,
            None if text.is_empty() || text.contains('*') => None,
            None => Some(Self::Exact(Arc::from(text))),
        }
    }

    /// Whether `host` (lower case, no port) falls under this pattern.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *host,
            Self::Suffix(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
            Self::Any => true,
        }
    }

    /// Whether every host of `other` falls under this pattern.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Suffix(a), Self::Exact(b)) => b.len() > a.len() && b.ends_with(&**a),
            (Self::Suffix(a), Self::Suffix(b)) => b.ends_with(&**a),
            (Self::Exact(_) | Self::Suffix(_), Self::Any) | (Self::Exact(_), Self::Suffix(_)) => {
                false
            }
        }
    }

    /// How narrow the pattern is: greater is more specific (exact, then the longer suffix).
    pub fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Exact(exact) => (2, exact.len()),
            Self::Suffix(suffix) => (1, suffix.len()),
            Self::Any => (0, 0),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Suffix(suffix) => write!(f, "*{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl Serialize for Domain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An authority taken apart: the host, and the port if it has one.
///
/// `None` if the text is not an authority (user info, empty host, bad port, a character no host
/// has). IPv6 literals keep
/// their brackets.
pub fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    if authority.is_empty() || !authority.bytes().all(may_stand_in_authority) {
        return None;
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains([':', '[', ']']) && !bracketed) {
        return None;
    }
    match port {
        None => Some((host, None)),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            port.parse().ok().map(|port| (host, Some(port)))
        }
        Some(_) => None,
    }
}

/// Whether a host with a port may contain the byte (RFC 3986 section 3.2.2).
const fn may_stand_in_authority(byte: u8) -> bool {
    matches!(
        byte,
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$'
        | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'[' | b']'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_cover_deeper_names_only() {
        let wild = Domain::parse("*.Foo.com").unwrap();
        assert!(wild.matches("a.b.foo.com"));
        assert!(!wild.matches("foo.com"));
        assert!(!wild.matches("xfoo.com"));
        assert!(Domain::parse("a*.foo.com").is_none());
        assert!(Domain::parse("**.foo.com").is_none());
        assert!(Domain::parse("*.").is_none());
        let prefixed = Domain::parse("*-blue.foo.com").unwrap();
        assert!(prefixed.matches("a-blue.foo.com"));
        assert!(!prefixed.matches("-blue.foo.com"));
        assert!(!prefixed.matches("ablue.foo.com"));
        assert!(wild.covers(&prefixed));
        assert!(prefixed.specificity() > wild.specificity());
        assert!(wild.covers(&Domain::parse("*.a.foo.com").unwrap()));
        assert!(!wild.covers(&Domain::Any));
        assert!(wild.specificity() > Domain::Any.specificity());
    }

    #[test]
    fn authorities_split() {
        assert_eq!(split_authority("a:80"), Some(("a", Some(80))));
        assert_eq!(split_authority("a"), Some(("a", None)));
        assert_eq!(split_authority("[::1]:80"), Some(("[::1]", Some(80))));
        assert_eq!(split_authority("[::1]"), Some(("[::1]", None)));
        for bad in [
            "", ":80", "a:b", "u@a", "a:99999", "::1", "a/b", "a b", "a\tb", "a\\b", "a\"b", "ä",
            "a#b",
        ] {
            assert_eq!(split_authority(bad), None, "{bad}");
        }
    }
}
