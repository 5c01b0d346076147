//! A request's body: read from the client once, perhaps kept for another attempt, perhaps copied
//! to a mirror.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, Sleep};

use super::replay::Replay;
use super::{BodyError, ClientBody};
use crate::http::headers::strip_trailers;
use crate::http::outbox::{Buffers, Held};
use crate::telemetry::record::BodyMeter;

/// Frames a mirror may lag behind before it is given up.
const MIRROR_LAG: usize = 64;

/// The body of a request to an upstream.
#[derive(Debug)]
pub enum RequestBody {
    /// None.
    Empty,
    /// Straight from the client.
    Stream(Box<Source>),
    /// Kept as it goes by, so that it can be sent again.
    Replay(Replay),
    /// A copy of what another body sends.
    Tap(BodyTap),
}

/// When the whole request had been received: the request's timeout begins then.
#[derive(Debug, Default)]
pub struct Progress {
    received: Cell<Option<Instant>>,
    changed: Notify,
}

impl Progress {
    /// Waits for the end of the request.
    pub async fn received(&self) -> Instant {
        loop {
            let changed = self.changed.notified();
            if let Some(received) = self.received.get() {
                return received;
            }
            changed.await;
        }
    }

    /// When the whole request had been received, if it has.
    pub fn ended(&self) -> Option<Instant> {
        self.received.get()
    }

    /// The request is complete.
    pub fn complete(&self) {
        if self.received.get().is_none() {
            self.received.set(Some(Instant::now()));
            self.changed.notify_waiters();
        }
    }
}

/// What the client sends, counted.
pub struct Source {
    incoming: ClientBody,
    meter: Rc<BodyMeter>,
    progress: Option<Rc<Progress>>,
    /// How long the client may send nothing.
    patience: Duration,
    /// Runs while it sends nothing; not there before it first does.
    silence: Option<Pin<Box<Sleep>>>,
    /// Whether the time it has been silent for is being measured.
    silent: bool,
    mirrors: Vec<Mirror>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

impl Source {
    /// The body as it comes from the client; it is counted in `meter`. A client that sends nothing
    /// for as long as `patience` has broken off.
    pub fn new(
        incoming: ClientBody,
        meter: Rc<BodyMeter>,
        progress: Option<Rc<Progress>>,
        patience: Duration,
    ) -> Self {
        Self {
            incoming,
            meter,
            progress,
            patience,
            silence: None,
            silent: false,
            mirrors: Vec::new(),
        }
    }

    /// A copy of everything that will be read. If its reader falls behind, or too much is held in
    /// memory, it breaks off.
    pub fn tap(&mut self, budget: &Rc<Buffers>) -> BodyTap {
        let (frames, receiver) = mpsc::channel(MIRROR_LAG);
        let budget = Rc::clone(budget);
        self.mirrors.push(Mirror { frames, budget });
        BodyTap {
            frames: receiver,
            hint: self.incoming.size_hint(),
        }
    }

    /// Reads on.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(mut frame) = Pin::new(&mut self.incoming).poll_frame(context) else {
            std::task::ready!(self.poll_silence(context));
            return Poll::Ready(Some(Err(BodyError::Timeout)));
        };
        self.silent = false;
        match &mut frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.meter.chunk(data);
                } else if let Some(trailers) = frame.trailers_mut() {
                    strip_trailers(trailers);
                }
                self.copy(frame);
                if self.incoming.is_end_stream() {
                    self.complete();
                }
            }
            None => self.complete(),
            Some(Err(_)) => {}
        }
        Poll::Ready(frame)
    }

    /// Whether the client has sent nothing for too long.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let patience = self.patience;
        let silence = self
            .silence
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        if !std::mem::replace(&mut self.silent, true) {
            silence.as_mut().reset(Instant::now() + patience);
        }
        silence.as_mut().poll(context)
    }

    /// Whether everything was read.
    pub fn is_end(&self) -> bool {
        self.incoming.is_end_stream()
    }

    /// How much is still to come.
    pub fn hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }

    fn complete(&mut self) {
        self.mirrors.clear();
        if let Some(progress) = &self.progress {
            progress.complete();
        }
    }

    fn copy(&mut self, frame: &Frame<Bytes>) {
        if self.mirrors.is_empty() {
            return;
        }
        self.mirrors.retain(|mirror| mirror.copy(frame));
    }
}

/// Where copies of frames go, and the budget they count towards.
struct Mirror {
    frames: mpsc::Sender<(Frame<Bytes>, Held)>,
    budget: Rc<Buffers>,
}

impl Mirror {
    /// Whether the copy keeps up.
    fn copy(&self, frame: &Frame<Bytes>) -> bool {
        let copy = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Frame::data(data.clone()),
            (None, Some(trailers)) => Frame::trailers(trailers.clone()),
            (None, None) => return true,
        };
        let mut held = Held::new(&self.budget);
        let fits = held.grow(frame.data_ref().map_or(0, Bytes::len));
        fits && self.frames.try_send((copy, held)).is_ok()
    }
}

/// A copy of another body. It ends early, visibly if a length was declared, when it cannot keep
/// up.
#[derive(Debug)]
pub struct BodyTap {
    frames: mpsc::Receiver<(Frame<Bytes>, Held)>,
    hint: SizeHint,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Stream(source) => source.poll_read(context),
            Self::Replay(replay) => replay.poll_read(context),
            Self::Tap(tap) => {
                let frame = std::task::ready!(tap.frames.poll_recv(context));
                Poll::Ready(frame.map(|(frame, _held)| Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Stream(source) => source.is_end(),
            Self::Replay(replay) => replay.is_end(),
            Self::Tap(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Stream(source) => source.hint(),
            Self::Replay(replay) => replay.hint(),
            Self::Tap(tap) => tap.hint,
        }
    }
}
