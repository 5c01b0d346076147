//! One length per message, in both directions: what is passed on says once, and as it is, where the
//! message ends. Whatever two readers could cut differently is refused.

use http::header::{self, HeaderMap, HeaderValue};
use http::{StatusCode, response};

use super::headers::Scan;
use crate::error::{RequestFault, UpstreamFault};

/// What the framing of a response means for the connection it came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// It may serve another request.
    Yes,
    /// It must not: the upstream gave the message two lengths (RFC 9112 section 6.3).
    No,
}

/// Checks how a request says where it ends, and brings its length into the shortest form. hyper
/// reads a message one way; what another reader could cut differently is refused (RFC 9112 section
/// 6.3).
pub fn check_request(headers: &mut HeaderMap, scan: Scan) -> Result<(), RequestFault> {
    if scan.transfer_encodings == 0 {
        return match scan.content_lengths {
            0 => Ok(()),
            1 => canonical_length(headers).map_err(|Ambiguous| RequestFault::FramingAmbiguous),
            _ => Err(RequestFault::FramingAmbiguous),
        };
    }
    if scan.transfer_encodings > 1 || scan.content_lengths > 0 || !is_chunked(headers) {
        return Err(RequestFault::FramingAmbiguous);
    }
    Ok(())
}

/// Whether a request announces content.
pub fn announces_content(headers: &HeaderMap, scan: Scan) -> bool {
    scan.transfer_encodings > 0
        || (scan.content_lengths > 0
            && headers
                .get(header::CONTENT_LENGTH)
                .is_none_or(|length| length != "0"))
}

/// Settles how a response says where it ends: chunked beats a length beside it, which goes; several
/// equal lengths are one; anything else is not HTTP (RFC 9112 section 6.3). The transfer coding
/// itself is taken out with what concerns one hop.
pub fn settle_response(parts: &mut response::Parts, scan: Scan) -> Result<Reuse, UpstreamFault> {
    let never = parts.status.is_informational() || parts.status == StatusCode::NO_CONTENT;
    if scan.transfer_encodings == 0 {
        match scan.content_lengths {
            0 => {}
            _ if never => {
                parts.headers.remove(header::CONTENT_LENGTH);
            }
            _ => {
                canonical_length(&mut parts.headers)
                    .map_err(|Ambiguous| UpstreamFault::Protocol)?;
            }
        }
        return Ok(Reuse::Yes);
    }
    if scan.transfer_encodings > 1 || !is_chunked(&parts.headers) {
        return Err(UpstreamFault::Protocol);
    }
    if scan.content_lengths == 0 {
        return Ok(Reuse::Yes);
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    metrics::counter!("proxy_response_lengths_removed_total").increment(1);
    Ok(Reuse::No)
}

/// Whether a response to a request has no content whatever its headers say (RFC 9110 section 6.4.1).
pub fn is_bodyless(head: bool, status: StatusCode) -> bool {
    head || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Lengths that contradict each other, or are none.
struct Ambiguous;

/// One length, without leading zeros.
fn canonical_length(headers: &mut HeaderMap) -> Result<(), Ambiguous> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let first = lengths.next().ok_or(Ambiguous)?;
    let alone = lengths.next().is_none();
    if alone && is_canonical(first.as_bytes()) {
        return Ok(());
    }
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for number in value.as_bytes().split(|byte| *byte == b',') {
            let number = digits(number.trim_ascii()).ok_or(Ambiguous)?;
            if length
                .replace(number)
                .is_some_and(|before| before != number)
            {
                return Err(Ambiguous);
            }
        }
    }
    let length = length.ok_or(Ambiguous)?;
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(())
}

fn is_canonical(text: &[u8]) -> bool {
    digits(text).is_some() && (text == b"0" || text.first() != Some(&b'0'))
}

/// Digits only: no sign, no space.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn is_chunked(headers: &HeaderMap) -> bool {
    headers
        .get(header::TRANSFER_ENCODING)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"))
}

#[cfg(test)]
mod tests {
    use http::Response;

    use super::*;

    fn settled(status: u16, headers: &[(&str, &str)]) -> (Result<Reuse, UpstreamFault>, String) {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let mut parts = response.body(()).unwrap().into_parts().0;
        let scan = Scan::of(&parts.headers);
        let settled = settle_response(&mut parts, scan);
        let lengths: Vec<&str> = parts
            .headers
            .get_all("content-length")
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        (settled, lengths.join("|"))
    }

    #[test]
    fn a_response_has_one_length() {
        let length = |text| ("content-length", text);
        let chunked = ("transfer-encoding", "Chunked");
        for (status, headers, reuse, left) in [
            (200, vec![length("3")], Reuse::Yes, "3"),
            (200, vec![length("003")], Reuse::Yes, "3"),
            (200, vec![length("0")], Reuse::Yes, "0"),
            (200, vec![length("5"), length("05")], Reuse::Yes, "5"),
            (200, vec![length("5, 5")], Reuse::Yes, "5"),
            (200, vec![chunked], Reuse::Yes, ""),
            (200, vec![length("3"), chunked], Reuse::No, ""),
            (204, vec![length("3")], Reuse::Yes, ""),
            (304, vec![length("3")], Reuse::Yes, "3"),
        ] {
            let name = format!("{status} {headers:?}");
            assert_eq!(
                settled(status, &headers),
                (Ok(reuse), left.to_owned()),
                "{name}"
            );
        }
        for headers in [
            vec![length("5"), length("6")],
            vec![length("5, 6")],
            vec![length("+5")],
            vec![length("")],
            vec![length("99999999999999999999999")],
            vec![("transfer-encoding", "gzip, chunked")],
            vec![("transfer-encoding", "xchunked")],
            vec![chunked, chunked],
        ] {
            assert_eq!(
                settled(200, &headers).0,
                Err(UpstreamFault::Protocol),
                "{headers:?}"
            );
        }
    }
}
