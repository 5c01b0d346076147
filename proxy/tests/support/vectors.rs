//! Requests that two readers could cut in different ways, and what becomes of each.
//!
//! In a request `§` stands for its own path; a request that must never be seen goes to `/smuggled`.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]

/// A request over HTTP/1.1, and how often a request to its own path reaches the backend.
pub struct Vector {
    pub class: &'static str,
    pub bytes: Vec<u8>,
    pub sees: usize,
    /// What the first of them carries, if that is decided.
    pub body: Option<&'static str>,
}

pub const NEXT: &str = "GET /smuggled HTTP/1.1\r\nhost: shop.test\r\n\r\n";

/// Chunked content, then a request that only a reader of lengths takes for content.
pub const CHUNKED_THEN: &str =
    "5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: shop.test\r\n\r\n";

pub fn post(head: &str, content: &str) -> Vec<u8> {
    format!("POST § HTTP/1.1\r\nhost: shop.test\r\n{head}\r\n\r\n{content}").into_bytes()
}

pub fn get(head: &str) -> Vec<u8> {
    format!("GET § HTTP/1.1\r\nhost: shop.test\r\n{head}\r\n\r\n").into_bytes()
}

/// Adds vectors of one class: what comes in, how often it is seen, with what content.
pub fn class(
    all: &mut Vec<Vector>,
    class: &'static str,
    vectors: impl IntoIterator<Item = (Vec<u8>, usize, Option<&'static str>)>,
) {
    for (bytes, sees, body) in vectors {
        all.push(Vector {
            class,
            bytes,
            sees,
            body,
        });
    }
}

/// Vectors about where a message ends.
pub fn of_framing() -> Vec<Vector> {
    let mut all = Vec::new();
    two_lengths(&mut all);
    codings(&mut all);
    lengths(&mut all);
    no_length(&mut all);
    chunks(&mut all);
    all
}

/// CL.TE and TE.CL: chunked is what RFC 9112 section 6.3 says, and the connection ends after it.
fn two_lengths(all: &mut Vec<Vector>) {
    let whole = CHUNKED_THEN.len();
    let vectors = [
        format!("content-length: {whole}\r\ntransfer-encoding: chunked"),
        format!("transfer-encoding: chunked\r\ncontent-length: {whole}"),
        "content-length: 4\r\ntransfer-encoding: chunked".to_owned(),
        "transfer-encoding: chunked\r\ncontent-length: 0".to_owned(),
        format!("Transfer-Encoding: CHUNKED\r\nX: y\r\nContent-Length: {whole}"),
        format!("content-length: {whole}\r\ncontent-length: {whole}\r\ntransfer-encoding: chunked"),
    ];
    let vectors = vectors.map(|head| (post(&head, CHUNKED_THEN), 1, Some("hello")));
    class(all, "CL.TE, TE.CL", vectors);
}

/// TE.TE: codings that one reader takes for chunked and another does not.
fn codings(all: &mut Vec<Vector>) {
    let refused = [
        "xchunked",
        "chunkedx",
        "chunked, identity",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ",chunked",
        "chun ked",
        "identity, chunked",
        "cow",
        "",
        "chunked\u{b}",
        "\u{b}chunked",
        "chunked\0",
        "\u{c}chunked",
        "chunked\u{85}",
        "\u{a0}chunked",
        "chunked\u{7f}",
        "[chunked]",
        "chunked chunked",
    ];
    let whole = CHUNKED_THEN.len();
    for coding in refused {
        let with_length = format!("content-length: {whole}\r\ntransfer-encoding: {coding}");
        let alone = format!("transfer-encoding: {coding}");
        class(
            all,
            "TE.TE",
            [
                (post(&with_length, CHUNKED_THEN), 0, None),
                (post(&alone, CHUNKED_THEN), 0, None),
            ],
        );
    }
    for lines in [
        "transfer-encoding: chunked\r\ntransfer-encoding: identity",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding : chunked",
        "transfer-encoding\t: chunked",
        " transfer-encoding: chunked",
        "x: y\r\n transfer-encoding: chunked",
        "transfer-encoding:\r\n chunked",
        "transfer-encoding:\n chunked",
        "transfer-encoding\0: chunked",
        "transfer-encoding\u{b}: chunked",
        "transfer encoding: chunked",
        "x: y\rtransfer-encoding: chunked",
        "transfer-encoding",
        "\u{feff}transfer-encoding: chunked",
    ] {
        class(all, "TE.TE", [(post(lines, CHUNKED_THEN), 0, None)]);
    }
    // Different spellings of the right thing.
    for lines in [
        "Transfer-Encoding: chunked",
        "TRANSFER-ENCODING:chunked",
        "transfer-encoding: \t chunked \t",
        "transfer-encoding: ChUnKeD",
    ] {
        let bytes = post(&format!("{lines}\r\nconnection: close"), CHUNKED_THEN);
        class(all, "TE.TE", [(bytes, 1, Some("hello"))]);
    }
    // A look-alike frames nothing, and goes no further.
    for name in [
        "transfer_encoding",
        "Transfer_Encoding",
        "TRANSFER_ENCODING",
    ] {
        let lines = format!("{name}: chunked\r\ncontent-length: 5\r\nconnection: close");
        class(
            all,
            "look-alikes",
            [(post(&lines, "hello"), 1, Some("hello"))],
        );
    }
}

fn lengths(all: &mut Vec<Vector>) {
    for length in [
        "+5",
        "-5",
        "-1",
        "5 5",
        "5,5",
        "5, 5",
        "5,6",
        "0x5",
        "5.0",
        "5e0",
        "٥",
        "five",
        "",
        "5;",
        "5\u{b}",
        "5\0",
        "\"5\"",
        "99999999999999999999",
        "18446744073709551616",
        "18446744073709551615",
        "5\u{a0}",
        "_5",
        "5_0",
    ] {
        let lines = format!("content-length: {length}");
        class(
            all,
            "lengths",
            [(post(&lines, "helloGET /smuggled HTTP/1.1\r\n\r\n"), 0, None)],
        );
    }
    for lines in [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 6\r\nContent-Length: 5",
        "content-length : 5",
        "content-length:\r\n 5",
        " content-length: 5",
        "content-length\0: 5",
        "content length: 5",
    ] {
        class(all, "lengths", [(post(lines, "hello!"), 0, None)]);
    }
    for lines in [
        "content-length: 5",
        "content-length: 05",
        "content-length: 0000000000000000000000005",
        "content-length: 5\r\ncontent-length: 5",
        "CONTENT-LENGTH:\t5\t",
    ] {
        let bytes = post(
            &format!("{lines}\r\nconnection: close"),
            &format!("hello{NEXT}"),
        );
        class(all, "lengths", [(bytes, 1, Some("hello"))]);
    }
}

/// Content where none was announced is the next request.
fn no_length(all: &mut Vec<Vector>) {
    let two = format!(
        "content-length: 0\r\n\r\n{}",
        String::from_utf8(get("x: y")).unwrap()
    );
    class(
        all,
        "0.CL",
        [
            (post(two.trim_end(), ""), 2, Some("")),
            (post("x: y\r\nconnection: close", NEXT), 1, Some("")),
            (
                post("content_length: 60\r\nconnection: close", NEXT),
                1,
                Some(""),
            ),
            (
                post("content-length: 0\r\nconnection: close", NEXT),
                1,
                Some(""),
            ),
            (
                get(&format!(
                    "content-length: 5\r\nconnection: close\r\n\r\nhello{NEXT}"
                )),
                1,
                Some("hello"),
            ),
        ],
    );
}

fn chunks(all: &mut Vec<Vector>) {
    let chunked = "transfer-encoding: chunked";
    for content in [
        "5\nhello\r\n0\r\n\r\n",
        "5;x\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "6\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\0\r\nhello\r\n0\r\n\r\n",
        "5.\r\nhello\r\n0\r\n\r\n",
        "٥\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n",
        "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n",
    ] {
        class(all, "chunks", [(post(chunked, content), 0, None)]);
    }
    for content in [
        "5\r\nhello\r\n0\r\n\r\n",
        "05\r\nhello\r\n00\r\n\r\n",
        "5;a=b\r\nhello\r\n0\r\n\r\n",
        "5 ;a=b;c\r\nhello\r\n0;x\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
        "5\r\nhello\r\n0\r\nContent-Length: 60\r\n\r\n",
        "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\nHost: x\r\nx_envoy_a: b\r\n\r\n",
    ] {
        let announced = "transfer-encoding: chunked\r\ntrailer: x-sum, content-length, \
                         transfer-encoding, host, x_envoy_a\r\nte: trailers\r\nconnection: close";
        class(
            all,
            "chunks",
            [
                (
                    post(
                        &format!("{chunked}\r\nconnection: close"),
                        &format!("{content}{NEXT}"),
                    ),
                    1,
                    Some("hello"),
                ),
                (
                    post(announced, &format!("{content}{NEXT}")),
                    1,
                    Some("hello"),
                ),
            ],
        );
    }
    let with_get = format!(
        "{}5\r\nhello\r\n0\r\n\r\n",
        String::from_utf8(get("transfer-encoding: chunked\r\nconnection: close")).unwrap()
    );
    class(all, "chunks", [(with_get.into_bytes(), 1, Some("hello"))]);
}
