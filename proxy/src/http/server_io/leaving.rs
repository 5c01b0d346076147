//! A client that sends nothing more while it waits: has it said all it wanted to say, or has it
//! left? TCP says the same in both cases, and only an answer to something we send tells.
//!
//! Most answers are there before it matters. After a moment the client is sent `100 Continue`, which
//! a client that waits passes over (RFC 9110 section 15.2.1), and which makes the system of one that
//! has left reset the connection; the next write finds that out. Clients of HTTP/1.0 know no interim
//! answers, and in the middle of an answer there is no place for one: there the client counts as
//! gone when nothing could be written to it for as long as its own system would remember the
//! connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::talk::Phase;

/// What is sent to find out.
pub(super) const QUESTION: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// When it is sent, each time since the last time. The second one tells what became of the first,
/// the third of one that came from far away.
const ASK: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(50),
    Duration::from_millis(500),
    Duration::from_secs(3),
    Duration::from_secs(15),
];

/// How long a system remembers a connection that its program has closed (`tcp_fin_timeout`).
const FORGOTTEN: Duration = Duration::from_mins(1);

/// A client that has sent its last byte.
#[derive(Debug)]
pub(super) struct Leaving {
    timer: Pin<Box<Sleep>>,
    asked: usize,
    moved: Instant,
}

impl Default for Leaving {
    fn default() -> Self {
        Self {
            timer: Box::pin(tokio::time::sleep(ASK[0])),
            asked: 0,
            moved: Instant::now(),
        }
    }
}

impl Leaving {
    /// Whether it is time to look.
    pub(super) fn is_due(&mut self, context: &mut Context<'_>) -> bool {
        matches!(self.timer.as_mut().poll(context), Poll::Ready(()))
    }

    /// Whether the question may be sent now.
    pub(super) fn may_ask(&self, phase: Phase) -> bool {
        phase == Phase::Waiting && self.asked < ASK.len()
    }

    /// Whether the client counts as gone.
    pub(super) fn is_given_up(&self, phase: Phase) -> bool {
        phase != Phase::Waiting && self.moved.elapsed() >= FORGOTTEN
    }

    /// Looks again later.
    pub(super) fn rest(&mut self) {
        self.asked = self.asked.saturating_add(1);
        let next = ASK.get(self.asked).copied().unwrap_or(FORGOTTEN);
        self.timer.as_mut().reset(Instant::now() + next);
    }

    /// Something could be written.
    pub(super) fn moved(&mut self) {
        self.moved = Instant::now();
    }
}
