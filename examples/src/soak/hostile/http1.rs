//! Attacks over HTTP/1.1, and bytes that are no HTTP at all.

use super::SMUGGLED;
use super::probe::{Attack, Expect, HOST_HERE};
use super::random::Random;

/// Random texts of each kind per round.
const RANDOM: usize = 6;

/// Everything, with this round's random bytes.
pub(super) fn attacks(random: &mut Random) -> Vec<Attack> {
    let mut attacks = garbage(random);
    attacks.extend(oversized());
    attacks.extend(malformed());
    attacks.extend(smuggling());
    attacks.extend(unwelcome());
    attacks
}

fn garbage(random: &mut Random) -> Vec<Attack> {
    let mut attacks = Vec::new();
    for number in 0..RANDOM {
        let name = format!("random bytes {number}");
        attacks.push(Attack::new(name, Expect::Refusal, random.bytes(4096)));
        let mut line = random.bytes(200);
        line.extend_from_slice(b"\r\n\r\n");
        let name = format!("random line {number}");
        attacks.push(Attack::new(name, Expect::Refusal, line));
        // A sound request with one wrong byte, which may also be a harmless one.
        let mut request = format!("GET /echo HTTP/1.1\r\nhost: {HOST_HERE}\r\n\r\n").into_bytes();
        let at = random.below(request.len());
        if let Some(byte) = request.get_mut(at) {
            *byte = random.byte();
        }
        let name = format!("one wrong byte {number}");
        attacks.push(Attack::new(name, Expect::Answer, request));
    }
    attacks.push(Attack::new("zeros", Expect::Refusal, vec![0; 4096]));
    attacks.push(Attack::new(
        "nothing but line ends",
        Expect::Refusal,
        b"\r\n".repeat(5000),
    ));
    attacks.push(Attack::new(
        "a TLS ClientHello",
        Expect::Refusal,
        client_hello(random),
    ));
    attacks
}

/// A ClientHello of the right shape with random contents.
fn client_hello(random: &mut Random) -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0x00, 0x4d, 1, 0, 0x00, 0x49, 3, 3];
    hello.extend((0..32).map(|_at| random.byte()));
    hello.push(32);
    hello.extend((0..32).map(|_at| random.byte()));
    hello.extend([0, 2, 0x13, 0x01, 1, 0]);
    hello
}

fn oversized() -> Vec<Attack> {
    let long = "a".repeat(1024 * 1024);
    let head = format!("GET /echo HTTP/1.1\r\nhost: {HOST_HERE}\r\n");
    let many: String = (0..10_000)
        .flat_map(|number| [format!("x-{number}"), ": 1\r\n".into()])
        .collect();
    let texts = [
        ("a huge header", format!("{head}x-huge: {long}\r\n\r\n")),
        ("a huge header name", format!("{head}{long}: 1\r\n\r\n")),
        ("10,000 headers", format!("{head}{many}\r\n")),
        (
            "a huge target",
            format!("GET /{long} HTTP/1.1\r\nhost: {HOST_HERE}\r\n\r\n"),
        ),
        (
            "a huge method",
            format!("{long} / HTTP/1.1\r\nhost: {HOST_HERE}\r\n\r\n"),
        ),
        (
            "a huge host",
            format!("GET / HTTP/1.1\r\nhost: {long}\r\n\r\n"),
        ),
    ];
    refused(texts)
}

fn malformed() -> Vec<Attack> {
    let request = |line: &str, headers: &str| format!("{line}\r\n{headers}\r\n");
    let host = format!("host: {HOST_HERE}\r\n");
    let good = "GET /echo HTTP/1.1";
    let with = |header: &str| request(good, &format!("{host}{header}\r\n"));
    refused([
        ("a space before the colon", with("x-a : 1")),
        ("a header without colon", with("x-a")),
        ("an empty header name", with(": 1")),
        ("a zero byte in a header", with("x-a: 1\x002")),
        ("a folded header", with("x-a: 1\r\n 2")),
        (
            "a header before the first",
            request(good, &format!(" x-a: 1\r\n{host}")),
        ),
        ("a carriage return in a header", with("x-a: 1\rx-b: 2")),
        ("no host", request(good, "")),
        ("two hosts", with("host: elsewhere.example.com")),
        ("the same host twice", with(&format!("host: {HOST_HERE}"))),
        ("a host with a space", request(good, "host: a b\r\n")),
        ("a host with a path", request(good, "host: a/b\r\n")),
        ("HTTP/0.9", "GET /echo\r\n".to_owned()),
        ("HTTP/3.0", request("GET /echo HTTP/3.0", &host)),
        ("HTTP/1.999", request("GET /echo HTTP/1.999", &host)),
        (
            "a space in the target",
            request("GET /ec ho HTTP/1.1", &host),
        ),
        (
            "a target without slash",
            request("GET echo HTTP/1.1", &host),
        ),
        (
            "a zero byte in the target",
            request("GET /ec\0ho HTTP/1.1", &host),
        ),
        (
            "a method with a slash",
            request("G/T /echo HTTP/1.1", &host),
        ),
    ])
}

fn smuggling() -> Vec<Attack> {
    let inner = format!("GET {SMUGGLED} HTTP/1.1\r\nhost: {HOST_HERE}\r\n\r\n");
    let whole = format!("0\r\n\r\n{inner}");
    let post = |headers: &str, body: &str| {
        format!("POST /echo HTTP/1.1\r\nhost: {HOST_HERE}\r\n{headers}\r\n\r\n{body}")
    };
    // The host that is filled in may have any length: these lengths need not be exact, only
    // different from what the other framing says.
    let length = whole.len();
    let both = format!("content-length: {length}\r\ntransfer-encoding: chunked");
    let swapped = format!("transfer-encoding: chunked\r\ncontent-length: {length}");
    let lengths = format!("content-length: 0\r\ncontent-length: {length}");
    let list = format!("content-length: 0, {length}");
    // A server may believe the chunks, but must not take another request on that connection.
    let short = both.replace(&length.to_string(), "4");
    let twice = [
        ("both framings", post(&both, &whole)),
        ("both framings, swapped", post(&swapped, &whole)),
        ("both framings, short length", post(&short, &whole)),
    ];
    let mut attacks = expecting(Expect::LastAnswer, twice);
    attacks.extend(refused([
        ("two lengths", post(&lengths, &inner)),
        ("a list of lengths", post(&list, &inner)),
        ("a negative length", post("content-length: -1", &inner)),
        ("a length with a sign", post("content-length: +5", &inner)),
        ("a length in hex", post("content-length: 0x10", &inner)),
        (
            "a length beyond all bounds",
            post("content-length: 99999999999999999999", &inner),
        ),
        (
            "an unknown coding",
            post("transfer-encoding: xchunked", &whole),
        ),
        (
            "chunked, then another",
            post("transfer-encoding: chunked, identity", &whole),
        ),
        (
            "chunked twice",
            post("transfer-encoding: chunked, chunked", &whole),
        ),
        ("chunked in two headers", {
            post(
                "transfer-encoding: identity\r\ntransfer-encoding: chunked",
                &whole,
            )
        }),
        (
            "a coding behind a control byte",
            post("transfer-encoding: \x0bchunked", &whole),
        ),
        (
            "a chunk size that is none",
            post("transfer-encoding: chunked", "zz\r\n\r\n"),
        ),
        ("a chunk size too large", {
            post(
                "transfer-encoding: chunked",
                "ffffffffffffffffff\r\na\r\n0\r\n\r\n",
            )
        }),
        (
            "a chunk without end",
            post("transfer-encoding: chunked", "1\r\nabc\r\n0\r\n\r\n"),
        ),
        ("chunks in HTTP/1.0", {
            format!(
                "POST /echo HTTP/1.0\r\nhost: {HOST_HERE}\r\ntransfer-encoding: chunked\r\n\r\n\
                 {whole}"
            )
        }),
    ]));
    attacks
}

fn unwelcome() -> Vec<Attack> {
    let host = format!("host: {HOST_HERE}\r\n");
    let mut attacks = refused([
        ("TRACE", format!("TRACE /echo HTTP/1.1\r\n{host}\r\n")),
        (
            "CONNECT",
            format!("CONNECT {HOST_HERE}:443 HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "CONNECT to elsewhere",
            "CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: 127.0.0.1:22\r\n\r\n".into(),
        ),
    ]);
    let lawful = [
        (
            "an unknown method",
            format!("BREW /echo HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "an absolute target",
            format!("GET http://{HOST_HERE}/echo HTTP/1.1\r\n{host}\r\n"),
        ),
        (
            "an unknown expectation",
            format!("GET /echo HTTP/1.1\r\n{host}expect: tea\r\n\r\n"),
        ),
        ("an unknown upgrade", {
            format!("GET /echo HTTP/1.1\r\n{host}connection: upgrade\r\nupgrade: x\r\n\r\n")
        }),
        ("a hop-by-hop list", {
            format!("GET /echo HTTP/1.1\r\n{host}connection: host, close, x-a\r\nx-a: 1\r\n\r\n")
        }),
    ];
    attacks.extend(expecting(Expect::Answer, lawful));
    attacks
}

fn refused<const N: usize>(texts: [(&'static str, String); N]) -> Vec<Attack> {
    expecting(Expect::Refusal, texts)
}

fn expecting<const N: usize>(expect: Expect, texts: [(&'static str, String); N]) -> Vec<Attack> {
    texts
        .map(|(name, text)| Attack::new(name, expect, text))
        .into()
}
