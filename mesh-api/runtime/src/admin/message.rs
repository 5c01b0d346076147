//! What an admin route is asked and what it answers, as plain values.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;

/// One request, its body already read.
#[derive(Debug, Clone)]
pub struct AdminRequest {
    parts: http::request::Parts,
    query: Vec<(String, String)>,
    body: Bytes,
    peer: SocketAddr,
}

impl AdminRequest {
    /// A request made of its parts.
    pub fn new(parts: http::request::Parts, body: Bytes, peer: SocketAddr) -> Self {
        let query = parse_query(parts.uri.query().unwrap_or_default());
        Self {
            parts,
            query,
            body,
            peer,
        }
    }

    /// The method.
    pub fn method(&self) -> &Method {
        &self.parts.method
    }

    /// The path as sent, without the query.
    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The first value of a query parameter; empty for one given without a value.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// All query parameters in order, decoded.
    pub fn query_pairs(&self) -> &[(String, String)] {
        &self.query
    }

    /// The headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// The whole body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Who asks.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether this machine, or this pod, asks itself.
    pub fn is_from_here(&self) -> bool {
        self.peer.ip().to_canonical().is_loopback()
    }
}

/// One answer.
#[derive(Debug, Clone)]
pub struct AdminResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl AdminResponse {
    /// 200 with plain text.
    pub fn text(body: impl Into<String>) -> Self {
        Self::with_body(
            body.into(),
            HeaderValue::from_static("text/plain; charset=utf-8"),
        )
    }

    /// 200 with indented JSON; 500 naming the reason if `value` does not serialize.
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string_pretty(value) {
            Ok(mut body) => {
                body.push('\n');
                Self::with_body(body, HeaderValue::from_static("application/json"))
            }
            Err(error) => Self::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the answer could not be written as JSON: {error}"),
            ),
        }
    }

    /// An error: one line of text.
    pub fn error(status: StatusCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.push('\n');
        Self::text(message).with_status(status)
    }

    /// The same answer with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// The same answer with another content type.
    #[must_use]
    pub fn with_content_type(self, content_type: &'static str) -> Self {
        self.with_header(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    /// The same answer with a header set.
    #[must_use]
    pub fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    fn with_body(body: String, content_type: HeaderValue) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type);
        Self {
            status: StatusCode::OK,
            headers,
            body: Bytes::from(body),
        }
    }

    pub(super) fn into_http(self) -> http::Response<Full<Bytes>> {
        let mut response = http::Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

fn parse_query(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

/// Percent-decoding as forms do it; an escape that is none stays as it is.
fn decode(text: &str) -> String {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digits = tail
                    .split_first_chunk::<2>()
                    .and_then(|([high, low], after)| {
                        let value = hex(*high)? * 16 + hex(*low)?;
                        Some((value, after))
                    });
                if let Some((value, after)) = digits {
                    decoded.push(value);
                    rest = after;
                } else {
                    decoded.push(byte);
                }
            }
            other => decoded.push(other),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let pairs = parse_query("proxy=shop%2Ffrontend-1&full&text=a+b%zz%4&&x=1=2");
        let expected = [
            ("proxy", "shop/frontend-1"),
            ("full", ""),
            ("text", "a b%zz%4"),
            ("x", "1=2"),
        ];
        let found: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(found, expected);
    }
}
