//! Attacks over HTTP/2, frame by frame.

use super::probe::{Attack, Expect, HOST_HERE};
use super::random::Random;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Random frames per round.
const RANDOM: usize = 6;

/// How many frames a flood has.
const FLOOD: usize = 20_000;

/// How many streams are opened and reset.
const RESETS: u32 = 2_000;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Everything, with this round's random bytes.
pub(super) fn attacks(random: &mut Random) -> Vec<Attack> {
    let mut attacks = garbage(random);
    attacks.extend(illegal());
    attacks.extend(misplaced());
    attacks.extend(bad_headers());
    attacks.extend(floods());
    attacks
}

fn garbage(random: &mut Random) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for number in 0..RANDOM {
        let bytes = random.bytes(4096);
        let name = format!("preface, then random bytes {number}");
        // A length that random bytes announce may be lawful and never come.
        attacks.push(attack(&name, Expect::Anything, &[bytes]));
        let frames: Vec<Vec<u8>> = (0..50)
            .map(|_at| {
                let (kind, flags) = (random.byte() % 10, random.byte());
                let stream = u32::try_from(random.below(8)).unwrap_or(0);
                let payload = random.bytes(64);
                frame(kind, flags, stream, &payload)
            })
            .collect();
        let name = format!("random frames {number}");
        attacks.push(attack(&name, Expect::Anything, &frames));
    }
    attacks.push(Attack {
        name: "the preface twice".to_owned(),
        chunks: vec![PREFACE.to_vec(), PREFACE.to_vec()],
        expect: Expect::Close,
    });
    attacks
}

fn illegal() -> Vec<Attack> {
    let close = |name, frames: &[Vec<u8>]| attack(name, Expect::Close, frames);
    let settings = frame(SETTINGS, 0, 0, &[]);
    let huge = [&[0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1][..], &[0; 64]].concat();
    vec![
        // Lenient servers take it; nothing depends on it.
        attack(
            "no SETTINGS first",
            Expect::Anything,
            &[frame(PING, 0, 0, &[0; 8])],
        ),
        close("a frame beyond the limit", &[settings.clone(), huge]),
        close(
            "DATA on stream 0",
            &[settings.clone(), frame(DATA, 0, 0, b"x")],
        ),
        close(
            "DATA on an idle stream",
            &[settings.clone(), frame(DATA, 0, 1, b"x")],
        ),
        close(
            "HEADERS on stream 0",
            &[settings.clone(), frame(HEADERS, 5, 0, &[0x82])],
        ),
        close(
            "an even stream",
            &[settings.clone(), frame(HEADERS, 5, 2, &request("GET"))],
        ),
        close(
            "SETTINGS of a wrong size",
            &[frame(SETTINGS, 0, 0, &[0; 5])],
        ),
        close(
            "SETTINGS on a stream",
            &[settings.clone(), frame(SETTINGS, 0, 1, &[])],
        ),
        close(
            "PING of a wrong size",
            &[settings.clone(), frame(PING, 0, 0, &[0; 7])],
        ),
        close(
            "a window beyond 2^31",
            &[
                settings.clone(),
                frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
                frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            ],
        ),
        close(
            "a window of zero",
            &[settings, frame(WINDOW_UPDATE, 0, 0, &[0; 4])],
        ),
    ]
}

/// Frames of requests that must not be where they are.
fn misplaced() -> Vec<Attack> {
    let close = |name, frames: &[Vec<u8>]| attack(name, Expect::Close, frames);
    let settings = frame(SETTINGS, 0, 0, &[]);
    vec![
        close(
            "PUSH_PROMISE from a client",
            &[
                settings.clone(),
                frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
            ],
        ),
        close(
            "CONTINUATION out of nowhere",
            &[
                settings.clone(),
                frame(CONTINUATION, END_HEADERS, 1, &[0x82]),
            ],
        ),
        close(
            "something between HEADERS and CONTINUATION",
            &[
                settings.clone(),
                frame(HEADERS, END_STREAM, 1, &request("GET")),
                frame(PING, 0, 0, &[0; 8]),
            ],
        ),
        close(
            "HPACK with a bad index",
            &[settings.clone(), frame(HEADERS, 5, 1, &[0xff; 16])],
        ),
        close(
            "RST_STREAM on an idle stream",
            &[settings, frame(RST_STREAM, 0, 9, &[0; 4])],
        ),
    ]
}

fn bad_headers() -> Vec<Attack> {
    let one = |name, fields: &[(&str, &str)]| {
        let block = fields
            .iter()
            .flat_map(|(name, value)| literal(name, value))
            .collect::<Vec<u8>>();
        let frames = [frame(SETTINGS, 0, 0, &[]), frame(HEADERS, 5, 1, &block)];
        attack(name, Expect::Refusal, &frames)
    };
    let good = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", HOST_PLAIN),
        (":path", "/echo"),
    ];
    let with =
        |name, extra: &[(&'static str, &'static str)]| one(name, &[&good[..], extra].concat());
    vec![
        with("an upper case name", &[("X-A", "1")]),
        with("a connection header", &[("connection", "close")]),
        with(
            "transfer-encoding in HTTP/2",
            &[("transfer-encoding", "chunked")],
        ),
        with(
            "a pseudo header behind others",
            &[("x-a", "1"), (":path", "/other")],
        ),
        with("an unknown pseudo header", &[(":color", "red")]),
        with("a line end in a value", &[("x-a", "1\r\nx-b: 2")]),
        with("a space in a name", &[("x a", "1")]),
        one("no path", &good[..3]),
        one("no method", &good[1..]),
        one("nothing at all", &[]),
    ]
}

fn floods() -> Vec<Attack> {
    let any = |name, frames: &[Vec<u8>]| attack(name, Expect::Anything, frames);
    let settings = frame(SETTINGS, 0, 0, &[]);
    let flood = |name, one: Vec<u8>| any(name, &[settings.clone(), one.repeat(FLOOD)]);
    let mut resets = settings.clone();
    for number in 0..RESETS {
        let stream = 2 * number + 1;
        resets.extend(frame(HEADERS, 5, stream, &request("GET")));
        resets.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    let mut bomb = request("GET");
    // One entry for the dynamic table, then a reference to it again and again.
    bomb.extend([0x40, 1, b'a', 0x7f, 0x81, 0x1e]);
    bomb.extend([b'b'; 4000]);
    bomb.extend([0xbe; 12_000]);
    let endless = [
        frame(HEADERS, END_STREAM, 1, &request("GET")),
        frame(CONTINUATION, 0, 1, &literal("x-a", "1")).repeat(FLOOD),
    ];
    vec![
        flood("a flood of SETTINGS", settings.clone()),
        flood("a flood of PING", frame(PING, 0, 0, &[0; 8])),
        flood(
            "a flood of PRIORITY",
            frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 0]),
        ),
        flood("a flood of unknown frames", frame(200, 0, 0, &[0; 8])),
        any("streams opened and reset", &[resets]),
        any(
            "CONTINUATION without end",
            &[settings.clone(), endless.concat()],
        ),
        any(
            "a compressed bomb",
            &[settings.clone(), frame(HEADERS, 5, 1, &bomb)],
        ),
        any(
            "empty DATA without end",
            &[
                settings,
                frame(HEADERS, END_HEADERS, 1, &request("POST")),
                frame(DATA, 0, 1, &[]).repeat(FLOOD),
            ],
        ),
    ]
}

/// The authority of requests over HTTP/2, where lengths are part of the bytes.
const HOST_PLAIN: &str = super::HOST;

fn attack(name: &str, expect: Expect, frames: &[Vec<u8>]) -> Attack {
    let mut bytes = PREFACE.to_vec();
    for frame in frames {
        bytes.extend_from_slice(frame);
    }
    debug_assert!(
        !bytes
            .windows(HOST_HERE.len())
            .any(|part| part == HOST_HERE.as_bytes())
    );
    Attack::new(name, expect, bytes)
}

/// The fields of a sound request.
fn request(method: &str) -> Vec<u8> {
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":authority", HOST_PLAIN),
        (":path", "/echo"),
    ];
    fields
        .iter()
        .flat_map(|(name, value)| literal(name, value))
        .collect()
}

/// A header field that uses no table and no compression.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let short = |text: &str| u8::try_from(text.len()).unwrap_or(0) & 0x7f;
    let mut field = vec![0, short(name)];
    field.extend_from_slice(name.as_bytes());
    field.push(short(value));
    field.extend_from_slice(value.as_bytes());
    field
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = Vec::with_capacity(9 + payload.len());
    frame.extend_from_slice(length.get(1..).unwrap_or_default());
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_its_length_first() {
        let bytes = frame(PING, 0, 0, &[7; 8]);
        assert_eq!(bytes.len(), 17);
        assert_eq!(&bytes[..9], &[0, 0, 8, PING, 0, 0, 0, 0, 0]);
    }
}
