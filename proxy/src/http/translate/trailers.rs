//! The announcement of trailers.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::http::headers::may_trail;

/// Leaves in `Trailer` the names of fields that will be passed on (RFC 9110 section 6.5.1), in one
/// line; takes it off if there are none.
pub(super) fn announce_fit(headers: &mut HeaderMap) {
    let mut fit = String::new();
    for line in headers.get_all(header::TRAILER) {
        for name in line.as_bytes().split(|byte| *byte == b',') {
            let Ok(name) = HeaderName::from_bytes(name.trim_ascii()) else {
                continue;
            };
            if may_trail(name.as_str()) {
                if !fit.is_empty() {
                    fit.push_str(", ");
                }
                fit.push_str(name.as_str());
            }
        }
    }
    match HeaderValue::from_maybe_shared(bytes::Bytes::from(fit)) {
        Ok(fit) if !fit.is_empty() => {
            headers.insert(header::TRAILER, fit);
        }
        Ok(_) | Err(_) => {
            headers.remove(header::TRAILER);
        }
    }
}
