//! One translation: what becomes of a message between two versions of HTTP, as values.
//!
//! A message is taken in once, whatever version it came in (`intake.rs`: one host, one length, one
//! path, nothing of this hop), and written once, for the version it goes on in: here. The table in
//! the tests says what that makes of requests and responses in all four pairs.
//!
//! | what | towards HTTP/1.1 | towards HTTP/2 |
//! |---|---|---|
//! | target | path and query, or `*`; Host (RFC 9112 section 3.2) | `:scheme`, `:authority`, `:path` (RFC 9113 section 8.3.1) |
//! | content | a length or chunked, never neither where there may be content (RFC 9112 section 6) | DATA; a length only if the sender gave one |
//! | no content | `Content-Length: 0` where the method has content as a rule (RFC 9110 section 8.6) | the same, and END_STREAM |
//! | cookies | one line (RFC 9113 section 8.2.3) | one line |
//! | `TE: trailers` | with its entry in Connection (RFC 9110 section 10.1.4) | as it is (RFC 9113 section 8.2.2) |
//! | trailers | if announced, chunked, and, in a response, asked for (RFC 9110 section 6.5.1); else neither they nor their announcement | always |
//! | interim answers | relayed, but 100 and 101 (`interim.rs`) | the same |
//! | WebSocket | Connection, Upgrade (RFC 9110 section 7.8) | not offered (RFC 9113 section 8.6) |

mod cookies;
pub mod interim;
mod target;
mod trailers;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Version, response};

pub use cookies::join as join_cookies;

use super::framing::{self, Reuse};
use super::headers::{Scan, strip_response};
use crate::error::{RequestFault, UpstreamFault};
use crate::net::HttpVersion;

/// What a message brings besides its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    None,
    /// So many bytes, and no trailers.
    Sized,
    /// Until it ends, perhaps with trailers.
    Unsized,
}

impl Content {
    /// What a body brings.
    pub fn of(body: &impl http_body::Body) -> Self {
        if body.is_end_stream() {
            return Self::None;
        }
        match body.size_hint().exact() {
            Some(_) => Self::Sized,
            None => Self::Unsized,
        }
    }
}

/// How a request goes on.
#[derive(Clone, Copy, Debug)]
pub struct Onward {
    /// The version of the next hop.
    pub to: HttpVersion,
    /// What the request brings.
    pub content: Content,
    /// Whether it asks for a WebSocket; HTTP/1.1 only.
    pub websocket: bool,
}

/// The version of HTTP a hop speaks.
pub fn version(http2: bool) -> HttpVersion {
    if http2 {
        HttpVersion::Http2
    } else {
        HttpVersion::Http1
    }
}

/// Brings the head of a request that was taken in into the form it goes on in.
pub fn request(parts: &mut Parts, scan: Scan, onward: Onward) -> Result<(), RequestFault> {
    parts.extensions = http::Extensions::default();
    match onward.to {
        HttpVersion::Http1 => {
            parts.version = Version::HTTP_11;
            hop_of_http1(&mut parts.headers, scan, onward.websocket);
            cookies::join(&mut parts.headers);
            content_in_http1(parts, scan, onward.content);
            Ok(())
        }
        HttpVersion::Http2 => {
            parts.version = Version::HTTP_2;
            if onward.content == Content::None {
                announce_nothing(parts, scan);
            }
            if scan.announces_trailers() {
                trailers::announce_fit(&mut parts.headers);
            }
            target::whole(&mut parts.uri, &mut parts.headers)
        }
    }
}

/// What an HTTP/1.1 upstream is told about this connection.
fn hop_of_http1(headers: &mut HeaderMap, scan: Scan, websocket: bool) {
    if websocket {
        // A 101 has no trailers.
        headers.remove(header::TE);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    } else if scan.takes_trailers() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Writes how a request to an HTTP/1.1 upstream ends. Without this hyper takes a GET of unknown
/// length for one without content whatever its body says.
fn content_in_http1(parts: &mut Parts, scan: Scan, content: Content) {
    if content == Content::None {
        announce_nothing(parts, scan);
    }
    let headers = &mut parts.headers;
    match content {
        Content::None | Content::Sized => {}
        Content::Unsized => {
            headers.remove(header::CONTENT_LENGTH);
            let chunked = HeaderValue::from_static("chunked");
            headers.insert(header::TRANSFER_ENCODING, chunked);
        }
    }
    if scan.announces_trailers() {
        if content == Content::Unsized {
            trailers::announce_fit(headers);
        } else {
            headers.remove(header::TRAILER);
        }
    }
}

/// Says that nothing comes, where a method has content as a rule (RFC 9110 section 8.6).
fn announce_nothing(parts: &mut Parts, scan: Scan) {
    let usual = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    if usual && scan.content_lengths == 0 {
        let nothing = HeaderValue::from_static("0");
        parts.headers.insert(header::CONTENT_LENGTH, nothing);
    }
}

/// Who asked for a response, and how.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// What the client speaks.
    pub version: HttpVersion,
    /// Whether it asked for a head alone.
    pub head: bool,
    /// Whether it takes trailers.
    pub trailers: bool,
}

/// What came with the head of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// What its framing means for the connection it came over.
    pub reuse: Reuse,
    /// Whether the upstream switches to a WebSocket.
    pub websocket: bool,
}

/// Brings the head of an upstream's response into the form it goes on to the client in.
pub fn response(
    parts: &mut response::Parts,
    scan: Scan,
    asker: Asker,
) -> Result<Settled, UpstreamFault> {
    let reuse = framing::settle_response(parts, scan)?;
    let websocket = strip_response(&mut parts.headers, scan);
    // hyper's server writes it for its own version.
    parts.version = Version::HTTP_11;
    parts.extensions = http::Extensions::default();
    if scan.announces_trailers() {
        let chunked = !parts.headers.contains_key(header::CONTENT_LENGTH)
            && !framing::is_bodyless(asker.head, parts.status);
        if asker.version == HttpVersion::Http2 || (asker.trailers && chunked) {
            trailers::announce_fit(&mut parts.headers);
        } else {
            // What will not come is not announced.
            parts.headers.remove(header::TRAILER);
        }
    }
    Ok(Settled { reuse, websocket })
}

#[cfg(test)]
mod tests;
