//! The JSON format: one object per line, keys as Istio names them, `null` for what is missing.
//!
//! The output is ASCII: everything else is escaped, so that no byte of a client reaches a
//! terminal as it came.

use std::fmt::{self, Display, Write as _};

use super::clock;
use super::line::{Line, bounded};
use super::text::millis;

/// Appends the object and the end of the line.
pub(super) fn format(line: &Line<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"start_time\":\"");
    clock::push(line.start_time, out);
    out.push(b'"');
    let text = |value: Option<&'static str>| value.map(str::as_bytes);
    string("method", line.method.map(str::as_bytes), out);
    string("path", line.path, out);
    string("protocol", text(line.protocol), out);
    number("response_code", Some(u64::from(line.response_code)), out);
    display("response_flags", Some(line.response_flags), out);
    for (key, value) in [
        ("response_code_details", line.response_code_details),
        (
            "connection_termination_details",
            line.connection_termination_details,
        ),
        (
            "upstream_transport_failure_reason",
            line.upstream_transport_failure_reason,
        ),
    ] {
        string(key, value.map(str::as_bytes), out);
    }
    number("bytes_received", Some(line.bytes_received), out);
    number("bytes_sent", Some(line.bytes_sent), out);
    number("duration", Some(millis(line.duration)), out);
    number(
        "upstream_service_time",
        line.upstream_service_time.map(millis),
        out,
    );
    string("x_forwarded_for", line.x_forwarded_for, out);
    string("user_agent", line.user_agent, out);
    string("request_id", line.request_id, out);
    string("authority", line.authority, out);
    display("upstream_host", line.upstream_host, out);
    display("upstream_cluster", line.upstream_cluster, out);
    for (key, address) in [
        ("upstream_local_address", line.upstream_local_address),
        ("downstream_local_address", line.downstream_local_address),
        ("downstream_remote_address", line.downstream_remote_address),
    ] {
        display(key, address, out);
    }
    for (key, value) in [
        ("requested_server_name", line.requested_server_name),
        ("route_name", line.route_name),
        ("reason", line.reason),
    ] {
        string(key, value.map(str::as_bytes), out);
    }
    out.extend_from_slice(b"}\n");
}

fn key(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(name: &str, value: Option<u64>, out: &mut Vec<u8>) {
    key(name, out);
    match value {
        None => out.extend_from_slice(b"null"),
        Some(value) => {
            let mut digits = itoa::Buffer::new();
            out.extend_from_slice(digits.format(value).as_bytes());
        }
    }
}

fn string(name: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        None => {
            key(name, out);
            out.extend_from_slice(b"null");
        }
        Some(value) => display(name, Some(String::from_utf8_lossy(bounded(value))), out),
    }
}

fn display(name: &str, value: Option<impl Display>, out: &mut Vec<u8>) {
    key(name, out);
    let Some(value) = value else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'"');
    // Writing to a Vec cannot fail.
    let _written = write!(Escaping(out), "{value}");
    out.push(b'"');
}

struct Escaping<'a>(&'a mut Vec<u8>);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        use std::io::Write as _;
        for character in text.chars() {
            match character {
                '"' => self.0.extend_from_slice(b"\\\""),
                '\\' => self.0.extend_from_slice(b"\\\\"),
                ' '..='~' => {
                    let mut bytes = [0; 4];
                    let text = character.encode_utf8(&mut bytes);
                    self.0.extend_from_slice(text.as_bytes());
                }
                other => {
                    let mut units = [0; 2];
                    for unit in other.encode_utf16(&mut units) {
                        let _written = write!(self.0, "\\u{unit:04x}");
                    }
                }
            }
        }
        Ok(())
    }
}
