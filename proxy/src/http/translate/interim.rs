//! Interim answers (1xx, RFC 9110 section 15.2), as they go on to a client.

use http::header::{self, HeaderMap};
use http::{Response, StatusCode};

use crate::http::headers::{Scan, strip_response};

/// The most one interim answer may hold; larger ones are not relayed.
const MOST: usize = 16 * 1024;

/// Whether an upstream's interim answer goes on. 100 ends here: an expectation is met, and asked
/// for, on each hop by itself (RFC 9110 section 10.1.1). 101 is no interim answer of a request that
/// goes on.
pub fn goes_on(status: StatusCode) -> bool {
    status.is_informational()
        && status != StatusCode::CONTINUE
        && status != StatusCode::SWITCHING_PROTOCOLS
}

/// The fields of an interim answer that go on: without what concerned the hop to the upstream, and
/// without a length (RFC 9110 section 8.6). `None` if it does not go on.
fn fields(status: StatusCode, headers: &HeaderMap) -> Option<HeaderMap> {
    if !goes_on(status) {
        return None;
    }
    let mut headers = headers.clone();
    let scan = Scan::of(&headers);
    strip_response(&mut headers, scan);
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRAILER);
    Some(headers)
}

/// An interim answer for a client of HTTP/2; `None` if it does not go on.
pub fn message(status: StatusCode, headers: &HeaderMap) -> Option<Response<()>> {
    let mut answer = Response::new(());
    *answer.headers_mut() = fields(status, headers)?;
    *answer.status_mut() = status;
    Some(answer)
}

/// The bytes of an interim answer for a client of HTTP/1.1; `None` if it does not go on.
pub fn head(status: StatusCode, headers: &HeaderMap) -> Option<Vec<u8>> {
    let headers = fields(status, headers)?;
    let mut bytes = Vec::with_capacity(256);
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    let reason = status.canonical_reason().unwrap_or_default();
    bytes.extend_from_slice(reason.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in &headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    (bytes.len() <= MOST).then_some(bytes)
}
