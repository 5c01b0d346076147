//! Interim answers (RFC 9110 section 15.2) of an HTTP/1.1 upstream, heard on their way to hyper,
//! which passes over them.
//!
//! hyper can be asked to call back instead, at the price of three allocations for every request.
//! Hardly any answer has one before it, and a look at the first digit of its status tells.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::early::Interim;

/// Bytes of heads before an answer that are looked at; hyper gives up at about as many.
const MOST: usize = 64 * 1024;
/// Fields of one of these heads; one with more is not relayed.
const MOST_FIELDS: usize = 64;
/// Where the first digit of an answer's status is: after `HTTP/1.1 `.
const STATUS: usize = 9;

/// Who is told what comes before the next answer of a connection.
#[derive(Debug, Default)]
pub struct Ear(Mutex<Option<Interim>>);

impl Ear {
    /// A request goes out: until its answer begins, `interim` is told.
    pub fn listen(&self, interim: Option<&Interim>) {
        *self.0.lock() = interim.cloned();
    }
}

/// A stream on which interim answers are heard.
#[derive(Debug)]
pub(super) struct Heard<IO> {
    io: IO,
    ear: Arc<Ear>,
    /// What has come of heads that are not whole yet.
    part: Vec<u8>,
}

impl<IO> Heard<IO> {
    pub(super) fn new(io: IO, ear: &Arc<Ear>) -> Self {
        Self {
            io,
            ear: Arc::clone(ear),
            part: Vec::new(),
        }
    }

    fn hear(&mut self, fresh: &[u8]) {
        let mut listener = self.ear.0.lock();
        let Some(interim) = &*listener else {
            return;
        };
        if !self.part.is_empty() || !begins_answer(fresh) {
            self.part.extend_from_slice(fresh);
            loop {
                match Head::read(&self.part) {
                    Head::Interim(status, fields, length) => {
                        interim.tell(status, &fields);
                        self.part.drain(..length);
                    }
                    Head::Unfinished if self.part.len() <= MOST => return,
                    Head::Unfinished | Head::Other => break,
                }
            }
            self.part = Vec::new();
        }
        *listener = None;
    }
}

/// Whether these bytes begin an answer that is not an interim one. Where they might not, a closer
/// look does no harm.
fn begins_answer(bytes: &[u8]) -> bool {
    let status = bytes.get(STATUS);
    bytes.starts_with(b"HTTP/") && status.is_some_and(|digit| (b'2'..=b'5').contains(digit))
}

/// What a stream begins with.
#[derive(Debug, PartialEq)]
enum Head {
    /// An interim answer, of so many bytes.
    Interim(StatusCode, HeaderMap, usize),
    /// Too little to tell.
    Unfinished,
    /// An answer, an upgrade, or nonsense: hyper's.
    Other,
}

impl Head {
    fn read(bytes: &[u8]) -> Self {
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        let length = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Self::Unfinished,
            Err(_unreadable) => return Self::Other,
        };
        let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
        match status {
            Some(status)
                if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS =>
            {
                let fields = head.headers.iter().filter_map(|field| {
                    let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
                    Some((name, HeaderValue::from_bytes(field.value).ok()?))
                });
                let mut map = HeaderMap::new();
                for (name, value) in fields {
                    map.append(name, value);
                }
                Self::Interim(status, map, length)
            }
            Some(_) | None => Self::Other,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Heard<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(context, buffer))?;
        this.hear(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Heard<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(context, data)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::http::early::Early;

    const EARLY: &[u8] = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    /// The statuses heard when these pieces are read one by one, and whether somebody still listens.
    fn heard(pieces: &[&[u8]]) -> (Vec<u16>, bool) {
        let (ear, early) = (Arc::<Ear>::default(), Arc::<Early>::default());
        ear.listen(Some(&Interim::Http2(Arc::clone(&early))));
        let mut stream = Heard::new((), &ear);
        for piece in pieces {
            stream.hear(piece);
        }
        let said = early.take(Waker::noop());
        let statuses = said.iter().map(|answer| answer.status().as_u16());
        let listening = ear.0.lock().is_some();
        (statuses.collect(), listening)
    }

    #[test]
    fn what_comes_before_an_answer_is_heard_wherever_it_is_cut() {
        // 100 is of this hop alone, and is not told further.
        let all = [CONTINUE, EARLY, EARLY, ANSWER].concat();
        for cut in 0..all.len() {
            let (one, other) = all.split_at(cut);
            assert_eq!(heard(&[one, other]), (vec![103, 103], false), "{cut}");
        }
        let single: Vec<&[u8]> = all.chunks(1).collect();
        assert_eq!(heard(&single), (vec![103, 103], false));
    }

    #[test]
    fn an_answer_ends_it() {
        assert_eq!(heard(&[ANSWER, EARLY]), (vec![], false));
        assert_eq!(heard(&[EARLY]), (vec![103], true));
        let upgrade = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
        assert_eq!(heard(&[upgrade, EARLY]), (vec![], false));
        assert_eq!(heard(&[b"SSH-2.0-1 it is\r\n", EARLY]), (vec![], false));
    }

    #[test]
    fn nobody_keeps_a_head_without_an_end() {
        let mut pieces: Vec<&[u8]> = vec![b"HTTP/1.1 103 Early Hints\r\n"];
        pieces.resize(MOST / 8, b"a: bcd\r\n");
        pieces.push(EARLY);
        assert!(!heard(&pieces).1);
    }
}
