//! Header edits: removals, then values that replace, then values that are added.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Uri};
use mesh_api::route::{HeaderEdits, HeaderOps, HeaderText, Operator, TextPart};

/// The facts that `%…%` operators print.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// The client.
    pub remote: SocketAddr,
    /// Where it connected to.
    pub local: SocketAddr,
    /// Whether the client speaks HTTP/2.
    pub http2: bool,
    /// The route.
    pub route: &'a Arc<str>,
    /// The cluster, once it is chosen.
    pub cluster: Option<&'a Arc<str>>,
    /// The endpoint, once it answered.
    pub upstream: Option<SocketAddr>,
    /// The request as it came.
    pub request: Option<&'a RequestFacts>,
}

/// What of a request edits of its response may print; kept only for those that do.
#[derive(Clone, Debug)]
pub struct RequestFacts {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl RequestFacts {
    /// The facts of a request.
    pub fn of(parts: &http::request::Parts) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: parts.headers.clone(),
        }
    }
}

/// Whether any of these edits prints a fact of the request.
pub fn reads_request(ops: &HeaderOps) -> bool {
    let edits = ops.set.iter().chain(&ops.add);
    edits
        .filter_map(|edit| match &edit.value {
            HeaderText::Literal(_) => None,
            HeaderText::Template(parts) => Some(parts),
        })
        .flatten()
        .any(|part| matches!(part, TextPart::Operator(Operator::RequestHeader(_))))
}

/// The edits of a route and of a destination in the order in which Istio applies them: with one
/// destination the route's come first, with several the destination's do.
pub fn in_order<'e>(
    route: &'e HeaderEdits,
    destination: &'e HeaderEdits,
    destinations: usize,
) -> [&'e HeaderEdits; 2] {
    if destinations > 1 {
        [destination, route]
    } else {
        [route, destination]
    }
}

/// Carries out edits.
pub fn apply(ops: &HeaderOps, headers: &mut HeaderMap, facts: &Facts<'_>) {
    for name in &ops.remove {
        headers.remove(name.name());
    }
    for edit in &ops.set {
        if let Some(value) = value(&edit.value, facts) {
            headers.insert(edit.name.name().clone(), value);
        }
    }
    for edit in &ops.add {
        if let Some(value) = value(&edit.value, facts) {
            headers.append(edit.name.name().clone(), value);
        }
    }
}

/// The value, or `None` if a fact in it cannot stand in a header.
fn value(text: &HeaderText, facts: &Facts<'_>) -> Option<HeaderValue> {
    match text {
        HeaderText::Literal(value) => Some(value.clone()),
        HeaderText::Template(parts) => {
            let mut out = Vec::with_capacity(64);
            for part in parts {
                match part {
                    TextPart::Literal(text) => out.extend_from_slice(text.as_bytes()),
                    TextPart::Operator(operator) => print(operator, facts, &mut out),
                }
            }
            HeaderValue::from_maybe_shared(bytes::Bytes::from(out)).ok()
        }
    }
}

fn print(operator: &Operator, facts: &Facts<'_>, out: &mut Vec<u8>) {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _written = match operator {
        Operator::DownstreamRemoteAddress => write!(text, "{}", facts.remote),
        Operator::DownstreamRemoteIp => write!(text, "{}", facts.remote.ip()),
        Operator::DownstreamLocalAddress => write!(text, "{}", facts.local),
        Operator::Protocol => {
            write!(text, "{}", if facts.http2 { "HTTP/2" } else { "HTTP/1.1" })
        }
        Operator::UpstreamHost => match facts.upstream {
            Some(upstream) => write!(text, "{upstream}"),
            None => write!(text, "-"),
        },
        Operator::UpstreamCluster => write!(text, "{}", facts.cluster.map_or("-", |name| name)),
        Operator::RouteName => write!(text, "{}", facts.route),
        Operator::RequestHeader(name) => {
            out.extend_from_slice(request_header(name, facts.request).unwrap_or(b"-"));
            Ok(())
        }
    };
    out.extend_from_slice(text.as_bytes());
}

fn request_header<'f>(name: &str, request: Option<&'f RequestFacts>) -> Option<&'f [u8]> {
    let request = request?;
    match name.to_ascii_lowercase().as_str() {
        ":method" => Some(request.method.as_str().as_bytes()),
        ":path" => request
            .uri
            .path_and_query()
            .map(|path| path.as_str().as_bytes()),
        ":scheme" => Some(b"http"),
        ":authority" => request.headers.get(header::HOST).map(HeaderValue::as_bytes),
        other => request.headers.get(other).map(HeaderValue::as_bytes),
    }
}
