//! What a connection speaks, told by its first bytes.
//!
//! [`classify`] is a function of the bytes seen so far; [`read_start`] feeds it from a socket,
//! which is waited on without a buffer, so that a connection nobody speaks on costs none.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mesh_runtime::drain::DrainWatch;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::accepted::HttpVersion;
use super::client_hello::{self, ClientHello};

/// Enough for nearly every request head and TLS greeting.
const FIRST_READ: usize = 2048;
/// Beyond this, what is still undecided is decided by what it looks like so far.
const MOST_BYTES: usize = 32 * 1024;
/// A method longer than this is none.
const LONGEST_METHOD: usize = 24;
/// Sent first by every HTTP/2 client that knows its server.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How the version in a request line begins.
const VERSION: &[u8] = b"HTTP/1.";

/// What first bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP.
    Http(HttpVersion),
    /// TLS, and the server name asked for: lower case; `None` if none was sent.
    Tls(Option<Box<str>>),
    /// Anything else.
    Other,
}

/// What the bytes seen so far say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This is what it is.
    Is(Spoken),
    /// It could still be this; more bytes decide.
    MaybeThen(Spoken),
}

/// What `bytes`, the first of a connection, say it speaks.
pub fn classify(bytes: &[u8]) -> Verdict {
    let Some(first) = bytes.first() else {
        return Verdict::MaybeThen(Spoken::Other);
    };
    if *first == client_hello::HANDSHAKE_RECORD {
        return match client_hello::parse(bytes) {
            ClientHello::Incomplete => Verdict::MaybeThen(Spoken::Tls(None)),
            ClientHello::Complete { server_name } => Verdict::Is(Spoken::Tls(server_name)),
            ClientHello::Invalid => Verdict::Is(Spoken::Other),
        };
    }
    let seen = bytes.len().min(PREFACE.len());
    if bytes.get(..seen) == PREFACE.get(..seen) {
        let spoken = Spoken::Http(HttpVersion::Http2);
        return if seen == PREFACE.len() {
            Verdict::Is(spoken)
        } else {
            // "PRI" alone might be the start of a request with method PRI, which nobody sends.
            Verdict::MaybeThen(Spoken::Other)
        };
    }
    request_line(bytes)
}

/// Whether `bytes` begin with `METHOD SP TARGET SP HTTP/1.` and a digit.
fn request_line(bytes: &[u8]) -> Verdict {
    let other = Verdict::Is(Spoken::Other);
    let http = Spoken::Http(HttpVersion::Http1);
    let method_bytes = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-';
    let method = bytes.iter().take_while(|byte| method_bytes(byte)).count();
    if method == 0 || method > LONGEST_METHOD {
        return other;
    }
    let rest = match bytes.get(method) {
        None => return Verdict::MaybeThen(Spoken::Other),
        Some(b' ') => bytes.get(method + 1..).unwrap_or_default(),
        Some(_) => return other,
    };
    // A target has no blanks and no control characters; bytes above 127 are left to the server,
    // which answers 400.
    let target = rest
        .iter()
        .take_while(|byte| **byte > b' ' && **byte != 0x7f)
        .count();
    let version = match rest.get(target) {
        // So far a request line: too long a target is the HTTP server's to refuse.
        None => return Verdict::MaybeThen(if target > 0 { http } else { Spoken::Other }),
        Some(b' ') if target > 0 => rest.get(target + 1..).unwrap_or_default(),
        Some(_) => return other,
    };
    let seen = version.len().min(VERSION.len());
    if version.get(..seen) != VERSION.get(..seen) {
        return other;
    }
    match version.get(VERSION.len()) {
        None => Verdict::MaybeThen(http),
        Some(digit) if digit.is_ascii_digit() => Verdict::Is(http),
        Some(_) => other,
    }
}

/// Whether `bytes` are the start of HTTP/2 on a port that is declared to speak HTTP: anything
/// that is not the preface is left to the HTTP/1 server, which answers 400 where it must.
pub fn classify_http(bytes: &[u8]) -> Option<HttpVersion> {
    let seen = bytes.len().min(PREFACE.len());
    if bytes.get(..seen) != PREFACE.get(..seen) {
        Some(HttpVersion::Http1)
    } else if seen == PREFACE.len() {
        Some(HttpVersion::Http2)
    } else {
        None
    }
}

/// What a silent connection is given once the process drains: its request may be on the way.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// How long to wait for a connection to say what it speaks.
#[derive(Clone, Copy, Debug)]
pub struct Patience<'d> {
    /// For its first byte; `None`: for ever.
    pub first_byte: Option<Duration>,
    /// From the first byte to the verdict.
    pub verdict: Duration,
    /// Silent connections are not waited for while this drains.
    pub drain: &'d DrainWatch,
}

/// The first bytes of a connection and what they say.
#[derive(Debug)]
pub struct Start<T> {
    /// Bytes taken from the socket, to be read again by whoever serves it.
    pub bytes: Bytes,
    /// What they are; `None` if there are none and will be none: the client closed, or the
    /// process drains.
    pub spoken: Option<T>,
    /// Whether patience ran out before the verdict.
    pub timed_out: bool,
}

impl<T> Start<T> {
    /// Of a connection nothing was read from, where it does not matter what it speaks.
    pub fn unread(spoken: T) -> Self {
        Self {
            bytes: Bytes::new(),
            spoken: Some(spoken),
            timed_out: false,
        }
    }
}

/// Reads until it is clear what the client speaks.
pub async fn read_start(stream: &TcpStream, patience: Patience<'_>) -> io::Result<Start<Spoken>> {
    read_until(stream, patience, Spoken::Other, |bytes| {
        match classify(bytes) {
            Verdict::Is(spoken) => Step::Decided(spoken),
            Verdict::MaybeThen(spoken) => Step::More(spoken),
        }
    })
    .await
}

/// Reads until it is clear which HTTP the client of a declared HTTP port speaks.
pub async fn read_http_start(
    stream: &TcpStream,
    patience: Patience<'_>,
) -> io::Result<Start<HttpVersion>> {
    read_until(stream, patience, HttpVersion::Http1, |bytes| {
        classify_http(bytes).map_or(Step::More(HttpVersion::Http1), Step::Decided)
    })
    .await
}

enum Step<T> {
    Decided(T),
    More(T),
}

async fn read_until<T>(
    stream: &TcpStream,
    patience: Patience<'_>,
    silent: T,
    mut step: impl FnMut(&[u8]) -> Step<T>,
) -> io::Result<Start<T>> {
    let start = |bytes: BytesMut, spoken, timed_out| Start {
        bytes: bytes.freeze(),
        spoken,
        timed_out,
    };
    let mut buffer = match first_bytes(stream, patience).await? {
        First::Bytes(buffer) => buffer,
        First::Closed => return Ok(start(BytesMut::new(), None, false)),
        First::TooLong => return Ok(start(BytesMut::new(), Some(silent), true)),
        First::Draining => return Ok(start(BytesMut::new(), None, true)),
    };
    let deadline = Instant::now() + patience.verdict;
    loop {
        let so_far = match step(&buffer) {
            Step::Decided(spoken) => return Ok(start(buffer, Some(spoken), false)),
            Step::More(spoken) => spoken,
        };
        if buffer.len() >= MOST_BYTES {
            return Ok(start(buffer, Some(so_far), false));
        }
        if buffer.len() == buffer.capacity() {
            buffer.reserve(buffer.len());
        }
        match timeout_at(deadline, read_more(stream, &mut buffer)).await {
            // The client will send no more: what there is decides.
            Ok(Ok(0)) => return Ok(start(buffer, Some(so_far), false)),
            Ok(read) => {
                read?;
            }
            Err(_elapsed) => return Ok(start(buffer, Some(so_far), true)),
        }
    }
}

/// How waiting for the first bytes ended.
enum First {
    /// Here they are.
    Bytes(BytesMut),
    /// The client closed without any.
    Closed,
    /// It took too long.
    TooLong,
    /// The process drains, and there are still none.
    Draining,
}

async fn first_bytes(stream: &TcpStream, patience: Patience<'_>) -> io::Result<First> {
    let too_long = async {
        match patience.first_byte {
            None => std::future::pending().await,
            Some(limit) => tokio::time::sleep(limit).await,
        }
    };
    let draining = async {
        patience.drain.triggered().await;
        tokio::time::sleep(DRAIN_GRACE).await;
    };
    let reading = async {
        loop {
            stream.readable().await?;
            let mut buffer = BytesMut::with_capacity(FIRST_READ);
            match stream.try_read_buf(&mut buffer) {
                Ok(0) => return Ok(First::Closed),
                Ok(_) => return Ok(First::Bytes(buffer)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    };
    tokio::select! {
        biased;
        first = reading => first,
        () = too_long => Ok(First::TooLong),
        () = draining => Ok(First::Draining),
    }
}

/// Appends what comes next; 0 at the end.
async fn read_more(stream: &TcpStream, buffer: &mut BytesMut) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read_buf(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests;
