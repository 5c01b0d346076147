//! What a client may make us do beside serving its requests.
//!
//! Frames that carry nothing cost us as much as those that do. A client earns the right to send
//! them by requests and content, and gets some with time; who overdraws is told to calm down (RFC
//! 9113 section 10.5).

use std::cell::Cell;

use crate::http::frame::{FrameHead, Kind};

/// What a connection begins with.
const INITIAL: i32 = 1_000;
/// What it can have at most.
const MOST: i32 = 10_000;
/// What a second brings.
const PER_SECOND: i32 = 100;
/// What a request brings.
const REQUEST: i32 = 20;
/// What a frame of content brings that was received; and what each begun 4 KiB bring that were sent.
/// There are clients that give room for more after every 4 KiB, on the stream and on the connection,
/// and so pay two.
const RECEIVED: i32 = 1;
const SENT: i32 = 5;
const SENT_UNIT: usize = 4096;
/// What it costs to have settings looked at: each may concern every stream.
const SETTINGS: i32 = 10;
/// What it costs to break a request off before it was answered: all that the request brought, and
/// what had been done for it.
const BROKEN_OFF: i32 = 25;

/// Of what a client sent too much. Each is a reason with a counter of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Abuse {
    /// SETTINGS frames.
    Settings,
    /// PING frames, or answers to none.
    Ping,
    /// PRIORITY frames.
    Priority,
    /// `WINDOW_UPDATE` frames.
    WindowUpdate,
    /// `RST_STREAM` frames, or requests broken off at once.
    Reset,
    /// DATA frames without data.
    EmptyData,
    /// CONTINUATION frames.
    Continuation,
    /// Requests broken off before they were looked at, or parts of a head.
    Limits,
    /// Frames of no known kind, or of one that clients do not send.
    Unknown,
}

impl Abuse {
    /// The reason as metrics have it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Ping => "ping",
            Self::Priority => "priority",
            Self::WindowUpdate => "window_update",
            Self::Reset => "reset",
            Self::EmptyData => "empty_data",
            Self::Continuation => "continuation",
            Self::Limits => "limits",
            Self::Unknown => "unknown",
        }
    }
}

/// What a client has left.
#[derive(Debug)]
pub(super) struct Credit {
    left: Cell<i32>,
    /// The second for which it last got some.
    filled: Cell<u32>,
}

impl Credit {
    pub(super) fn new(now: u32) -> Self {
        Self {
            left: Cell::new(INITIAL),
            filled: Cell::new(now),
        }
    }

    /// Takes a frame into account that arrived in second `now`.
    pub(super) fn frame(&self, head: FrameHead, now: u32) -> Result<(), Abuse> {
        let (cost, abuse) = match head.kind {
            Kind::Headers => {
                self.earn(REQUEST);
                return Ok(());
            }
            Kind::Data if head.length > 0 || head.ends_stream() => {
                self.earn(RECEIVED);
                return Ok(());
            }
            Kind::Data => (1, Abuse::EmptyData),
            Kind::Settings if head.is_ack() => (1, Abuse::Settings),
            Kind::Settings => (SETTINGS, Abuse::Settings),
            Kind::Ping => (1, Abuse::Ping),
            Kind::Priority => (1, Abuse::Priority),
            Kind::WindowUpdate => (1, Abuse::WindowUpdate),
            Kind::Reset => (1, Abuse::Reset),
            Kind::Continuation => (1, Abuse::Continuation),
            Kind::PushPromise | Kind::GoAway | Kind::Unknown => (1, Abuse::Unknown),
        };
        self.spend(cost, abuse, now)
    }

    /// So many bytes of content were sent.
    pub(super) fn sent(&self, length: usize) {
        let units = i32::try_from(length / SENT_UNIT + 1).unwrap_or(MOST);
        self.earn(units.saturating_mul(SENT));
    }

    /// A request was broken off before it was answered.
    pub(super) fn broken_off(&self, now: u32) -> Result<(), Abuse> {
        self.spend(BROKEN_OFF, Abuse::Reset, now)
    }

    fn earn(&self, credit: i32) {
        self.left
            .set(self.left.get().saturating_add(credit).min(MOST));
    }

    fn spend(&self, cost: i32, abuse: Abuse, now: u32) -> Result<(), Abuse> {
        let passed = now.wrapping_sub(self.filled.replace(now));
        if passed > 0 {
            let seconds = i32::try_from(passed.min(1_000)).unwrap_or(1_000);
            self.earn(seconds * PER_SECOND);
        }
        let left = self.left.get() - cost;
        self.left.set(left.max(0));
        if left < 0 { Err(abuse) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u8, length: u8) -> FrameHead {
        FrameHead::parse(&[0, 0, length, kind, 0, 0, 0, 0, 1]).unwrap()
    }

    #[test]
    fn who_only_sends_what_carries_nothing_is_stopped_and_who_works_is_not() {
        for (kind, length, abuse, most) in [
            (0, 0, Abuse::EmptyData, 1_000),
            (2, 5, Abuse::Priority, 1_000),
            (3, 4, Abuse::Reset, 1_000),
            (4, 6, Abuse::Settings, 100),
            (6, 8, Abuse::Ping, 1_000),
            (8, 4, Abuse::WindowUpdate, 1_000),
            (9, 1, Abuse::Continuation, 1_000),
            (77, 1, Abuse::Unknown, 1_000),
        ] {
            let credit = Credit::new(1);
            let passed = (0..2_000)
                .find(|_| credit.frame(head(kind, length), 1) == Err(abuse))
                .unwrap();
            assert_eq!(passed, most, "{abuse:?}");
            // A second later it gets some more.
            assert_eq!(credit.frame(head(kind, length), 2), Ok(()), "{abuse:?}");
        }
        let credit = Credit::new(1);
        for _ in 0..100_000 {
            credit.frame(head(1, 20), 1).unwrap();
            for _ in 0..20 {
                credit.frame(head(8, 4), 1).unwrap();
            }
        }
    }

    #[test]
    fn whoever_breaks_all_off_is_stopped_and_who_breaks_off_half_is_not() {
        let credit = Credit::new(1);
        let all = (0..2_000).find(|_| {
            credit.frame(head(1, 20), 1).unwrap();
            credit.broken_off(1).is_err()
        });
        assert_eq!(all, Some(200));
        let credit = Credit::new(1);
        for _ in 0..100_000 {
            credit.frame(head(1, 20), 1).unwrap();
            credit.frame(head(1, 20), 1).unwrap();
            credit.broken_off(1).unwrap();
        }
    }
}
