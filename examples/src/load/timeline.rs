//! When an answer's value was seen first and last: how long a change took to show.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use http::response;

/// The values of one response header over time. Clones share it.
#[derive(Debug, Clone)]
pub struct Timeline {
    header: &'static str,
    seen: Arc<Mutex<BTreeMap<String, (Instant, Instant)>>>,
}

impl Timeline {
    /// Watches this header.
    pub fn of(header: &'static str) -> Self {
        Self {
            header,
            seen: Arc::default(),
        }
    }

    /// Notes one answer; made to be called from a plan's check.
    pub fn note(&self, parts: &response::Parts, _body: &Bytes) {
        let now = Instant::now();
        let value = parts
            .headers
            .get(self.header)
            .and_then(|value| value.to_str().ok());
        let value = value.unwrap_or("-");
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_first, last)) = seen.get_mut(value) {
            *last = now;
        } else {
            seen.insert(value.to_owned(), (now, now));
        }
    }

    /// When a value was seen first.
    pub fn first(&self, value: &str) -> Option<Instant> {
        self.span(value).map(|(first, _last)| first)
    }

    /// When a value was seen last.
    pub fn last(&self, value: &str) -> Option<Instant> {
        self.span(value).map(|(_first, last)| last)
    }

    fn span(&self, value: &str) -> Option<(Instant, Instant)> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(value)
            .copied()
    }
}
