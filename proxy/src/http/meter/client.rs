//! A peer that is a client: what it may send is bounded, and it is watched whether it takes what lies
//! ready.

use std::io;
use std::sync::Arc;
use std::task::Poll;

use super::credit::{Abuse, Credit};
use crate::http::frame::FrameHead;
use crate::net::connections::{ConnectionWatch, Verdict};

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    watch: Arc<ConnectionWatch>,
    credit: Credit,
}

impl Client {
    pub(super) fn new(watch: &Arc<ConnectionWatch>) -> Self {
        Self {
            credit: Credit::new(watch.now()),
            watch: Arc::clone(watch),
        }
    }

    pub(super) fn now(&self) -> u32 {
        self.watch.now()
    }

    pub(super) fn sent(&self, length: usize) {
        self.credit.sent(length);
    }

    pub(super) fn frame(&self, head: FrameHead) -> Result<(), Abuse> {
        self.credit.frame(head, self.now())
    }

    /// It broke a request off that began in second `begun`.
    pub(super) fn broken_off(&self, begun: u32) -> Result<(), Abuse> {
        let now = self.now();
        if now.wrapping_sub(begun) > 1 {
            // Who has waited for that long has a reason.
            return Ok(());
        }
        self.credit.broken_off(now)
    }

    pub(super) fn wrote(&self, written: &Poll<io::Result<usize>>) {
        self.watch.wrote(written);
    }

    /// Whether it is not ended because it had nothing to do: then nothing of it is on its way.
    pub(super) fn is_at_work(&self) -> bool {
        self.watch.verdict() != Verdict::Idle
    }
}
