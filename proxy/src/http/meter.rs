//! The frames of an HTTP/2 peer, seen before the library sees them.
//!
//! The library does what frames say, whatever that costs, and tells nobody how many there were.
//! This stands between it and the socket: it counts what carries nothing ([`credit`]), takes out
//! what is to be ignored anyway, joins small frames nobody reads ([`joining`]), and ends a turn
//! after so many frames, so that one connection cannot keep a worker from the others. What passes
//! is not copied.

mod client;
mod credit;
mod joining;
#[cfg(test)]
mod tests;
mod writing;

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};

use client::Client;
pub use credit::Abuse;
use joining::{Joining, LARGE, SMALL};

use super::frame::{FrameHead, HEAD, Kind, MAX_LENGTH, PREFACE};
use super::linger::Linger;
use crate::net::connections::ConnectionWatch;

/// Frames after which a connection gives its worker back.
const TURN: u32 = 128;
/// Bytes of a PING frame, and of a PRIORITY frame.
const PING: usize = 8;
const PRIORITY: usize = 5;
/// Answers to PING frames that may be ours while the connection is told to end. We send no others.
const GOODBYES: u8 = 4;

/// What is known about a connection's frames; shared by its stream and whoever drives it.
#[derive(Debug)]
pub struct Meter {
    /// Whoever is at the other end, if it is a client.
    client: Option<Client>,
    turn: Cell<u32>,
    abuse: Cell<Option<Abuse>>,
    goodbyes: Cell<u8>,
    joining: RefCell<Joining>,
    /// Whoever reads, if it waits.
    reader: RefCell<Option<Waker>>,
}

impl Meter {
    /// The meter of one client's connection.
    pub fn new(watch: &Arc<ConnectionWatch>) -> Rc<Self> {
        Self::of(Some(Client::new(watch)))
    }

    /// The meter of a connection to an upstream, which is chosen by configuration: its frames are
    /// joined and come in turns, but nothing is counted against it.
    pub fn of_upstream() -> Rc<Self> {
        Self::of(None)
    }

    fn of(client: Option<Client>) -> Rc<Self> {
        Rc::new(Self {
            client,
            turn: Cell::new(TURN),
            abuse: Cell::new(None),
            goodbyes: Cell::new(0),
            joining: RefCell::default(),
            reader: RefCell::default(),
        })
    }

    /// The connection's task has the worker.
    pub fn begin_turn(&self) {
        self.turn.set(TURN);
    }

    /// Of what the client sent too much, once it did: nothing more is read.
    pub fn abuse(&self) -> Option<Abuse> {
        self.abuse.get()
    }

    /// The library is about to ask, by a PING, whether everything it said has arrived.
    pub fn ending(&self) {
        self.goodbyes.set(GOODBYES);
    }

    /// So many bytes of content were sent to the client.
    pub fn sent(&self, length: usize) {
        if let Some(client) = &self.client {
            client.sent(length);
        }
    }

    /// The second it is for a client.
    pub fn now(&self) -> u32 {
        self.client.as_ref().map_or(0, Client::now)
    }

    /// The client broke a request off before it was answered, which began in second `begun`.
    pub fn broken_off(&self, begun: u32) {
        if let Some(client) = &self.client {
            self.note(client.broken_off(begun));
        }
        if self.abuse.get().is_some() {
            self.wake();
        }
    }

    /// A request has a body, which will be read.
    pub fn open(&self, stream: u32) {
        self.joining.borrow_mut().open(stream);
    }

    /// A frame of so many bytes was read from the body.
    pub fn read(&self, stream: u32, length: usize) {
        if length < SMALL && self.joining.borrow_mut().read(stream) {
            self.wake();
        }
    }

    /// Nobody reads the body any more.
    pub fn close(&self, stream: u32) {
        if self.joining.borrow_mut().close(stream) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(reader) = self.reader.borrow_mut().take() {
            reader.wake();
        }
    }

    fn note(&self, counted: Result<(), Abuse>) {
        if let Err(abuse) = counted {
            self.abuse.set(Some(abuse));
        }
    }

    /// Takes a frame into account.
    fn count(&self, head: FrameHead) {
        self.turn.set(self.turn.get().saturating_sub(1));
        if let Some(client) = &self.client {
            self.note(client.frame(head));
        }
    }
}

/// What becomes of a frame.
enum Fate {
    /// It passes.
    Pass,
    /// It is taken out.
    Drop,
    /// That depends on what is in it.
    Look,
}

/// A peer's stream of frames.
#[derive(Debug)]
pub struct Metered<IO> {
    io: IO,
    meter: Rc<Meter>,
    /// Bytes that still belong to a frame that passes, or is taken out.
    passing: usize,
    dropping: usize,
    /// What passed is a part of a head.
    in_head: bool,
    /// The beginning of a frame that is not decided on.
    begun: BytesMut,
    /// What passed and was not asked for yet.
    passed: BytesMut,
    /// The other end has sent its last byte.
    ended: bool,
    linger: Option<Box<Linger>>,
}

impl<IO> Metered<IO> {
    /// Measures `io`. A client begins with its preface; an upstream has none.
    pub fn new(io: IO, meter: &Rc<Meter>) -> Self {
        Self {
            io,
            passing: if meter.client.is_some() { PREFACE } else { 0 },
            meter: Rc::clone(meter),
            dropping: 0,
            in_head: false,
            begun: BytesMut::new(),
            passed: BytesMut::new(),
            ended: false,
            linger: None,
        }
    }

    fn fate(&self, head: FrameHead) -> Fate {
        if head.length > MAX_LENGTH {
            // Refused by the library, whatever it is: perhaps no frame at all.
            return Fate::Pass;
        }
        if self.in_head {
            // Nothing but the rest of the head may come here (RFC 9113 section 6.10); the library
            // ends the connection over anything else.
            return Fate::Pass;
        }
        match head.kind {
            Kind::Ping if head.length == PING => Fate::Look,
            // The library says what is wrong with it (RFC 9113 section 6.3).
            Kind::Priority if head.length != PRIORITY || head.stream == 0 => Fate::Pass,
            Kind::Priority => Fate::Look,
            // Not even its length matters to anybody.
            Kind::Unknown => Fate::Drop,
            Kind::Data if head.is_padded() || head.ends_stream() => Fate::Pass,
            // Means nothing, and costs the reader a turn.
            Kind::Data if head.length == 0 => Fate::Drop,
            Kind::Data if self.may_wait(head) => Fate::Look,
            Kind::Data
            | Kind::Headers
            | Kind::Reset
            | Kind::Settings
            | Kind::PushPromise
            | Kind::Ping
            | Kind::GoAway
            | Kind::WindowUpdate
            | Kind::Continuation => Fate::Pass,
        }
    }

    /// Whether a DATA frame may have to wait for others of its stream to be read.
    fn may_wait(&self, head: FrameHead) -> bool {
        let joining = self.meter.joining.borrow();
        !joining.is_idle()
            && (head.length < SMALL || (head.length < LARGE && joining.holds(head.stream)))
    }

    /// How many of these bytes pass as they are.
    fn scan(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        if !self.begun.is_empty() || self.dropping > 0 {
            return at;
        }
        loop {
            let step = self.passing.min(bytes.len() - at);
            at += step;
            self.passing -= step;
            let Some(head) = bytes.get(at..).and_then(FrameHead::parse) else {
                return at;
            };
            let plain = matches!(self.fate(head), Fate::Pass)
                && !self.meter.joining.borrow().holds(head.stream);
            if !plain || self.meter.abuse.get().is_some() {
                return at;
            }
            self.pass(head);
            self.passing = HEAD + head.length;
        }
    }

    /// Takes bytes one frame at a time; what passes is appended to what has passed.
    fn sort(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.meter.abuse.get().is_none() {
            if self.passing > 0 {
                let (pass, rest) = bytes.split_at(self.passing.min(bytes.len()));
                self.passed.extend_from_slice(pass);
                self.passing -= pass.len();
                bytes = rest;
            } else if self.dropping > 0 {
                let (gone, rest) = bytes.split_at(self.dropping.min(bytes.len()));
                self.dropping -= gone.len();
                bytes = rest;
            } else {
                bytes = self.begin(bytes);
            }
        }
    }

    /// Takes as much of a frame as is needed to decide on it; returns the rest.
    fn begin<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let needed = match FrameHead::parse(&self.begun) {
            None => HEAD,
            Some(head) => HEAD + head.length,
        };
        let missing = needed.saturating_sub(self.begun.len());
        let (more, rest) = bytes.split_at(missing.min(bytes.len()));
        self.begun.extend_from_slice(more);
        let Some(head) = FrameHead::parse(&self.begun) else {
            return rest;
        };
        match self.fate(head) {
            Fate::Pass => {
                self.pass(head);
                self.meter
                    .joining
                    .borrow_mut()
                    .pass(head.stream, &mut self.passed);
                self.passed.extend_from_slice(&self.begun);
                // More of it is here if it was to be looked at a moment ago.
                self.passing = (HEAD + head.length).saturating_sub(self.begun.len());
            }
            Fate::Drop => {
                self.meter.count(head);
                self.dropping = head.length;
            }
            Fate::Look if self.begun.len() < HEAD + head.length => return rest,
            Fate::Look => {
                self.meter.count(head);
                if self.goes_on(head) {
                    self.passed.extend_from_slice(&self.begun);
                }
            }
        }
        self.begun.clear();
        rest
    }

    /// Whether a whole frame passes as it is.
    fn goes_on(&mut self, head: FrameHead) -> bool {
        if head.kind == Kind::Data {
            let content = self.begun.get(HEAD..).unwrap_or_default();
            let mut joining = self.meter.joining.borrow_mut();
            return joining.came(head.stream, content, &mut self.passed);
        }
        if head.kind == Kind::Priority {
            return head.depends_on_itself(self.begun.get(HEAD..).unwrap_or_default());
        }
        if !head.is_ack() || self.meter.client.is_none() {
            return true;
        }
        let left = self.meter.goodbyes.get();
        self.meter.goodbyes.set(left.saturating_sub(1));
        left > 0
    }

    /// Whether a frame of another stream may follow what passed.
    fn is_between_frames(&self) -> bool {
        self.passing == 0 && !self.in_head
    }

    /// Takes a frame into account that passes.
    fn pass(&mut self, head: FrameHead) {
        self.meter.count(head);
        self.in_head = head.leaves_head_open();
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Metered<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.passed.is_empty() && this.is_between_frames() {
                let mut joining = this.meter.joining.borrow_mut();
                joining.pass_ready(&mut this.passed);
            }
            if !this.passed.is_empty() {
                let length = this.passed.len().min(buffer.remaining());
                buffer.put_slice(this.passed.get(..length).unwrap_or_default());
                this.passed.advance(length);
                if this.passed.is_empty() {
                    // Rare, so its room is not kept.
                    this.passed = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            if this.meter.abuse.get().is_some() {
                return Poll::Pending;
            }
            if this.meter.turn.get() == 0 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let before = buffer.filled().len();
            let read = Pin::new(&mut this.io).poll_read(context, buffer);
            if read.is_pending() && !this.meter.joining.borrow().is_idle() {
                *this.meter.reader.borrow_mut() = Some(context.waker().clone());
            }
            ready!(read)?;
            let came = buffer.filled().get(before..).unwrap_or_default();
            let (came_length, kept) = (came.len(), this.scan(came));
            if came_length == 0 {
                this.ended = true;
                return Poll::Ready(Ok(()));
            }
            if kept < came_length {
                this.sort(came.get(kept..).unwrap_or_default());
                buffer.set_filled(before + kept);
            }
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
