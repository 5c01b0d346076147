//! Headers that end at this proxy, and headers it adds.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

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

/// What a walk over a request's headers found; one walk answers many questions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    /// Host headers.
    pub hosts: u8,
    /// Transfer-Encoding headers.
    pub transfer_encodings: u8,
    /// Content-Length headers.
    pub content_lengths: u8,
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
                "connection" => Seen::Connection,
                "upgrade" => Seen::Upgrade,
                "te" => Seen::Te,
                "keep-alive" => Seen::KeepAlive,
                "proxy-connection" => Seen::ProxyConnection,
                "expect" => Seen::Expect,
                "content-type" if is_grpc(value) => Seen::Grpc,
                "x-forwarded-proto" => Seen::ForwardedProto,
                "traceparent" | "b3" | "x-b3-traceid" => Seen::Trace,
                "origin" => Seen::Origin,
                "grpc-timeout" => Seen::GrpcTimeout,
                other if other.starts_with("x-envoy-") => Seen::Internal,
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

    /// Whether there are headers that only proxies of the mesh may send.
    pub const fn has_internal(self) -> bool {
        self.has(Seen::Internal)
    }
}

fn is_grpc(content_type: &HeaderValue) -> bool {
    content_type
        .as_bytes()
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Takes out of a request what concerns only this hop (RFC 9110 section 7.6.1), and returns what
/// the client wants to upgrade to, if it does.
pub fn strip_request(headers: &mut HeaderMap, scan: Scan) -> Option<HeaderValue> {
    let mut upgrade = None;
    if scan.has(Seen::Connection) {
        let named = take_connection(headers);
        let wants = named.contains(&header::UPGRADE);
        upgrade = headers.get(header::UPGRADE).filter(|_| wants).cloned();
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
    if scan.has(Seen::Te) {
        keep_trailers_only(headers);
    }
    if scan.has(Seen::Expect) {
        // The server side answers it when the body is first read.
        headers.remove(header::EXPECT);
    }
    upgrade
}

/// Takes out of a response what concerned only the hop to the upstream.
pub fn strip_response(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named = take_connection(headers);
        remove_named(headers, &named);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
    headers.remove(PROXY_CONNECTION);
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

fn keep_trailers_only(headers: &mut HeaderMap) {
    let trailers = headers.get_all(header::TE).iter().any(|value| {
        let mut tokens = value.as_bytes().split(|byte| *byte == b',');
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    });
    headers.remove(header::TE);
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Takes out every header that only proxies of the mesh may send.
pub fn strip_internal(headers: &mut HeaderMap) {
    let internal: SmallVec<[HeaderName; 4]> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-envoy-"))
        .cloned()
        .collect();
    for name in internal {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect::<Vec<_>>()
            .into_iter()
            .fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            })
    }

    #[test]
    fn what_concerns_one_hop_goes_and_the_rest_stays() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "keep-alive, X-Gone, host, x-forwarded-for"),
            ("keep-alive", "timeout=5"),
            ("x-gone", "1"),
            ("x-forwarded-for", "1.2.3.4"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("expect", "100-continue"),
            ("x-stays", "2"),
        ]);
        let scan = Scan::of(&headers);
        assert_eq!(strip_request(&mut headers, scan), None);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["host", "te", "x-forwarded-for", "x-stays"]);
        assert_eq!(headers["te"], "trailers");
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        let both = [("connection", "Upgrade"), ("upgrade", "websocket")];
        let mut headers = map(&both);
        let scan = Scan::of(&headers);
        assert_eq!(strip_request(&mut headers, scan).unwrap(), "websocket");
        assert!(headers.is_empty());
        let mut alone = map(&[("upgrade", "websocket")]);
        let scan = Scan::of(&alone);
        assert_eq!(strip_request(&mut alone, scan), None);
        assert!(alone.is_empty());
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        for (text, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static(text));
            assert_eq!(Scan::of(&headers).is_grpc(), grpc, "{text}");
        }
    }
}
