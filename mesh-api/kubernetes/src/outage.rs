//! An API server that is away, told once and not by everybody who asks it something.
//!
//! A server follows many things, and each of them notices that the API server cannot be reached,
//! again with every try. That is one fact. What is a matter of one object (a permission, a
//! definition) is still told by whoever asked for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kube::runtime::watcher;

use crate::client::{ApiFailure, chain};

/// An outage is over when nothing failed for this long: every follower tries more often.
const OVER: Duration = Duration::from_mins(1);

static LAST: Mutex<Option<Instant>> = Mutex::new(None);

/// Whether a watch failed because the API server cannot be reached. If so, everything there is to
/// say about that is said.
pub fn told(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(cause)
        | watcher::Error::WatchStartFailed(cause)
        | watcher::Error::WatchFailed(cause) => is_unreachable(cause) && tell(&chain(cause)),
        watcher::Error::WatchError(_) | watcher::Error::NoResourceVersion => false,
    }
}

/// The same for a request.
pub fn told_of(failure: &ApiFailure) -> bool {
    match failure.cause.as_deref() {
        None => tell("no answer in time"),
        Some(cause) => is_unreachable(cause) && tell(&chain(cause)),
    }
}

/// Whether no answer came, rather than one that says no.
fn is_unreachable(error: &kube::Error) -> bool {
    matches!(
        error,
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_)
    )
}

fn tell(why: &str) -> bool {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if begins(&mut last, Instant::now()) {
        tracing::warn!(
            "the API server cannot be reached ({why}); going on with what is known, and trying \
             again"
        );
    }
    true
}

/// Whether a failure at this moment is the first of an outage.
fn begins(last: &mut Option<Instant>, now: Instant) -> bool {
    let before = last.replace(now);
    before.is_none_or(|before| now.saturating_duration_since(before) > OVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_begins_once_and_a_later_one_again() {
        let start = Instant::now();
        let mut last = None;
        let mut at = |seconds| begins(&mut last, start + Duration::from_secs(seconds));
        assert!(at(0));
        // As long as something fails every now and then it is the same.
        assert!(!at(1) && !at(50) && !at(105));
        assert!(at(105 + 61));
    }

    #[test]
    fn an_answer_that_says_no_is_another_matter() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let away = kube::Error::Service(Box::new(refused));
        assert!(told(&watcher::Error::InitialListFailed(away)));
        let status = kube::core::Status::failure("no", "Forbidden").with_code(403);
        let refusal = kube::Error::Api(Box::new(status));
        assert!(!told(&watcher::Error::WatchStartFailed(refusal)));
        let silent = ApiFailure {
            what: "read something".to_owned(),
            cause: None,
        };
        assert!(told_of(&silent));
    }
}
