//! Responses that two readers could cut in different ways, and what a client gets of each.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]

/// What a client makes of a response.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// It is passed on: status and content.
    Whole(u16, &'static str),
    /// The upstream did not speak HTTP: 502.
    Bad,
    /// It begins, and visibly does not end.
    Broken,
}
use Outcome::{Bad, Broken, Whole};

/// Heads and content of responses, whether the connection ends after them, and what becomes of it.
pub const RESPONSES: &[(&str, bool, Outcome)] = &[
    (
        "200 OK\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Whole(200, "hello"),
    ),
    (
        "200 OK\r\ncontent-length: 05\r\n\r\nhello",
        false,
        Whole(200, "hello"),
    ),
    (
        "200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Whole(200, "hello"),
    ),
    (
        "200 OK\r\ncontent-length: 5, 5\r\n\r\nhello",
        false,
        Whole(200, "hello"),
    ),
    (
        "200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Whole(200, "hello"),
    ),
    (
        "200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Whole(200, "hello"),
    ),
    (
        "200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 500\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Whole(200, "hello"),
    ),
    (
        "200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n",
        false,
        Whole(200, "hello"),
    ),
    (
        "200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Bad,
    ),
    (
        "200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Bad,
    ),
    (
        "200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        false,
        Bad,
    ),
    (
        "200 OK\r\ntransfer-encoding: xchunked\r\n\r\nhello",
        true,
        Bad,
    ),
    (
        "200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n\r\nhello",
        true,
        Bad,
    ),
    ("200 OK\r\ntransfer-encoding: \r\n\r\nhello", true, Bad),
    ("200 OK\r\ncontent-length: +5\r\n\r\nhello", true, Bad),
    ("200 OK\r\ncontent-length: -5\r\n\r\nhello", true, Bad),
    ("200 OK\r\ncontent-length: 5 5\r\n\r\nhello", true, Bad),
    ("200 OK\r\ncontent-length: 5,6\r\n\r\nhello", true, Bad),
    (
        "200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        true,
        Bad,
    ),
    ("200 OK\r\ncontent-length: 0x5\r\n\r\nhello", true, Bad),
    (
        "200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhello",
        true,
        Bad,
    ),
    ("200 OK\r\ncontent-length:\r\n 5\r\n\r\nhello", true, Bad),
    ("200 OK\r\ncontent-length : 5\r\n\r\nhello", true, Bad),
    (
        "200 OK\r\nx y: z\r\ncontent-length: 5\r\n\r\nhello",
        true,
        Bad,
    ),
    (
        "200 OK\r\nx: y\0z\r\ncontent-length: 5\r\n\r\nhello",
        true,
        Bad,
    ),
    (
        "200 OK\r\nx: y\rset-cookie: z\r\ncontent-length: 5\r\n\r\nhello",
        true,
        Bad,
    ),
    (
        "200 OK\r\ntransfer_encoding: chunked\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Whole(200, "hello"),
    ),
    (
        "200 OK\r\nContent_Length: 50\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Whole(200, "hello"),
    ),
    (
        "200 OK\r\nconnection: close, content-length\r\ncontent-length: 5\r\n\r\nhello",
        true,
        Whole(200, "hello"),
    ),
    (
        "200 OK\r\nkeep-alive: x\r\nproxy-connection: x\r\nupgrade: h2c\r\nte: x\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Whole(200, "hello"),
    ),
    ("200 OK\r\n\r\nhello", true, Whole(200, "hello")),
    ("200 OK\r\ncontent-length: 6\r\n\r\nhello", true, Broken),
    (
        "200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        true,
        Broken,
    ),
    (
        "200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        true,
        Broken,
    ),
    (
        "200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n",
        true,
        Broken,
    ),
    (
        "200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        true,
        Broken,
    ),
    (
        "101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello",
        false,
        Bad,
    ),
    (
        "101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nhello",
        false,
        Bad,
    ),
    ("101 Switching Protocols\r\n\r\n", false, Bad),
    (
        "100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Whole(200, "hello"),
    ),
    (
        "103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Whole(200, "hello"),
    ),
    (
        "204 No Content\r\ncontent-length: 5\r\n\r\nhello",
        false,
        Whole(204, ""),
    ),
    (
        "204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
        false,
        Whole(204, ""),
    ),
    (
        "304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        false,
        Whole(304, ""),
    ),
    (
        "200 OK\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled",
        false,
        Whole(200, "hello"),
    ),
    (
        "200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled",
        false,
        Whole(200, "hello"),
    ),
    (
        "204 No Content\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled",
        false,
        Whole(204, ""),
    ),
    ("abc\r\n\r\n", true, Bad),
    ("20 OK\r\ncontent-length: 0\r\n\r\n", true, Bad),
    (
        "200 OK\r\ncontent-length: 5\nx: y\r\n\r\nhello",
        false,
        Whole(200, "hello"),
    ),
];
