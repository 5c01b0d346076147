//! Cross-origin policy: preflights of known origins are answered here, other requests get the
//! response headers. A request of an unknown origin is forwarded all the same; the browser is
//! the one who refuses.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use mesh_api::route::{Cors, UnmatchedPreflights};

use crate::http::respond::LocalReply;

/// What a policy answers, as header values.
#[derive(Clone, Debug)]
pub struct CorsAnswers {
    preflight: Vec<(HeaderName, HeaderValue)>,
    actual: Vec<(HeaderName, HeaderValue)>,
}

/// What becomes of a request with an origin.
#[derive(Debug)]
pub enum Verdict {
    /// It is forwarded; its response gets nothing.
    Pass,
    /// It is forwarded; its response tells the browser that this origin may read it.
    Allow(HeaderValue),
    /// It is answered.
    Answer(Box<LocalReply>),
}

impl CorsAnswers {
    /// The header values of a policy.
    pub fn new(cors: &Cors) -> Self {
        let credentials = cors.allow_credentials.then(|| {
            (
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            )
        });
        let list = |name: HeaderName, values: &[Arc<str>]| {
            let text = values.join(",");
            let value = HeaderValue::from_str(&text).ok()?;
            (!text.is_empty()).then_some((name, value))
        };
        let age = cors.max_age.map(|age| {
            (
                header::ACCESS_CONTROL_MAX_AGE,
                HeaderValue::from(age.as_secs()),
            )
        });
        let preflight = [
            credentials.clone(),
            list(header::ACCESS_CONTROL_ALLOW_METHODS, &cors.allow_methods),
            list(header::ACCESS_CONTROL_ALLOW_HEADERS, &cors.allow_headers),
            age,
        ];
        let actual = [
            credentials,
            list(header::ACCESS_CONTROL_EXPOSE_HEADERS, &cors.expose_headers),
        ];
        Self {
            preflight: preflight.into_iter().flatten().collect(),
            actual: actual.into_iter().flatten().collect(),
        }
    }

    /// What becomes of a request.
    pub fn judge(&self, cors: &Cors, method: &Method, headers: &HeaderMap) -> Verdict {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Verdict::Pass;
        };
        let known = origin.to_str().is_ok_and(|origin| {
            let mut origins = cors.allow_origins.iter();
            origins.any(|allowed| allowed.matches(origin) || is_any(allowed))
        });
        let preflight = *method == Method::OPTIONS
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        match (known, preflight) {
            (true, false) => Verdict::Allow(origin.clone()),
            (true, true) => {
                let mut reply = LocalReply::new(StatusCode::OK, Bytes::new());
                allow(&mut reply.headers, origin.clone(), &self.preflight);
                Verdict::Answer(Box::new(reply))
            }
            (false, true) if cors.unmatched_preflights == UnmatchedPreflights::Ignore => {
                Verdict::Answer(Box::new(LocalReply::new(StatusCode::OK, Bytes::new())))
            }
            (false, _) => Verdict::Pass,
        }
    }

    /// Tells the browser that `origin` may read a response.
    pub fn allow(&self, headers: &mut HeaderMap, origin: HeaderValue) {
        allow(headers, origin, &self.actual);
    }
}

/// `*` as an exact origin means any.
fn is_any(allowed: &mesh_api::route::StringMatch) -> bool {
    matches!(allowed, mesh_api::route::StringMatch::Exact(text) if **text == *"*")
}

fn allow(headers: &mut HeaderMap, origin: HeaderValue, more: &[(HeaderName, HeaderValue)]) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    for (name, value) in more {
        headers.insert(name.clone(), value.clone());
    }
}
