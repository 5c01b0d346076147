//! What a tier answers: the JSON that says who answered and what it saw, and the headers
//! that carry the same facts for those who do not want to parse a body.

use std::collections::BTreeMap;
use std::io;

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use serde_json::value::RawValue;

use super::App;

/// The body of every HTTP answer.
pub(crate) type ReplyBody = UnsyncBoxBody<Bytes, io::Error>;

/// Response headers by which a tier names itself: `x-shop-tier-backend: v2`.
pub(crate) const TIER_PREFIX: &str = "x-shop-tier-";

/// The facts of one answer.
#[derive(Debug, Serialize)]
pub(crate) struct Description<'a> {
    pub(crate) app: &'static str,
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) http: &'static str,
    pub(crate) headers: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Box<RawValue>>,
}

impl<'a> Description<'a> {
    pub(crate) fn new(app: &'a App, parts: &'a ::http::request::Parts) -> Self {
        Self {
            app: app.tier.as_str(),
            name: &app.name,
            version: &app.version,
            method: method_name(&parts.method),
            path: parts.uri.path_and_query().map_or("/", |path| path.as_str()),
            http: version_name(parts.version),
            headers: joined(parts),
            next: None,
        }
    }
}

fn method_name(method: &Method) -> &str {
    method.as_str()
}

fn version_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// Header values by name, several joined by a comma. HTTP/2 carries the host elsewhere; it
/// is shown under the same name, so that one check serves both versions.
fn joined(parts: &::http::request::Parts) -> BTreeMap<&str, String> {
    let mut headers: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in &parts.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.as_str())
            .and_modify(|joined| {
                joined.push_str(", ");
                joined.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    if let Some(authority) = parts.uri.authority() {
        headers
            .entry("host")
            .or_insert_with(|| authority.as_str().to_owned());
    }
    headers
}

/// An answer that names its tier, instance and version in headers.
pub(crate) fn answer(app: &App, status: StatusCode, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    set(headers, HeaderName::from_static("x-shop-name"), &app.name);
    set(
        headers,
        HeaderName::from_static("x-shop-version"),
        &app.version,
    );
    if let Ok(name) = HeaderName::try_from(format!("{TIER_PREFIX}{}", app.tier.as_str())) {
        set(headers, name, &app.version);
    }
    response
}

/// 200 with the description as JSON.
pub(crate) fn describe(
    app: &App,
    status: StatusCode,
    description: &Description<'_>,
) -> Response<ReplyBody> {
    json(app, status, description)
}

/// Any value as JSON.
pub(crate) fn json(app: &App, status: StatusCode, value: &impl Serialize) -> Response<ReplyBody> {
    match serde_json::to_vec(value) {
        Ok(mut body) => {
            body.push(b'\n');
            let mut response = answer(app, status, full(body));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        }
        Err(error) => text(app, StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

/// One line of text.
pub(crate) fn text(app: &App, status: StatusCode, line: String) -> Response<ReplyBody> {
    let mut response = answer(app, status, full(line + "\n"));
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}

/// A body that is all there.
pub(crate) fn full(bytes: impl Into<Bytes>) -> ReplyBody {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
