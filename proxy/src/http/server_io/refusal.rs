//! Why a client is not served that never got as far as a request, and what it is told.

use std::fmt::Write as _;
use std::time::SystemTime;

use http::StatusCode;

/// How large the head of a request may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// In bytes.
    pub bytes: usize,
    /// In header fields.
    pub fields: usize,
}

/// What is wrong with bytes that do not become a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head of a request did not arrive in time.
    HeadLate,
    /// It has too many bytes.
    HeadTooLarge,
    /// It has too many fields.
    TooManyFields,
    /// The target is too long.
    TargetTooLong,
    /// They are not HTTP.
    Malformed,
}

impl Refusal {
    /// What an answer of hyper's own means, after so many bytes were read. It does not tell which
    /// limit of a head was met: that of its fields, unless there were more bytes than a head may
    /// have.
    pub(super) fn of_answer(answer: &[u8], read: usize, limits: HeadLimits) -> Option<Self> {
        let status = answer
            .strip_prefix(b"HTTP/1.1 ")
            .or_else(|| answer.strip_prefix(b"HTTP/1.0 "));
        match status?.get(..3)? {
            b"431" if read > limits.bytes => Some(Self::HeadTooLarge),
            b"431" => Some(Self::TooManyFields),
            b"414" => Some(Self::TargetTooLong),
            b"400" => Some(Self::Malformed),
            _ => None,
        }
    }

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::HeadLate => StatusCode::REQUEST_TIMEOUT,
            Self::HeadTooLarge | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Malformed => StatusCode::BAD_REQUEST,
        }
    }

    /// `RESPONSE_CODE_DETAILS`, in Envoy's words.
    pub fn details(self) -> &'static str {
        match self {
            Self::HeadLate => "request_header_timeout",
            Self::HeadTooLarge => "http1.headers_too_large",
            Self::TooManyFields => "http1.too_many_headers",
            Self::TargetTooLong | Self::Malformed => "http1.codec_error",
        }
    }

    fn reason(self, limits: HeadLimits) -> String {
        let HeadLimits { bytes, fields } = limits;
        match self {
            Self::HeadLate => "the head of the request took too long".to_owned(),
            Self::HeadTooLarge => format!("the head of the request is larger than {bytes} bytes"),
            Self::TooManyFields => format!("the request has more than {fields} header fields"),
            Self::TargetTooLong => "the target of the request is too long".to_owned(),
            Self::Malformed => "this is not a request of HTTP/1.1".to_owned(),
        }
    }

    /// The whole answer; the connection ends after it.
    pub(super) fn answer(self, limits: HeadLimits) -> Vec<u8> {
        let status = self.status();
        let reason = self.reason(limits);
        let mut text = String::with_capacity(256);
        let date = httpdate::fmt_http_date(SystemTime::now());
        // Writing to a String cannot fail.
        let _written = write!(
            text,
            "HTTP/1.1 {} {}\r\nconnection: close\r\ncontent-type: text/plain\r\n\
             content-length: {}\r\ndate: {date}\r\n\r\n{reason}",
            status.as_str(),
            status.canonical_reason().unwrap_or_default(),
            reason.len(),
        );
        text.into_bytes()
    }
}
