//! Headers that every request gets, before it is routed.

use std::fmt::Write as _;

use http::header::{HeaderMap, HeaderValue};

use super::Entry;
use crate::carry::arrival::Arrival;
use crate::http::headers::{EXTERNAL_ADDRESS, FORWARDED_FOR, FORWARDED_PROTO};
use crate::telemetry::trace::{self, RequestIds};

/// A sidecar believes its application about who came before; a gateway believes nobody.
pub(super) fn headers(entry: &Entry, arrival: &mut Arrival) {
    let (headers, scan) = (&mut arrival.parts.headers, arrival.scan);
    if entry.gateway {
        forwarded_for(entry, headers);
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
        trace::ensure_request_id(headers, RequestIds::Replace);
    } else {
        if !scan.has_forwarded_proto() {
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
        }
        trace::ensure_request_id(headers, RequestIds::Keep);
    }
    if scan.has_trace() {
        trace::propagate(headers);
    }
    arrival.exchange.record().set_forwarded(headers);
}

/// Adds the client to those the request says it came by.
fn forwarded_for(entry: &Entry, headers: &mut HeaderMap) {
    let client = entry.client.downstream.remote.ip().to_canonical();
    let mut chain = String::with_capacity(40);
    for value in headers.get_all(&FORWARDED_FOR) {
        if let Ok(value) = value.to_str() {
            chain.push_str(value);
            chain.push(',');
        }
    }
    let known = chain.len();
    // Writing to a String cannot fail.
    let _written = write!(chain, "{client}");
    let alone = chain.get(known..).unwrap_or_default();
    if let Ok(address) = HeaderValue::from_str(alone) {
        headers.insert(EXTERNAL_ADDRESS, address);
    }
    if let Ok(chain) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
}
