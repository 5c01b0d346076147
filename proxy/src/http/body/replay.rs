//! A request body that can be sent again: what went by is kept, up to a limit.
//!
//! The body streams through while it is kept, so that the first attempt waits for nothing. Past
//! the limit, its own or that of all copies together, what was kept is dropped and the request is no
//! longer tried again.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::{BodyError, Source};
use crate::http::outbox::{Buffers, Held};

/// The most that is kept of one request.
pub const LIMIT: usize = 1 << 20;

/// What all attempts of one request share.
struct Kept {
    source: Source,
    chunks: Vec<Bytes>,
    size: usize,
    /// The chunks, as the process counts them.
    held: Held,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// Too much, or broken off: there is no second attempt.
    lost: bool,
    /// The attempt that may read; earlier ones may still be lying around in a connection.
    attempt: u32,
    declared: SizeHint,
}

/// One attempt's view of the body.
pub struct Replay {
    kept: Rc<RefCell<Kept>>,
    attempt: u32,
    next: usize,
    trailers_sent: bool,
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("attempt", &self.attempt)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Replay {
    /// The first attempt's view. What is kept counts towards `budget`.
    pub fn new(source: Source, budget: &Rc<Buffers>) -> Self {
        let declared = source.hint();
        // A body that will be too large is not kept to begin with.
        let limit = u64::try_from(LIMIT).unwrap_or(u64::MAX);
        let lost = declared.lower() > limit;
        let kept = Kept {
            source,
            chunks: Vec::new(),
            size: 0,
            held: Held::new(budget),
            trailers: None,
            ended: false,
            lost,
            attempt: 0,
            declared,
        };
        Self {
            kept: Rc::new(RefCell::new(kept)),
            attempt: 0,
            next: 0,
            trailers_sent: false,
        }
    }

    /// Something another attempt's view can be made of later.
    pub fn keeper(&self) -> ReplayKeeper {
        ReplayKeeper(Rc::clone(&self.kept))
    }

    /// Reads on: first what was kept, then the client's.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut kept = self.kept.borrow_mut();
        if kept.attempt != self.attempt {
            return Poll::Ready(Some(Err(BodyError::Superseded)));
        }
        if let Some(chunk) = kept.chunks.get(self.next) {
            self.next += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if kept.ended {
            if !self.trailers_sent
                && let Some(trailers) = kept.trailers.clone()
            {
                self.trailers_sent = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            return Poll::Ready(None);
        }
        let read = std::task::ready!(kept.source.poll_read(context));
        match &read {
            None => kept.ended = true,
            Some(Err(_)) => kept.lost = true,
            Some(Ok(frame)) => {
                if kept.keep(frame) {
                    self.next += 1;
                }
                if frame.is_trailers() {
                    self.trailers_sent = true;
                }
                if kept.source.is_end() {
                    kept.ended = true;
                }
            }
        }
        Poll::Ready(read)
    }

    /// Whether everything was read.
    pub fn is_end(&self) -> bool {
        let kept = self.kept.borrow();
        kept.ended
            && self.next >= kept.chunks.len()
            && (self.trailers_sent || kept.trailers.is_none())
    }

    /// How much is still to come.
    pub fn hint(&self) -> SizeHint {
        let kept = self.kept.borrow();
        if self.next == 0 {
            return kept.declared;
        }
        if kept.lost {
            return kept.source.hint();
        }
        let unread = kept.chunks.get(self.next..).unwrap_or_default();
        let unread: u64 = unread.iter().map(|chunk| chunk.len() as u64).sum();
        let rest = kept.source.hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + unread);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + unread);
        }
        hint
    }
}

impl Kept {
    /// Keeps a frame; `false` if it is not kept as a chunk.
    fn keep(&mut self, frame: &Frame<Bytes>) -> bool {
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
            return false;
        }
        let Some(data) = frame.data_ref().filter(|_| !self.lost) else {
            return false;
        };
        self.size += data.len();
        if self.size > LIMIT || !self.held.grow(data.len()) {
            self.lost = true;
            // Frees the memory at once.
            self.chunks = Vec::new();
            self.held.clear();
            return false;
        }
        self.chunks.push(data.clone());
        true
    }
}

/// Makes the next attempt's view of a body.
pub struct ReplayKeeper(Rc<RefCell<Kept>>);

impl fmt::Debug for ReplayKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayKeeper").finish_non_exhaustive()
    }
}

impl ReplayKeeper {
    /// Whether the body can be sent again.
    pub fn is_whole(&self) -> bool {
        !self.0.borrow().lost
    }

    /// The next attempt's view; earlier ones break off. `None` if too much went by.
    pub fn again(&self) -> Option<Replay> {
        let mut kept = self.0.borrow_mut();
        if kept.lost {
            return None;
        }
        kept.attempt += 1;
        Some(Replay {
            kept: Rc::clone(&self.0),
            attempt: kept.attempt,
            next: 0,
            trailers_sent: false,
        })
    }
}
