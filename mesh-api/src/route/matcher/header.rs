//! Matches on headers, and on the parts of a request that are named like headers.

use std::borrow::Cow;

use http::HeaderName;
use serde::{Serialize, Serializer};

use super::{RequestView, ValueMatch};
use crate::route::Headers;

/// A match on a header.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HeaderMatch {
    /// Which header.
    pub name: Matched,
    /// What it must be.
    pub value: ValueMatch,
}

/// What a match on a header looks at: a header, or a part of the request that HTTP/2 sends as if
/// it were one (RFC 9113 section 8.3.1), whichever version the request came by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Matched {
    /// A header.
    Header(HeaderName),
    /// `:method`.
    Method,
    /// `:path`: path and query.
    Path,
    /// `:scheme`.
    Scheme,
    /// `:authority`.
    Authority,
}

impl Matched {
    /// What this name, in lower case, stands for.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            ":method" => Some(Self::Method),
            ":path" => Some(Self::Path),
            ":scheme" => Some(Self::Scheme),
            ":authority" => Some(Self::Authority),
            name => HeaderName::from_lowercase(name.as_bytes())
                .ok()
                .map(Self::Header),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Header(name) => name.as_str(),
            Self::Method => ":method",
            Self::Path => ":path",
            Self::Scheme => ":scheme",
            Self::Authority => ":authority",
        }
    }

    /// What the request says there; `None` if it says nothing.
    fn of<'r>(&self, request: &RequestView<'r>) -> Option<Cow<'r, [u8]>> {
        let text = match self {
            Self::Header(name) => return joined(request.headers, name),
            Self::Method => Cow::Borrowed(request.method.as_bytes()),
            Self::Scheme => Cow::Borrowed(request.scheme.as_bytes()),
            Self::Authority => Cow::Borrowed(request.authority.as_bytes()),
            Self::Path => match request.query {
                None => Cow::Borrowed(request.path.as_bytes()),
                Some(query) => Cow::Owned(format!("{}?{query}", request.path).into_bytes()),
            },
        };
        Some(text)
    }
}

impl Serialize for Matched {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl HeaderMatch {
    pub(super) fn matches(&self, request: &RequestView<'_>) -> bool {
        match self.name.of(request) {
            None => false,
            Some(value) => self.accepts(&value),
        }
    }

    /// For `withoutHeaders`: presence needs a header, a value matcher sees absence as "".
    pub(super) fn matches_or_absent(&self, request: &RequestView<'_>) -> bool {
        match (self.name.of(request), &self.value) {
            (Some(value), _) => self.accepts(&value),
            (None, ValueMatch::Present) => false,
            (None, ValueMatch::Text(text)) => text.matches(""),
        }
    }

    fn accepts(&self, value: &[u8]) -> bool {
        match &self.value {
            ValueMatch::Present => true,
            ValueMatch::Text(text) => text.matches(&String::from_utf8_lossy(value)),
        }
    }
}

/// The header's value; several lines are one list, joined by a comma (RFC 9110 section 5.3).
fn joined<'h>(headers: &'h Headers, name: &HeaderName) -> Option<Cow<'h, [u8]>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.as_bytes();
    let Some(second) = values.next() else {
        return Some(Cow::Borrowed(first));
    };
    let mut all = first.to_vec();
    for value in std::iter::once(second).chain(values) {
        all.push(b',');
        all.extend_from_slice(value.as_bytes());
    }
    Some(Cow::Owned(all))
}
