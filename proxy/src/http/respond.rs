//! What a client is told when the upstream does not answer: one place, one exhaustive match.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use super::framing;
use crate::error::{
    ConnectFault, PolicyFault, ProxyError, RequestFault, RoutingFault, UpstreamFault,
};

/// `x-envoy-overloaded`.
const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
/// `grpc-status`.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`.
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// gRPC's status for a call that ran out of time.
const DEADLINE_EXCEEDED: u8 = 4;
const TOO_LATE: &str = "upstream request timeout";

/// How a request wants to be answered.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// In the manner of gRPC: with a status in the head, and no content.
    pub grpc: bool,
    /// With a head alone.
    pub head: bool,
}

/// An answer of the proxy's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// The status.
    pub status: StatusCode,
    /// The gRPC status, where it does not follow from the HTTP status.
    pub grpc_status: Option<u8>,
    /// The body; empty for none.
    pub body: Bytes,
    /// Headers besides the usual ones.
    pub headers: HeaderMap,
}

impl LocalReply {
    /// An answer without headers of its own.
    pub fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            grpc_status: None,
            body: body.into(),
            headers: HeaderMap::new(),
        }
    }

    /// The answer as a response; gRPC clients get a status in the head and no body, and who asked
    /// for the head alone, or gets a status that has no body, gets none either.
    pub fn into_response(self, asked: Asked) -> Response<Bytes> {
        let Self {
            status,
            grpc_status,
            body,
            headers,
        } = self;
        let Asked { grpc, head } = asked;
        // A length, too, may only stand where a GET would get content (RFC 9110 section 8.6).
        let content = if grpc || framing::is_bodyless(false, status) {
            Bytes::new()
        } else {
            body.clone()
        };
        let mut response = Response::new(Bytes::new());
        if !grpc {
            *response.status_mut() = status;
        }
        *response.headers_mut() = headers;
        let added = response.headers_mut();
        if grpc {
            added.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/grpc"),
            );
            let code = grpc_status.unwrap_or_else(|| grpc_status_of(status));
            added.insert(GRPC_STATUS, HeaderValue::from(u16::from(code)));
            if let Ok(message) = HeaderValue::from_str(&grpc_message(&body)) {
                added.insert(GRPC_MESSAGE, message);
            }
        } else if !content.is_empty() && !added.contains_key(header::CONTENT_TYPE) {
            added.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        *response.body_mut() = if head && !content.is_empty() {
            added.insert(header::CONTENT_LENGTH, HeaderValue::from(content.len()));
            Bytes::new()
        } else {
            content
        };
        response
    }
}

/// The answer for an error.
pub fn reply(error: &ProxyError) -> LocalReply {
    match error {
        ProxyError::Request(fault) => LocalReply::new(request_status(*fault), fault.to_string()),
        ProxyError::Routing(fault) => match fault {
            RoutingFault::UnknownHost | RoutingFault::NoRule | RoutingFault::ListenerGone => {
                LocalReply::new(StatusCode::NOT_FOUND, "")
            }
            RoutingFault::NotInRegistry => LocalReply::new(StatusCode::BAD_GATEWAY, ""),
            RoutingFault::Refused(failure) => {
                LocalReply::new(failure.status, failure.reason.to_string())
            }
        },
        ProxyError::Policy(PolicyFault::NotEnforceable { reason }) => {
            LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, reason.to_string())
        }
        ProxyError::Policy(PolicyFault::Missing) => LocalReply::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the policy of this port is missing",
        ),
        ProxyError::Upstream(fault) => upstream_reply(fault),
    }
}

fn request_status(fault: RequestFault) -> StatusCode {
    match fault {
        RequestFault::HostMissing
        | RequestFault::HostRepeated
        | RequestFault::HostConflict
        | RequestFault::AuthorityMalformed
        | RequestFault::PathMalformed
        | RequestFault::FramingAmbiguous
        | RequestFault::BodyBroken => StatusCode::BAD_REQUEST,
        RequestFault::BodySlow => StatusCode::REQUEST_TIMEOUT,
        RequestFault::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        RequestFault::VersionTooOld => StatusCode::UPGRADE_REQUIRED,
        RequestFault::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
        RequestFault::ConnectRefused => StatusCode::NOT_FOUND,
    }
}

fn upstream_reply(fault: &UpstreamFault) -> LocalReply {
    const RESET: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";
    let unavailable = |body: Cow<'static, str>| {
        LocalReply::new(StatusCode::SERVICE_UNAVAILABLE, body.into_owned())
    };
    match fault {
        UpstreamFault::NoEndpoint => unavailable("no healthy upstream".into()),
        UpstreamFault::Refused(answer) => LocalReply::new(answer.status, answer.body.clone()),
        UpstreamFault::NoCluster => unavailable("".into()),
        UpstreamFault::NotEnforceable(reason) => unavailable((*reason).into()),
        UpstreamFault::Overflow(_) => {
            let mut reply = unavailable(format!("{RESET}overflow").into());
            reply
                .headers
                .insert(OVERLOADED, HeaderValue::from_static("true"));
            reply
        }
        UpstreamFault::Connect(ConnectFault::Forbidden(why)) => unavailable(why.to_string().into()),
        UpstreamFault::Connect(_) => unavailable(format!("{RESET}connection failure").into()),
        UpstreamFault::Closed { .. } => {
            unavailable(format!("{RESET}connection termination").into())
        }
        UpstreamFault::Reset { .. } => unavailable(format!("{RESET}remote reset").into()),
        UpstreamFault::Protocol => {
            LocalReply::new(StatusCode::BAD_GATEWAY, format!("{RESET}protocol error"))
        }
        UpstreamFault::Timeout | UpstreamFault::TryTimeout => {
            let mut reply = LocalReply::new(StatusCode::GATEWAY_TIMEOUT, TOO_LATE);
            // Not what a 504 of somebody else stands for: whose time it was is known here.
            reply.grpc_status = Some(DEADLINE_EXCEEDED);
            reply
        }
    }
}

/// The trailers of a gRPC response that ran out of time after its head was sent.
pub fn grpc_deadline_exceeded() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(GRPC_STATUS, HeaderValue::from(u16::from(DEADLINE_EXCEEDED)));
    trailers.insert(GRPC_MESSAGE, HeaderValue::from_static(TOO_LATE));
    trailers
}

/// The gRPC status that a failed HTTP exchange stands for.
fn grpc_status_of(status: StatusCode) -> u8 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        200..=299 => 0,
        _ => 2,
    }
}

/// Text as `grpc-message` carries it: percent-encoded where it is not printable ASCII.
fn grpc_message(text: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text.iter().take(1_024) {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                let digit = HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
                out.push(char::from(digit));
            }
        }
    }
    out
}
