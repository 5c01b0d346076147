//! Does a request match? Path, method, scheme, authority, headers and query, as Istio's
//! `HTTPMatchRequest` says: the fields of a block are all required.

use std::sync::Arc;

use serde::Serialize;

pub use super::pattern::{InvalidPattern, Pattern};
pub use header::{HeaderMatch, Matched};

use super::Headers;

mod header;

/// What of a request matching looks at.
#[derive(Clone, Copy, Debug)]
pub struct RequestView<'a> {
    /// The path without query, in the one normalised form that is also forwarded.
    pub path: &'a str,
    /// The query without `?`.
    pub query: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The authority as the client sent it (port included).
    pub authority: &'a str,
    /// The headers.
    pub headers: &'a Headers,
}

/// Istio's `StringMatch`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StringMatch {
    /// Equal.
    Exact(Arc<str>),
    /// Begins with, byte by byte.
    Prefix(Arc<str>),
    /// The whole text matches.
    Regex(Pattern),
}

impl StringMatch {
    /// Whether the text matches.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Regex(pattern) => pattern.is_match(text),
        }
    }
}

/// A match that may also just ask for presence (`{}` or `*`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ValueMatch {
    /// There is one, whatever it says.
    Present,
    /// It matches.
    Text(StringMatch),
}

/// A match on the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PathMatch {
    /// How.
    pub text: StringMatch,
    /// `ignoreUriCase`: for exact and prefix only.
    pub ignore_case: bool,
}

impl PathMatch {
    fn matches(&self, path: &str) -> bool {
        if !self.ignore_case {
            return self.text.matches(path);
        }
        match &self.text {
            StringMatch::Exact(exact) => exact.eq_ignore_ascii_case(path),
            StringMatch::Prefix(prefix) => path
                .as_bytes()
                .get(..prefix.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes())),
            StringMatch::Regex(pattern) => pattern.is_match(path),
        }
    }
}

/// A match on a query parameter, name and value as they are written, escapes included; its first
/// value counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct QueryMatch {
    /// Which parameter.
    pub name: Arc<str>,
    /// What it must be.
    pub value: ValueMatch,
}

/// One block of `match`: all fields are required.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct RequestMatch {
    /// `uri`.
    pub path: Option<PathMatch>,
    /// `scheme`.
    pub scheme: Option<StringMatch>,
    /// `method`.
    pub method: Option<StringMatch>,
    /// `authority`.
    pub authority: Option<StringMatch>,
    /// `headers`; a missing header never matches.
    pub headers: Vec<HeaderMatch>,
    /// `withoutHeaders`; a missing header counts as empty text.
    pub without_headers: Vec<HeaderMatch>,
    /// `queryParams`.
    pub query: Vec<QueryMatch>,
}

impl RequestMatch {
    /// Whether the request fulfils every field.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        let fits = |wanted: &Option<StringMatch>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.matches(text))
        };
        self.path
            .as_ref()
            .is_none_or(|path| path.matches(request.path))
            && fits(&self.method, request.method)
            && fits(&self.scheme, request.scheme)
            && fits(&self.authority, request.authority)
            && self.headers.iter().all(|header| header.matches(request))
            && self
                .without_headers
                .iter()
                .all(|header| !header.matches_or_absent(request))
            && self
                .query
                .iter()
                .all(|parameter| parameter.matches(request.query))
    }

    /// Whether this is a bare prefix `/` or regex `.*` without any other condition.
    pub fn is_catch_all(&self) -> bool {
        let every_path = match &self.path {
            None => true,
            Some(path) => match &path.text {
                StringMatch::Prefix(prefix) => matches!(&**prefix, "" | "/"),
                StringMatch::Regex(pattern) => pattern.source() == ".*",
                StringMatch::Exact(_) => false,
            },
        };
        every_path
            && *self
                == Self {
                    path: self.path.clone(),
                    ..Self::default()
                }
    }
}

impl QueryMatch {
    fn matches(&self, query: Option<&str>) -> bool {
        let pairs = query.unwrap_or_default().split('&');
        let mut named = pairs.filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (!pair.is_empty() && *name == *self.name).then_some(value)
        });
        match (named.next(), &self.value) {
            (None, _) => false,
            (Some(_), ValueMatch::Present) => true,
            (Some(value), ValueMatch::Text(text)) => text.matches(value),
        }
    }
}

#[cfg(test)]
mod tests;
