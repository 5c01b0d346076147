//! Drives a server connection to its end, with one eye on the clock, one on the drain and one on the
//! policy by which it is there.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use mesh_runtime::drain::{DrainWatch, Stage};
use tokio::time::{Instant, Sleep};

use super::{Ended, REVOKED, Stay};
use crate::http::server_io::Talk;
use crate::http::server_io::refusal::Refusal;
use crate::net::HttpVersion;
use crate::net::connections::{Seat, Verdict};

/// How long a connection without requests may take to end after its client was told.
const LEAVE: Duration = Duration::from_secs(5);

/// Drives a connection, and watches the clock and the drain beside it.
pub(super) struct Driver {
    /// The stream of an HTTP/1 connection.
    pub(super) talk: Option<std::sync::Arc<Talk>>,
    pub(super) seat: Seat,
    pub(super) drain: DrainWatch,
    pub(super) version: HttpVersion,
    pub(super) stay: Stay,
}

impl Driver {
    pub(super) async fn run<C, E>(mut self, connection: C, shut_down: fn(Pin<&mut C>)) -> Ended
    where
        C: Future<Output = Result<(), E>>,
        E: Into<Ended>,
    {
        let mut connection = std::pin::pin!(connection);
        let mut watched = self.stay.watch.take();
        let mut cut: Option<Pin<Box<Sleep>>> = None;
        // A client that does not answer the word that it is to go is not waited for.
        let mut leave: Option<Pin<Box<Sleep>>> = None;
        let mut seen = self.drain.stage();
        let mut next_stage = std::pin::pin!(self.drain.beyond(seen));
        let close_at = self.close_at(seen);
        let mut registered = false;
        let mut closing = false;
        let mut late = false;
        let talk = self.talk.take();
        let watch = self.seat.watch();
        std::future::poll_fn(|context: &mut Context<'_>| {
            match watch.verdict() {
                Verdict::HeadLate => {
                    // The stream tells the client, and ends.
                    if let Some(talk) = talk.as_ref().filter(|_| !late) {
                        talk.end(Refusal::HeadLate);
                    }
                    (late, closing) = (true, true);
                }
                Verdict::Stalled | Verdict::AnswerLate => return Poll::Ready(Ended::Stalled),
                Verdict::Idle if !closing => {
                    closing = true;
                    shut_down(connection.as_mut());
                    leave = Some(Box::pin(tokio::time::sleep(LEAVE)));
                }
                Verdict::Idle | Verdict::Fine => {}
            }
            if let Some(watched) = &mut watched
                && watched.lost(context).is_some()
            {
                // HTTP/2 says so (GOAWAY, RFC 9113 section 6.8), HTTP/1 closes between requests;
                // what is under way has a moment, then it is cut off with the connection.
                watch.revoke();
                cut.get_or_insert_with(|| Box::pin(tokio::time::sleep(REVOKED)));
                if !std::mem::replace(&mut closing, true) {
                    shut_down(connection.as_mut());
                }
            }
            if let Some(cut) = &mut cut
                && cut.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Ended::Revoked);
            }
            while let Some(leave) = &mut leave
                && leave.as_mut().poll(context).is_ready()
            {
                if !watch.is_answering() {
                    return Poll::Ready(Ended::Well);
                }
                leave.as_mut().reset(Instant::now() + LEAVE);
            }
            let stage = self.drain.stage();
            if !registered || stage > seen {
                // Once per stage is enough: this task keeps its waker.
                watch.wake(context.waker());
                while next_stage.as_mut().poll(context).is_ready() {
                    next_stage.set(self.drain.beyond(self.drain.stage()));
                }
                (registered, seen) = (true, stage);
            }
            // Before anything is closed, what has already arrived is read: it may be a request.
            let mut polled = connection.as_mut().poll(context);
            let leaves = stage >= close_at || self.is_being_refused();
            if polled.is_pending() && !closing && leaves && self.may_close() {
                closing = true;
                shut_down(connection.as_mut());
                polled = connection.as_mut().poll(context);
            }
            polled.map(|ended| {
                let ended = ended.map_or_else(E::into, |()| Ended::Well);
                // What the client was told, if anything, says more.
                let told = talk.as_ref().and_then(|talk| talk.refusal());
                told.map_or(ended, Ended::Refused)
            })
        })
        .await
    }

    /// When the connection is told to end. HTTP/2 has a word for it that costs no request
    /// (GOAWAY, RFC 9113 section 6.8), so a client is told as soon as it may go; one that comes
    /// after that does not know better yet, and is served until the drain starts. HTTP/1 has that
    /// word only in answers.
    fn close_at(&self, begun: Stage) -> Stage {
        match (self.version, begun) {
            (HttpVersion::Http2, Stage::Running) => Stage::Announced,
            (HttpVersion::Http1 | HttpVersion::Http2, _) => Stage::Triggered,
        }
    }

    /// Whether the client is to go because it was refused. An HTTP/2 client would take GOAWAY for an
    /// answer to the request it has not sent yet.
    fn is_being_refused(&self) -> bool {
        let asked = self.seat.watch().is_answering();
        self.stay.refused && (self.version == HttpVersion::Http1 || asked)
    }

    /// Whether hyper can be told to end without losing a request of which it knows a part.
    fn may_close(&self) -> bool {
        let watch = self.seat.watch();
        match self.version {
            HttpVersion::Http1 => watch.is_answering() || watch.is_between_requests(),
            HttpVersion::Http2 => true,
        }
    }
}

impl From<hyper::Error> for Ended {
    fn from(error: hyper::Error) -> Self {
        tracing::trace!(%error, "a downstream connection ended early");
        if error.is_parse() {
            Self::Refused(Refusal::Malformed)
        } else {
            Self::Broken
        }
    }
}
