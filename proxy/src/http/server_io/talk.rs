//! What those who serve an HTTP/1 connection tell its stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;

use http::{HeaderMap, StatusCode, Version};
use parking_lot::Mutex;

use super::refusal::Refusal;
use crate::http::translate::interim;

/// Interim answers that wait to be written may hold so many bytes; more are not relayed.
const MOST: usize = 32 * 1024;

/// A length that was not declared.
const UNKNOWN: u64 = u64::MAX;

/// Where the exchange on a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// No request, or not yet a whole head of one.
    Idle,
    /// A request waits for its answer.
    Waiting,
    /// The same, of a client that knows no interim answers: HTTP/1.0.
    WaitingOld,
    /// An answer is being sent.
    Answering,
    /// The connection speaks something else from now on.
    Over,
}

/// What the stream of a connection is told about its requests. Only the worker's thread uses it;
/// the types hyper asks for are those of threads.
#[derive(Debug, Default)]
pub struct Talk {
    phase: AtomicU8,
    has_interim: AtomicBool,
    has_farewell: AtomicBool,
    said: AtomicBool,
    registered: AtomicBool,
    /// Bytes of content that the request declared; [`UNKNOWN`] if it came in chunks.
    content: AtomicU64,
    words: Mutex<Words>,
}

#[derive(Debug, Default)]
struct Words {
    interim: Vec<u8>,
    refusal: Option<Refusal>,
    waker: Option<Waker>,
}

impl Talk {
    /// Of a connection without a request so far.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A request in this version arrived, with so much content, or (`None`) with chunks.
    pub fn asked(&self, version: Version, content: Option<u64>) {
        let content = content.unwrap_or(UNKNOWN);
        self.content.store(content, Ordering::Relaxed);
        let phase = if version >= Version::HTTP_11 {
            Phase::Waiting
        } else {
            Phase::WaitingOld
        };
        if self.has_interim() {
            self.take_interim();
        }
        self.set(phase);
    }

    /// Its answer is ready.
    pub fn answered(&self, status: StatusCode) {
        self.set(if status == StatusCode::SWITCHING_PROTOCOLS {
            Phase::Over
        } else {
            Phase::Answering
        });
    }

    /// The upstream said something before its answer: that goes on to the client.
    pub fn interim(&self, status: StatusCode, headers: &HeaderMap) {
        if self.phase() != Phase::Waiting {
            return;
        }
        let Some(head) = interim::head(status, headers) else {
            return;
        };
        let mut words = self.words.lock();
        if words.interim.len() + head.len() > MOST {
            return;
        }
        words.interim.extend_from_slice(&head);
        self.has_interim.store(true, Ordering::Relaxed);
        if let Some(waker) = &words.waker {
            waker.wake_by_ref();
        }
    }

    /// The client is told why it is not served, and the connection ended. The connection is to be
    /// polled for that.
    pub fn end(&self, refusal: Refusal) {
        self.refuse(refusal);
        self.has_farewell.store(true, Ordering::Relaxed);
    }

    /// Why the client was not served, if it was told.
    pub fn refusal(&self) -> Option<Refusal> {
        self.words.lock().refusal
    }

    pub(super) fn refuse(&self, refusal: Refusal) {
        self.words.lock().refusal = Some(refusal);
    }

    pub(super) fn farewell(&self) -> Option<Refusal> {
        let leaves = self.has_farewell.load(Ordering::Relaxed);
        leaves.then(|| self.refusal()).flatten()
    }

    /// What the last request declared to bring.
    pub(super) fn content(&self) -> Option<u64> {
        let content = self.content.load(Ordering::Relaxed);
        (content != UNKNOWN).then_some(content)
    }

    pub(super) fn is_said(&self) -> bool {
        self.said.load(Ordering::Relaxed)
    }

    pub(super) fn said(&self) {
        self.said.store(true, Ordering::Relaxed);
    }

    pub(super) fn rest(&self) {
        self.set(Phase::Idle);
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Waiting,
            2 => Phase::WaitingOld,
            3 => Phase::Answering,
            _ => Phase::Over,
        }
    }

    fn set(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(super) fn has_interim(&self) -> bool {
        self.has_interim.load(Ordering::Relaxed)
    }

    pub(super) fn take_interim(&self) -> Vec<u8> {
        self.has_interim.store(false, Ordering::Relaxed);
        std::mem::take(&mut self.words.lock().interim)
    }

    /// Whom to wake when there is something to write. Once is enough: a connection's task keeps its
    /// waker.
    pub(super) fn register(&self, waker: &Waker) {
        if !self.registered.swap(true, Ordering::Relaxed) {
            self.words.lock().waker = Some(waker.clone());
        }
    }
}
