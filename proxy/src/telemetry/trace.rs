//! Request ids and trace context: what a proxy passes on so that others can follow a request.
//!
//! Every request has an `x-request-id`. Trace context that a request brings goes on as it came;
//! where it comes in one of the two families of headers only (W3C `traceparent`, or B3 in one
//! header or several), the other is derived, so that applications of either kind can continue
//! it. No span is made here, so none is invented either.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

/// `x-request-id`.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// A longer id is replaced: it would be carried through every hop and every log.
const MAX_REQUEST_ID: usize = 256;

/// What becomes of an `x-request-id` that a request brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestIds {
    /// It stays: the request comes from inside the mesh.
    Keep,
    /// It is replaced: the request comes from outside.
    Replace,
}

/// Gives a request its id.
pub fn ensure_request_id(headers: &mut HeaderMap, ids: RequestIds) {
    let usable = |id: &HeaderValue| !id.is_empty() && id.len() <= MAX_REQUEST_ID;
    if ids == RequestIds::Keep && headers.get(&REQUEST_ID).is_some_and(usable) {
        return;
    }
    let mut text = [0; 36];
    uuid(rand::random(), &mut text);
    // Hex digits and dashes are always a header value.
    if let Ok(id) = HeaderValue::from_bytes(&text) {
        headers.insert(REQUEST_ID, id);
    }
}

/// Prints random bits as a version 4 UUID.
fn uuid(random: u128, text: &mut [u8; 36]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    // Version 4, variant 1 (RFC 9562).
    let bits = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let mut shift = 128;
    for (index, place) in text.iter_mut().enumerate() {
        *place = if matches!(index, 8 | 13 | 18 | 23) {
            b'-'
        } else {
            shift -= 4;
            let nibble = usize::try_from(bits >> shift & 0xf).unwrap_or_default();
            HEX.get(nibble).copied().unwrap_or(b'0')
        };
    }
}

/// Where in a trace a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace_id: u128,
    /// The caller's span; never 0.
    pub span_id: u64,
    /// Whether spans of this trace are kept; `None`: nobody has decided yet.
    pub sampled: Option<bool>,
}

impl TraceContext {
    /// The context of a request; W3C's wins if both families are there.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        Self::w3c(headers).or_else(|| Self::b3(headers))
    }

    fn w3c(headers: &HeaderMap) -> Option<Self> {
        Self::parse_traceparent(only(headers, &TRACEPARENT)?)
    }

    fn b3(headers: &HeaderMap) -> Option<Self> {
        if let Some(single) = only(headers, &B3) {
            return Self::parse_b3(single);
        }
        let debug = only(headers, &B3_FLAGS) == Some("1");
        let sampled = match only(headers, &B3_SAMPLED) {
            _ if debug => Some(true),
            Some("1") => Some(true),
            Some("0") => Some(false),
            // As some old instrumentation has it.
            Some(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Some(_) | None => None,
        };
        Self::new(
            trace_id(only(headers, &B3_TRACE_ID)?)?,
            span_id(only(headers, &B3_SPAN_ID)?)?,
            sampled,
        )
    }

    /// `00-TRACE-SPAN-FLAGS`; a later version may bring more behind another dash.
    pub fn parse_traceparent(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace_id = hex(parts.next()?, 32)?;
        let span_id = hex(parts.next()?, 16)?;
        let flags = hex(parts.next()?, 2)?;
        let more = parts.next().is_some();
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        if version == 0xff || (version == 0 && more) || !lower {
            return None;
        }
        Self::new(trace_id, u64::try_from(span_id).ok()?, Some(flags & 1 == 1))
    }

    /// `TRACE-SPAN`, `TRACE-SPAN-SAMPLED` or `TRACE-SPAN-SAMPLED-PARENT`.
    pub fn parse_b3(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let trace_id = trace_id(parts.next()?)?;
        let span_id = span_id(parts.next()?)?;
        let sampled = match parts.next() {
            None => None,
            Some("0") => Some(false),
            Some("1" | "d") => Some(true),
            Some(_) => return None,
        };
        if let Some(parent) = parts.next() {
            hex(parent, 16)?;
        }
        if parts.next().is_some() {
            return None;
        }
        Self::new(trace_id, span_id, sampled)
    }

    fn new(trace_id: u128, span_id: u64, sampled: Option<bool>) -> Option<Self> {
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id,
            span_id,
            sampled,
        })
    }
}

/// Completes the trace context of a request: what it brings stays as it is, and the family of
/// headers that is missing is derived from the one that is there.
pub fn propagate(headers: &mut HeaderMap) {
    let w3c = headers.contains_key(&TRACEPARENT);
    let b3 = headers.contains_key(&B3) || headers.contains_key(&B3_TRACE_ID);
    match (w3c, b3) {
        (false, false) | (true, true) => {}
        (true, false) => {
            if let Some(context) = TraceContext::w3c(headers) {
                insert_b3(headers, context);
            }
        }
        (false, true) => {
            // W3C has no word for "undecided": saying "no" would end the trace here.
            if let Some(context) = TraceContext::b3(headers)
                && let Some(sampled) = context.sampled
            {
                insert_traceparent(headers, context, sampled);
            }
        }
    }
}

fn insert_traceparent(headers: &mut HeaderMap, context: TraceContext, sampled: bool) {
    let TraceContext {
        trace_id, span_id, ..
    } = context;
    let sampled = u8::from(sampled);
    insert(
        headers,
        TRACEPARENT,
        format_args!("00-{trace_id:032x}-{span_id:016x}-{sampled:02x}"),
    );
}

fn insert_b3(headers: &mut HeaderMap, context: TraceContext) {
    let TraceContext {
        trace_id,
        span_id,
        sampled,
    } = context;
    insert(headers, B3_TRACE_ID, format_args!("{trace_id:032x}"));
    insert(headers, B3_SPAN_ID, format_args!("{span_id:016x}"));
    // What the request brought beside an id that was missing would contradict it.
    headers.remove(B3_FLAGS);
    match sampled {
        Some(true) => headers.insert(B3_SAMPLED, HeaderValue::from_static("1")),
        Some(false) => headers.insert(B3_SAMPLED, HeaderValue::from_static("0")),
        None => headers.remove(B3_SAMPLED),
    };
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: std::fmt::Arguments<'_>) {
    let mut text = String::with_capacity(56);
    // Writing to a String cannot fail.
    let _written = text.write_fmt(value);
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}

/// The header's text if it stands there exactly once: two are a contradiction.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() {
        return None;
    }
    first.to_str().ok().map(str::trim)
}

/// B3 allows trace ids of 64 and of 128 bits.
fn trace_id(text: &str) -> Option<u128> {
    hex(text, 32).or_else(|| hex(text, 16))
}

fn span_id(text: &str) -> Option<u64> {
    hex(text, 16).and_then(|id| u64::try_from(id).ok())
}

fn hex(text: &str, digits: usize) -> Option<u128> {
    // `from_str_radix` alone would take a sign.
    let clean = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    clean.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests;
