//! Interim answers on their way from an upstream to a client, whichever HTTP each of them speaks.

use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use http::{HeaderMap, Response, StatusCode};
use parking_lot::Mutex;

use super::server_io::Talk;
use super::translate::interim;

/// Interim answers of one request may hold so many bytes; more are not relayed.
const MOST: usize = 32 * 1024;

/// Who tells a client what comes before its answer.
#[derive(Clone, Debug)]
pub enum Interim {
    /// The stream of an HTTP/1 connection.
    Http1(Arc<Talk>),
    /// One stream of HTTP/2.
    Http2(Arc<Early>),
}

impl Interim {
    /// The upstream said something before its answer: that goes on to the client.
    pub fn tell(&self, status: StatusCode, headers: &HeaderMap) {
        match self {
            Self::Http1(talk) => talk.interim(status, headers),
            Self::Http2(early) => early.say(status, headers),
        }
    }
}

/// What a client of HTTP/2 is told before its answer. Only the worker's thread uses it; the types
/// hyper asks for are those of threads.
#[derive(Default)]
pub struct Early {
    words: Mutex<Words>,
}

#[derive(Default)]
struct Words {
    waiting: Vec<Response<()>>,
    /// Bytes said so far.
    said: usize,
    waker: Option<Waker>,
}

impl fmt::Debug for Early {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Early").finish_non_exhaustive()
    }
}

impl Early {
    fn say(&self, status: StatusCode, headers: &HeaderMap) {
        let Some(answer) = interim::message(status, headers) else {
            return;
        };
        let fields = answer.headers().iter();
        let size: usize = fields
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        let mut words = self.words.lock();
        words.said = words.said.saturating_add(size);
        if words.said > MOST {
            return;
        }
        words.waiting.push(answer);
        if let Some(waker) = words.waker.take() {
            waker.wake();
        }
    }

    /// What waits to be sent. `waker` is woken when there is more.
    pub fn take(&self, waker: &Waker) -> Vec<Response<()>> {
        let mut words = self.words.lock();
        if words.waker.is_none() {
            words.waker = Some(waker.clone());
        }
        std::mem::take(&mut words.waiting)
    }
}
