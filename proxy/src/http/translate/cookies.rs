//! Cookies: HTTP/2 may cut them into several fields, HTTP/1.1 readers look at the first line only.

use http::header::{self, HeaderMap, HeaderValue};

/// Joins Cookie lines with `; ` (RFC 9113 section 8.2.3). A message with one line, or none, costs
/// a look.
pub fn join(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return;
    }
    let mut all = Vec::with_capacity(256);
    for line in headers.get_all(header::COOKIE) {
        if !all.is_empty() {
            all.extend_from_slice(b"; ");
        }
        all.extend_from_slice(line.as_bytes());
    }
    // Made of values that are valid, so it is.
    if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(all)) {
        headers.insert(header::COOKIE, joined);
    }
}
