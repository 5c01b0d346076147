//! Memory per connection that is there and asks for nothing, or for too much.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::backend::{LARGE, SMALL, WHOLE_BODY};
use super::frames;
use super::subject::{HOST, Running};

/// How a connection is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    /// HTTP/1.1, after one answered request
    IdleHttp1,
    /// HTTP/2, after one answered request
    IdleHttp2,
    /// Half a head
    SlowHead,
    /// A head, and one byte of its body
    SlowBody,
    /// A large answer over HTTP/1.1 that nobody reads
    SlowReaderHttp1,
    /// A large answer over HTTP/2 that nobody reads, with all the window it could use
    SlowReaderHttp2,
}

impl Kind {
    /// The column's head.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::IdleHttp1 => "idle h1",
            Self::IdleHttp2 => "idle h2",
            Self::SlowHead => "head",
            Self::SlowBody => "body",
            Self::SlowReaderHttp1 => "reader h1",
            Self::SlowReaderHttp2 => "reader h2",
        }
    }

    /// Opens one connection and brings it there.
    pub(super) fn open(self, proxy: &Running) -> Result<TcpStream> {
        let address = match self {
            Self::IdleHttp2 | Self::SlowReaderHttp2 => proxy.http2(),
            Self::IdleHttp1 | Self::SlowHead | Self::SlowBody | Self::SlowReaderHttp1 => {
                proxy.http1()
            }
        };
        let mut stream = TcpStream::connect(address).context(address)?;
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .context("time limit of a socket")?;
        self.hold(&mut stream)
            .with_context(|| format!("a connection ({}) to {address}", self.title()))?;
        Ok(stream)
    }

    fn hold(self, stream: &mut TcpStream) -> Result<()> {
        match self {
            Self::IdleHttp1 => {
                write!(stream, "GET {SMALL} HTTP/1.1\r\nhost: {HOST}\r\n\r\n")?;
                read_answer(stream)
            }
            Self::SlowHead => Ok(write!(
                stream,
                "GET {SMALL} HTTP/1.1\r\nhost: {HOST}\r\nx-half:"
            )?),
            Self::SlowBody => Ok(write!(
                stream,
                "POST {WHOLE_BODY} HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 100000\r\n\r\nx"
            )?),
            Self::SlowReaderHttp1 => Ok(write!(
                stream,
                "GET {LARGE} HTTP/1.1\r\nhost: {HOST}\r\n\r\n"
            )?),
            Self::IdleHttp2 => {
                stream.write_all(&frames::opening(frames::Window::Default))?;
                stream.write_all(&frames::get(HOST, SMALL))?;
                frames::read_to_end_of_stream(stream)
            }
            Self::SlowReaderHttp2 => {
                stream.write_all(&frames::opening(frames::Window::Largest))?;
                Ok(stream.write_all(&frames::get(HOST, LARGE))?)
            }
        }
    }
}

/// Reads one answer with a length.
fn read_answer(stream: &mut TcpStream) -> Result<()> {
    let (mut seen, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        if complete(&seen) {
            return Ok(());
        }
        match stream.read(&mut piece) {
            Ok(0) => bail!("the connection ended in the middle of an answer"),
            Ok(read) => seen.extend(piece.iter().take(read)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("no whole answer"),
        }
    }
}

/// Whether these are a head and all of the body that it promises.
fn complete(seen: &[u8]) -> bool {
    let text = String::from_utf8_lossy(seen);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let length = value.trim().parse::<usize>().ok()?;
        name.eq_ignore_ascii_case("content-length")
            .then_some(length)
    });
    length.is_some_and(|length| body.len() >= length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_body() {
        assert!(complete(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        assert!(!complete(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"));
        assert!(!complete(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"));
    }
}
