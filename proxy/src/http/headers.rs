//! Headers that end at this proxy, and headers it adds.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use mesh_api::header::{is_internal, is_look_alike, is_peer_metadata, reserved};
use smallvec::SmallVec;

/// What a `TE` header may say beyond one hop of HTTP/1.1, and all it may say in HTTP/2 (RFC 9113
/// section 8.2.2).
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
/// `http2-settings`.
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// `keep-alive`.
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
/// `proxy-connection`.
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// `x-forwarded-proto`.
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `x-forwarded-for`.
pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `x-envoy-external-address`.
pub const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
/// `x-envoy-upstream-service-time`.
pub const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
/// `x-envoy-original-path`.
pub const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// What a walk over a message's headers found; one walk answers many questions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// Host headers.
    pub hosts: u8,
    /// Transfer-Encoding headers.
    pub transfer_encodings: u8,
    /// Content-Length headers.
    pub content_lengths: u8,
    /// Cookie headers.
    pub cookies: u8,
    bits: u16,
}

/// Headers whose presence matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
enum Seen {
    Connection = 1,
    Upgrade = 1 << 1,
    Te = 1 << 2,
    KeepAlive = 1 << 3,
    ProxyConnection = 1 << 4,
    Expect = 1 << 5,
    Grpc = 1 << 6,
    ForwardedProto = 1 << 7,
    Trace = 1 << 8,
    Internal = 1 << 9,
    Origin = 1 << 10,
    GrpcTimeout = 1 << 11,
    Http2Settings = 1 << 12,
    LookAlike = 1 << 13,
    Trailer = 1 << 14,
    TakesTrailers = 1 << 15,
}

impl Scan {
    /// Walks over the headers.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut scan = Self::default();
        for (name, value) in headers {
            let seen = match name.as_str() {
                "host" => {
                    scan.hosts = scan.hosts.saturating_add(1);
                    continue;
                }
                "transfer-encoding" => {
                    scan.transfer_encodings = scan.transfer_encodings.saturating_add(1);
                    continue;
                }
                "content-length" => {
                    scan.content_lengths = scan.content_lengths.saturating_add(1);
                    continue;
                }
                "cookie" => {
                    scan.cookies = scan.cookies.saturating_add(1);
                    continue;
                }
                "te" => {
                    if takes_trailers(value) {
                        scan.bits |= Seen::TakesTrailers as u16;
                    }
                    Seen::Te
                }
                "connection" => Seen::Connection,
                "upgrade" => Seen::Upgrade,
                "trailer" => Seen::Trailer,
                "keep-alive" => Seen::KeepAlive,
                "proxy-connection" => Seen::ProxyConnection,
                "expect" => Seen::Expect,
                "content-type" if is_grpc(value) => Seen::Grpc,
                "x-forwarded-proto" => Seen::ForwardedProto,
                "traceparent" | "b3" | "x-b3-traceid" => Seen::Trace,
                "origin" => Seen::Origin,
                "grpc-timeout" => Seen::GrpcTimeout,
                "http2-settings" => Seen::Http2Settings,
                other if is_look_alike(other) => Seen::LookAlike,
                other if is_internal(other) => Seen::Internal,
                _ => continue,
            };
            scan.bits |= seen as u16;
        }
        scan
    }

    const fn has(self, seen: Seen) -> bool {
        self.bits & seen as u16 != 0
    }

    /// Whether the request is gRPC.
    pub const fn is_grpc(self) -> bool {
        self.has(Seen::Grpc)
    }

    /// Whether the client may want to speak something else.
    pub const fn has_upgrade(self) -> bool {
        self.has(Seen::Upgrade)
    }

    /// Whether the sender takes trailers (`TE: trailers`, RFC 9110 section 10.1.4).
    pub const fn takes_trailers(self) -> bool {
        self.has(Seen::TakesTrailers)
    }

    /// Whether the message announces trailers (`Trailer`, RFC 9110 section 6.6.2).
    pub const fn announces_trailers(self) -> bool {
        self.has(Seen::Trailer)
    }

    /// Whether there is something that only proxies of the mesh may say.
    pub const fn has_internal(self) -> bool {
        self.has(Seen::Internal)
    }

    /// Whether there is a `grpc-timeout`.
    pub const fn has_grpc_timeout(self) -> bool {
        self.has(Seen::GrpcTimeout)
    }

    /// Whether the request comes from a page of some origin.
    pub const fn has_origin(self) -> bool {
        self.has(Seen::Origin)
    }

    /// Whether a proxy in front of this one said how the client came.
    pub const fn has_forwarded_proto(self) -> bool {
        self.has(Seen::ForwardedProto)
    }

    /// Whether the request brings trace context.
    pub const fn has_trace(self) -> bool {
        self.has(Seen::Trace)
    }
}

fn is_grpc(content_type: &HeaderValue) -> bool {
    content_type
        .as_bytes()
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Takes out of a request what concerns only this hop (RFC 9110 section 7.6.1), what only proxies of
/// the mesh may say, and what would be taken for either. Says whether the client asks for a WebSocket
/// (RFC 6455 section 4.1): the one thing besides HTTP that is carried; any other `Upgrade` is an
/// offer that may be ignored (RFC 9110 section 7.8).
///
/// Nobody's certificate is checked yet, so nobody is a proxy of the mesh, not even towards the
/// application's own sidecar; who came before (`x-forwarded-for`, `-proto`) stays.
pub fn strip_request(headers: &mut HeaderMap, scan: Scan) -> bool {
    let websocket = strip_hop(headers, scan);
    if scan.has(Seen::Te) {
        headers.remove(header::TE);
        if scan.takes_trailers() {
            headers.insert(header::TE, TRAILERS);
        }
    }
    if scan.has(Seen::Expect) {
        // The server side answers it when the body is first read.
        headers.remove(header::EXPECT);
    }
    if scan.has(Seen::Http2Settings) {
        headers.remove(HTTP2_SETTINGS);
    }
    if scan.has(Seen::Internal) || scan.has(Seen::LookAlike) {
        remove_where(headers, |name| is_internal(name) || is_look_alike(name));
    }
    websocket
}

/// Takes out of a response what concerned only the hop to the upstream, and what would be taken for
/// it. Says whether the upstream switches to a WebSocket.
pub fn strip_response(headers: &mut HeaderMap, scan: Scan) -> bool {
    let websocket = strip_hop(headers, scan);
    if scan.has(Seen::Te) {
        headers.remove(header::TE);
    }
    if scan.has(Seen::LookAlike) {
        remove_where(headers, is_look_alike);
    }
    websocket
}

/// Takes out what concerns one hop in either direction; says whether it asks for a WebSocket.
fn strip_hop(headers: &mut HeaderMap, scan: Scan) -> bool {
    let mut websocket = false;
    if scan.has(Seen::Connection) {
        let named = take_connection(headers);
        websocket = named.contains(&header::UPGRADE) && is_websocket(headers);
        remove_named(headers, &named);
    }
    if scan.has(Seen::Upgrade) {
        headers.remove(header::UPGRADE);
    }
    if scan.has(Seen::KeepAlive) {
        headers.remove(KEEP_ALIVE);
    }
    if scan.has(Seen::ProxyConnection) {
        headers.remove(PROXY_CONNECTION);
    }
    if scan.transfer_encodings > 0 {
        headers.remove(header::TRANSFER_ENCODING);
    }
    websocket
}

/// Whether there is exactly one thing to upgrade to, and it is `websocket`.
fn is_websocket(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::UPGRADE).iter();
    let only = values.next().filter(|_| values.next().is_none());
    only.is_some_and(|value| {
        let token = value.as_bytes().trim_ascii();
        token.eq_ignore_ascii_case(b"websocket")
    })
}

/// Takes out of trailers what may not stand there (RFC 9110 section 6.5.1): what frames a message,
/// concerns one hop or says where a request came from, in any spelling.
pub fn strip_trailers(trailers: &mut HeaderMap) {
    remove_where(trailers, |name| !may_trail(name));
}

/// Whether a field of this name may stand in trailers.
pub(super) fn may_trail(name: &str) -> bool {
    reserved(name).is_none()
        && !is_internal(name)
        && !is_look_alike(name)
        && !name.starts_with("x-forwarded-")
}

/// Takes off what is for the proxy at this end alone: which workload is at the other end.
pub fn remove_peer_metadata(headers: &mut HeaderMap) {
    remove_where(headers, is_peer_metadata);
}

fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: SmallVec<[HeaderName; 4]> = headers
        .keys()
        .filter(|name| unwanted(name.as_str()))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// The headers that `Connection` names; the header itself goes.
fn take_connection(headers: &mut HeaderMap) -> SmallVec<[HeaderName; 4]> {
    let mut named = SmallVec::new();
    for value in headers.get_all(header::CONNECTION) {
        let tokens = value.as_bytes().split(|byte| *byte == b',');
        named.extend(tokens.filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok()));
    }
    headers.remove(header::CONNECTION);
    named
}

fn remove_named(headers: &mut HeaderMap, named: &[HeaderName]) {
    for name in named {
        // A client must not talk this proxy into dropping what frames or routes the message, or
        // what tells who sent it.
        let kept = *name == header::HOST
            || *name == header::CONTENT_LENGTH
            || *name == header::TE
            || name.as_str().starts_with("x-forwarded-")
            || name.as_str() == "close";
        if !kept {
            headers.remove(name);
        }
    }
}

/// Whether a `TE` line has the token `trailers`.
fn takes_trailers(te: &HeaderValue) -> bool {
    let mut tokens = te.as_bytes().split(|byte| *byte == b',');
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests;
