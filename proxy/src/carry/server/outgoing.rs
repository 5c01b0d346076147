//! An answer's body as the client gets it: counted for as long as it is held, and not read from the
//! upstream while the client has enough lying ready.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

use crate::carry::response::ResponseBody;
use crate::http::body::BodyError;
use crate::http::outbox::{Chunk, Lane, Outbox};

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Outgoing {
    body: ResponseBody,
    lane: Rc<Lane>,
}

impl Outgoing {
    pub(super) fn new(body: ResponseBody, outbox: &Rc<Outbox>) -> Self {
        Self {
            body,
            lane: Lane::new(outbox),
        }
    }

    /// Whether the answer's deadline passed. To be asked while the client is waited for; whoever
    /// asks is woken when it passes.
    pub(super) fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<BodyError> {
        self.body.poll_late(context)
    }

    /// The client took nothing for too long.
    pub(super) fn stalled(&mut self) {
        self.body.stalled();
    }
}

impl Body for Outgoing {
    type Data = Chunk;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, BodyError>>> {
        let this = self.get_mut();
        if this.lane.poll_room(context).is_pending() {
            return this.poll_late(context).map(|late| Some(Err(late)));
        }
        let lane = &this.lane;
        let frame = Pin::new(&mut this.body).poll_frame(context);
        frame.map_ok(|frame| frame.map_data(|data| lane.hold(data)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
