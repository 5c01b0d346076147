//! One path for everything: what routes match on is what is forwarded.
//!
//! Istio's `BASE` normalisation: RFC 3986 (escapes of unreserved characters are undone, dot
//! segments removed), and a backslash is a slash. The query is never touched.

use std::borrow::Cow;

use bytes::Bytes;
use http::Uri;
use http::uri::{Parts, PathAndQuery};

use crate::error::RequestFault;

/// The normalised form of a path.
pub fn normalize(path: &str) -> Cow<'_, str> {
    if is_normal(path.as_bytes()) {
        return Cow::Borrowed(path);
    }
    let decoded = decode_unreserved(path);
    let mut out = String::with_capacity(decoded.len());
    let mut segments = decoded.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {
                if last {
                    out.push('/');
                }
            }
            ".." => {
                let parent = out.rfind('/').unwrap_or(0);
                out.truncate(parent);
                if last {
                    out.push('/');
                }
            }
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    Cow::Owned(out)
}

/// Whether there is nothing to do; a few paths that turn out to be normal say no.
fn is_normal(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        if byte == b'\\' || byte == b'%' || (byte == b'.' && before == b'/') {
            return false;
        }
        before = byte;
    }
    true
}

/// `%41` as `A`, `%2F` as it is, `\` as `/`.
fn decode_unreserved(path: &str) -> String {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'\\' => out.push(b'/'),
            b'%' => match escaped(tail) {
                Some(plain) if is_unreserved(plain) => {
                    out.push(plain);
                    rest = tail.get(2..).unwrap_or_default();
                }
                Some(_) | None => out.push(byte),
            },
            _ => out.push(byte),
        }
    }
    // Only ASCII took the place of ASCII, so what was text still is.
    String::from_utf8(out).unwrap_or_else(|_| path.to_owned())
}

fn escaped(digits: &[u8]) -> Option<u8> {
    let digit = |at: usize| {
        digits
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// Brings a request target into the form that is routed and forwarded: path and query only, the
/// path normalised.
pub fn normalize_target(uri: &mut Uri, asterisk: bool) -> Result<(), RequestFault> {
    let path = uri.path();
    if path == "*" && asterisk {
        return Ok(());
    }
    if !path.starts_with('/') {
        return Err(RequestFault::PathMalformed);
    }
    let origin_form = uri.authority().is_none() && uri.scheme().is_none();
    match normalize(path) {
        Cow::Borrowed(_) if origin_form => Ok(()),
        Cow::Borrowed(_) => {
            let path = uri.path_and_query().cloned();
            *uri = from_path(path.ok_or(RequestFault::PathMalformed)?)?;
            Ok(())
        }
        Cow::Owned(path) => {
            let path = join(&path, uri.query())?;
            *uri = from_path(path)?;
            Ok(())
        }
    }
}

/// A path and a query as one.
pub fn join(path: &str, query: Option<&str>) -> Result<PathAndQuery, RequestFault> {
    let text = match query {
        None => Bytes::copy_from_slice(path.as_bytes()),
        Some(query) => {
            let mut text = String::with_capacity(path.len() + query.len() + 1);
            text.push_str(path);
            text.push('?');
            text.push_str(query);
            Bytes::from(text)
        }
    };
    PathAndQuery::from_maybe_shared(text).map_err(|_cause| RequestFault::PathMalformed)
}

/// A target of path and query only.
pub fn from_path(path: PathAndQuery) -> Result<Uri, RequestFault> {
    let mut parts = Parts::default();
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(|_cause| RequestFault::PathMalformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_normalised() {
        for (given, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/../../x", "/x"),
            ("/..", "/"),
            ("/a/%2e%2E/b", "/b"),
            ("/%61%2D", "/a-"),
            ("/a%2fb", "/a%2fb"),
            ("/a%5cb", "/a%5cb"),
            ("/a\\b\\..\\c", "/a/c"),
            ("//a//b", "//a//b"),
            ("/a//../b", "/a/b"),
            ("/%zz%4", "/%zz%4"),
            ("/.hidden", "/.hidden"),
            ("/a/...", "/a/..."),
            ("/%00", "/%00"),
            ("/a;x/..;/b", "/a;x/..;/b"),
        ] {
            assert_eq!(normalize(given), expected, "{given}");
        }
    }

    #[test]
    fn targets_lose_their_authority_and_keep_their_query() {
        for (given, expected) in [
            ("http://h:80/a/../b?x=/../y", "/b?x=/../y"),
            ("http://h", "/"),
            ("/a?b", "/a?b"),
            ("/a/./?b", "/a/?b"),
        ] {
            let mut uri: Uri = given.parse().unwrap();
            normalize_target(&mut uri, false).unwrap();
            assert_eq!(uri.to_string(), expected, "{given}");
            assert!(uri.authority().is_none());
        }
        let mut star: Uri = "*".parse().unwrap();
        assert!(normalize_target(&mut star.clone(), false).is_err());
        normalize_target(&mut star, true).unwrap();
    }

    proptest! {
        #[test]
        fn normal_paths_stay_as_they_are(path in "/([a-z./%\\\\2eE]|%2[eEfF]|\\.\\.){0,12}") {
            let once = normalize(&path).into_owned();
            prop_assert!(once.starts_with('/'));
            prop_assert!(!once.contains('\\'));
            let segments: Vec<&str> = once.split('/').collect();
            prop_assert!(!segments.contains(&".") && !segments.contains(&".."), "{once}");
        }
    }
}
