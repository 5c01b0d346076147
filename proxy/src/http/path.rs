//! Request targets: what routes match on is what is forwarded, in the one form that
//! [`mesh_api::route::path`] defines.

use std::borrow::Cow;

use bytes::Bytes;
use http::Uri;
use http::uri::{Parts, PathAndQuery};
use mesh_api::route::NormalForm;
use mesh_api::route::path::{Malformed, check, normalize};

use crate::error::RequestFault;

impl From<Malformed> for RequestFault {
    fn from(_why: Malformed) -> Self {
        Self::PathMalformed
    }
}

/// Brings a request target into the form that is routed and forwarded: path and query only, the
/// path in its normal form.
pub fn normalize_target(
    uri: &mut Uri,
    asterisk: bool,
    form: NormalForm,
) -> Result<(), RequestFault> {
    let origin_form = uri.authority().is_none() && uri.scheme().is_none();
    let path = uri.path();
    if path == "*" && asterisk {
        if !origin_form {
            *uri = Uri::from_static("*");
        }
        return Ok(());
    }
    if let Some(query) = uri.query() {
        check(query)?;
    }
    match normalize(path, form)? {
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
    use super::*;

    #[test]
    fn targets_lose_their_authority_and_keep_their_query() {
        for (given, expected) in [
            ("http://h:80/a/../b?x=/../y", "/b?x=/../y"),
            ("http://h", "/"),
            ("/a?b", "/a?b"),
            ("/a/./?b", "/a/?b"),
        ] {
            let mut uri: Uri = given.parse().unwrap();
            normalize_target(&mut uri, false, NormalForm::Base).unwrap();
            assert_eq!(uri.to_string(), expected, "{given}");
            assert!(uri.authority().is_none());
        }
        let mut star: Uri = "*".parse().unwrap();
        assert!(normalize_target(&mut star.clone(), false, NormalForm::Base).is_err());
        normalize_target(&mut star, true, NormalForm::Base).unwrap();
    }

    #[test]
    fn malformed_escapes_are_refused_anywhere_in_a_target() {
        for given in ["/%zz", "/a?b=%", "/a?%00", "/%00"] {
            for form in [NormalForm::AsGiven, NormalForm::Base] {
                let mut uri: Uri = given.parse().unwrap();
                let refused = normalize_target(&mut uri, false, form);
                assert_eq!(refused, Err(RequestFault::PathMalformed), "{given}");
            }
        }
    }
}
