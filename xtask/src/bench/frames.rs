//! The few HTTP/2 frames a client needs that asks once (RFC 9113, RFC 7541).

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;
const DEFAULT_WINDOW: u32 = 65_535;
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// How much the peer may send before it is told to go on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Window {
    Default,
    Largest,
}

/// What a client says first.
pub(super) fn opening(window: Window) -> Vec<u8> {
    let mut out = PREFACE.to_vec();
    match window {
        Window::Default => out.extend(frame(SETTINGS, 0, 0, &[])),
        Window::Largest => {
            let setting = [
                &INITIAL_WINDOW_SIZE.to_be_bytes()[..],
                &LARGEST_WINDOW.to_be_bytes(),
            ];
            out.extend(frame(SETTINGS, 0, 0, &setting.concat()));
            let more = LARGEST_WINDOW - DEFAULT_WINDOW;
            out.extend(frame(WINDOW_UPDATE, 0, 0, &more.to_be_bytes()));
        }
    }
    out
}

/// A GET on stream 1.
pub(super) fn get(host: &str, path: &str) -> Vec<u8> {
    // Indexed `:method: GET` and `:scheme: http`, then `:path` and `:authority` by the index of
    // their names.
    let mut block = vec![0x82, 0x86];
    for (name, value) in [(0x04, path), (0x01, host)] {
        block.push(name);
        block.push(u8::try_from(value.len()).unwrap_or(0) & 0x7f);
        block.extend(value.as_bytes());
    }
    frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)
}

/// Reads frames until an answer has ended, and acknowledges the peer's settings.
pub(super) fn read_to_end_of_stream(stream: &mut TcpStream) -> Result<()> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).context("no whole answer")?;
        let [high, middle, low, kind, flags, ..] = head;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let mut payload = vec![0; usize::try_from(length)?];
        stream.read_exact(&mut payload).context("half a frame")?;
        match kind {
            SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
            DATA | HEADERS if flags & END_STREAM != 0 => return Ok(()),
            3 | 7 => bail!("the peer ended the stream (frame {kind}: {payload:02x?})"),
            _ => {}
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut out = length.get(1..).unwrap_or_default().to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_frame_of_headers() {
        let expected = [
            &[0, 0, 9, 1, 5, 0, 0, 0, 1][..],
            &[0x82, 0x86, 0x04, 1, b'/', 0x01, 2, b'a', b'b'],
        ];
        assert_eq!(get("ab", "/"), expected.concat());
    }

    #[test]
    fn the_largest_window_is_two_to_the_31_less_one() {
        let bytes = opening(Window::Largest);
        assert!(bytes.ends_with(&[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0xff, 0, 0]));
    }
}
