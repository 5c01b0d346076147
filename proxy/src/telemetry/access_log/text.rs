//! The text format: fields in a fixed order, separated by one space, `-` for what is missing.
//!
//! Whatever came from a client prints as visible ASCII: a quote or backslash is escaped, any
//! other byte becomes `\xNN`, so that nobody forges a line or steers the reader's terminal.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

use super::clock;
use super::line::{Line, bounded};

/// Appends the line and its end.
pub(super) fn format(line: &Line<'_>, out: &mut Vec<u8>) {
    out.push(b'[');
    clock::push(line.start_time, out);
    out.extend_from_slice(b"] \"");
    word(line.method.map(str::as_bytes), out);
    out.push(b' ');
    word(line.path, out);
    out.push(b' ');
    word(line.protocol.map(str::as_bytes), out);
    out.extend_from_slice(b"\" ");
    number(u64::from(line.response_code), out);
    display(Some(line.response_flags), out);
    plain(line.response_code_details, out);
    plain(line.connection_termination_details, out);
    quoted(
        line.upstream_transport_failure_reason.map(str::as_bytes),
        out,
    );
    number(line.bytes_received, out);
    number(line.bytes_sent, out);
    number(millis(line.duration), out);
    display(line.upstream_service_time.map(millis), out);
    quoted(line.x_forwarded_for, out);
    quoted(line.user_agent, out);
    quoted(line.request_id, out);
    quoted(line.authority, out);
    out.push(b'"');
    display(line.upstream_host, out);
    out.pop();
    out.extend_from_slice(b"\" ");
    display(line.upstream_cluster, out);
    display(line.upstream_local_address, out);
    display(line.downstream_local_address, out);
    display(line.downstream_remote_address, out);
    plain(line.requested_server_name, out);
    plain(line.route_name, out);
    out.pop();
    if let Some(reason) = line.reason {
        out.extend_from_slice(b" reason=\"");
        escape(Some(reason.as_bytes()), b' ', out);
        out.push(b'"');
    }
    out.push(b'\n');
}

/// Whole milliseconds.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn number(value: u64, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(value).as_bytes());
    out.push(b' ');
}

/// What the proxy itself prints: addresses, names of clusters.
fn display(value: Option<impl Display>, out: &mut Vec<u8>) {
    match value {
        None => out.push(b'-'),
        Some(value) => {
            let start = out.len();
            // Writing to a Vec cannot fail.
            let _written = write!(out, "{value}");
            // A name from configuration might hold a blank and shift the columns.
            for byte in out.iter_mut().skip(start) {
                if !byte.is_ascii_graphic() {
                    *byte = b'_';
                }
            }
        }
    }
    out.push(b' ');
}

fn plain(value: Option<&str>, out: &mut Vec<u8>) {
    word(value.map(str::as_bytes), out);
    out.push(b' ');
}

fn quoted(value: Option<&[u8]>, out: &mut Vec<u8>) {
    out.push(b'"');
    escape(value, b' ', out);
    out.extend_from_slice(b"\" ");
}

/// A text that stands between blanks, and therefore holds none.
fn word(value: Option<&[u8]>, out: &mut Vec<u8>) {
    escape(value, b'_', out);
}

fn escape(value: Option<&[u8]>, blank: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let Some(value) = value.filter(|value| !value.is_empty()) else {
        out.push(b'-');
        return;
    };
    for &byte in bounded(value) {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' ' => out.push(blank),
            visible if visible.is_ascii_graphic() => out.push(visible),
            other => {
                let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'?');
                out.extend_from_slice(&[b'\\', b'x', digit(other >> 4), digit(other & 15)]);
            }
        }
    }
}
