//! Path and authority changes before forwarding.

use std::borrow::Cow;

use http::Uri;
use http::header::{self, HeaderMap, HeaderValue};
use mesh_api::route::path::{normalize, settle};
use mesh_api::route::{NormalForm, Rewrite, UriRewrite};

use crate::error::RequestFault;
use crate::http::headers::ORIGINAL_PATH;
use crate::http::path::{from_path, join};

/// Carries out a route's rewrite, `authority` being its new Host header, ready to send; the path as
/// it was is told in `x-envoy-original-path`. What comes out is in normal form too, or the request
/// is refused.
pub fn apply(
    rewrite: &Rewrite,
    authority: Option<&HeaderValue>,
    form: NormalForm,
    uri: &mut Uri,
    headers: &mut HeaderMap,
) -> Result<(), RequestFault> {
    if let Some(authority) = authority {
        headers.insert(header::HOST, authority.clone());
    }
    let Some(path) = rewritten(&rewrite.uri, uri.path()) else {
        return Ok(());
    };
    let path = match &rewrite.uri {
        // The whole path is the configuration's own.
        UriRewrite::Full(_) => normalize(&path, form)?,
        UriRewrite::Keep | UriRewrite::Prefix { .. } | UriRewrite::Regex { .. } => {
            settle(&path, form)?
        }
    };
    let next = from_path(join(&path, uri.query())?)?;
    let original = uri.path_and_query().map_or("/", |path| path.as_str());
    if let Ok(original) = HeaderValue::from_str(original) {
        headers.insert(ORIGINAL_PATH, original);
    }
    *uri = next;
    Ok(())
}

/// The path that takes the place of `path`, if there is one.
fn rewritten<'p>(rewrite: &'p UriRewrite, path: &'p str) -> Option<Cow<'p, str>> {
    match rewrite {
        UriRewrite::Keep => None,
        UriRewrite::Full(full) => Some(Cow::Borrowed(&**full)),
        UriRewrite::Prefix {
            prefixes,
            replacement,
        } => {
            let rest = prefixes
                .iter()
                .find_map(|prefix| rest_behind(path, prefix))?;
            Some(Cow::Owned(rooted(format!("{replacement}{rest}"))))
        }
        UriRewrite::Regex {
            pattern,
            substitution,
        } => Some(match pattern.replace_all(path, substitution) {
            Cow::Borrowed(same) => Cow::Borrowed(same),
            Cow::Owned(changed) => Cow::Owned(rooted(changed)),
        }),
    }
}

/// A path begins with a slash whatever a rewrite leaves of it.
fn rooted(path: String) -> String {
    if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    }
}

/// What follows `prefix`; the case may differ where the rule ignores it.
pub(crate) fn rest_behind<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let (start, rest) = path.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh_api::route::Pattern;

    use super::*;

    fn prefix(prefixes: &[&str], replacement: &str) -> UriRewrite {
        UriRewrite::Prefix {
            prefixes: prefixes.iter().map(|prefix| Arc::from(*prefix)).collect(),
            replacement: Arc::from(replacement),
        }
    }

    #[test]
    fn prefixes_are_replaced_as_text() {
        for (rewrite, path, expected) in [
            (prefix(&["/ratings"], "/v1/x"), "/ratings/7", "/v1/x/7"),
            (prefix(&["/api/"], "/"), "/api/users", "/users"),
            (prefix(&["/api"], "/"), "/api/users", "//users"),
            (prefix(&["/api"], "/"), "/API", "/"),
            (prefix(&["/long/er", "/long"], "/s"), "/long/er/x", "/s/x"),
            (UriRewrite::Full(Arc::from("/one")), "/any/where", "/one"),
        ] {
            assert_eq!(rewritten(&rewrite, path).unwrap(), expected, "{path}");
        }
        assert!(rewritten(&prefix(&["/a"], "/b"), "/c").is_none());
        let regex = UriRewrite::Regex {
            pattern: Pattern::unanchored("/v([0-9]+)").unwrap(),
            substitution: Arc::from("/version-\\1"),
        };
        assert_eq!(rewritten(&regex, "/v1/v2").unwrap(), "/version-1/version-2");
    }
}
