//! Waits for quiet: several changes that arrive together cost one compilation.
//!
//! A value, not a task: the caller says what time it is, so tests need no clock.

use std::time::Duration;

use tokio::time::Instant;

/// When the changes noted so far should be acted on.
#[derive(Clone, Copy, Debug)]
pub struct Debounce {
    quiet: Duration,
    longest: Duration,
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    first: Instant,
    last: Instant,
}

impl Debounce {
    /// Acts after `quiet` without a further change, and `longest` after the first at the latest.
    pub const fn new(quiet: Duration, longest: Duration) -> Self {
        Self {
            quiet,
            longest,
            waiting: None,
        }
    }

    /// A change arrived.
    pub fn note(&mut self, now: Instant) {
        let first = self.waiting.map_or(now, |waiting| waiting.first);
        self.waiting = Some(Waiting { first, last: now });
    }

    /// When to act; `None` if there is nothing to act on.
    pub fn due(&self) -> Option<Instant> {
        self.waiting
            .map(|waiting| (waiting.last + self.quiet).min(waiting.first + self.longest))
    }

    /// The changes were acted on; returns when the first of them arrived.
    pub fn take(&mut self) -> Option<Instant> {
        self.waiting.take().map(|waiting| waiting.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_millis(50);

    #[tokio::test(start_paused = true)]
    async fn quiet_postpones_but_never_beyond_the_longest_wait() {
        let mut debounce = Debounce::new(QUIET, LONGEST);
        assert_eq!(debounce.due(), None);
        let start = Instant::now();
        debounce.note(start);
        assert_eq!(debounce.due(), Some(start + QUIET));
        debounce.note(start + Duration::from_millis(15));
        assert_eq!(debounce.due(), Some(start + Duration::from_millis(35)));
        debounce.note(start + Duration::from_millis(45));
        assert_eq!(debounce.due(), Some(start + LONGEST));
        assert_eq!(debounce.take(), Some(start));
        assert_eq!(debounce.due(), None);
    }
}
