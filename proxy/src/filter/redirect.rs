//! Answers that send the client elsewhere.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{StatusCode, Uri};
use mesh_api::route::host::split_authority;
use mesh_api::route::path::settle;
use mesh_api::route::{NormalForm, Redirect, RedirectPath, RedirectPort};

use super::rewrite::rest_behind;
use crate::error::RequestFault;
use crate::http::respond::LocalReply;

/// What of a request a redirect builds on.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The authority as the client sent it.
    pub authority: &'a str,
    /// The port the client connected to.
    pub port: u16,
    /// Path and query.
    pub uri: &'a Uri,
}

/// The answer of a redirect. A path made of a part of the request's is in normal form too, or the
/// request is refused.
pub fn reply(
    redirect: &Redirect,
    origin: Origin<'_>,
    form: NormalForm,
) -> Result<LocalReply, RequestFault> {
    Ok(located(redirect.status, &location(redirect, origin, form)?))
}

/// The answer that sends a client to the same place over https.
pub fn to_https(origin: Origin<'_>) -> LocalReply {
    let host = split_authority(origin.authority).map_or(origin.authority, |(host, _)| host);
    let path = origin
        .uri
        .path_and_query()
        .map_or("/", |path| path.as_str());
    located(
        StatusCode::MOVED_PERMANENTLY,
        &format!("https://{host}{path}"),
    )
}

fn located(status: StatusCode, location: &str) -> LocalReply {
    let mut reply = LocalReply::new(status, Bytes::new());
    if let Ok(location) = HeaderValue::from_str(location) {
        reply.headers.insert(header::LOCATION, location);
    }
    reply
}

fn location(
    redirect: &Redirect,
    origin: Origin<'_>,
    form: NormalForm,
) -> Result<String, RequestFault> {
    let scheme = redirect.scheme.as_deref().unwrap_or(origin.scheme);
    let authority = redirect.authority.as_deref().unwrap_or(origin.authority);
    let (host, given) = split_authority(authority).unwrap_or((authority, None));
    let default = if scheme == "https" { 443 } else { 80 };
    let port = match redirect.port {
        // A port of the former scheme says nothing about the new one's.
        RedirectPort::Keep if scheme != origin.scheme && redirect.authority.is_none() => None,
        RedirectPort::Keep => given,
        RedirectPort::Number(port) => Some(port.value()),
        RedirectPort::ProtocolDefault => None,
        RedirectPort::RequestPort => Some(origin.port),
    };
    let mut out = format!("{scheme}://{host}");
    // Writing to a String cannot fail.
    let _written = match port.filter(|port| *port != default) {
        Some(port) => write!(out, ":{port}"),
        None => Ok(()),
    };
    let query = origin.uri.query();
    let (path, query) = match &redirect.path {
        RedirectPath::Keep => (origin.uri.path().into(), query),
        RedirectPath::Full(full) if full.contains('?') => (full.to_string(), None),
        RedirectPath::Full(full) => (full.to_string(), query),
        RedirectPath::Prefix {
            matched,
            replacement,
        } => {
            let path = origin.uri.path();
            let rest = rest_behind(path, matched).unwrap_or(path);
            let path = format!("{replacement}{rest}");
            (settle(&path, form)?.into_owned(), query)
        }
    };
    out.push_str(&path);
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mesh_api::units::Port;

    use super::*;

    fn redirect() -> Redirect {
        Redirect {
            status: StatusCode::FOUND,
            scheme: None,
            authority: None,
            port: RedirectPort::Keep,
            path: RedirectPath::Keep,
        }
    }

    fn to(redirect: &Redirect) -> String {
        let uri: Uri = "/a/b?c=d".parse().unwrap();
        let origin = Origin {
            scheme: "http",
            authority: "shop:8080",
            port: 8080,
            uri: &uri,
        };
        let reply = reply(redirect, origin, NormalForm::Base).unwrap();
        reply.headers["location"].to_str().unwrap().to_owned()
    }

    #[test]
    fn locations() {
        assert_eq!(to(&redirect()), "http://shop:8080/a/b?c=d");
        let secure = Redirect {
            scheme: Some(Arc::from("https")),
            ..redirect()
        };
        assert_eq!(to(&secure), "https://shop/a/b?c=d");
        let elsewhere = Redirect {
            authority: Some(Arc::from("other")),
            path: RedirectPath::Full(Arc::from("/x?y")),
            ..redirect()
        };
        assert_eq!(to(&elsewhere), "http://other/x?y");
        let prefix = Redirect {
            path: RedirectPath::Prefix {
                matched: Arc::from("/a"),
                replacement: Arc::from("/z"),
            },
            port: RedirectPort::Number(Port::new(80).unwrap()),
            ..redirect()
        };
        assert_eq!(to(&prefix), "http://shop/z/b?c=d");
        let request_port = Redirect {
            port: RedirectPort::RequestPort,
            authority: Some(Arc::from("other")),
            ..redirect()
        };
        assert_eq!(to(&request_port), "http://other:8080/a/b?c=d");
    }
}
