//! What happens on a stream by itself, and when.

use std::time::Duration;

use tokio::time::Instant;

/// A stream that has not said Hello by then is closed.
pub(super) const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// How long after a refusal a proxy is offered it again: its reason may be gone.
const RETRY_REFUSED: Duration = Duration::from_mins(1);
/// How long an authenticated stream lasts at least; at most twice as long. A token is looked at
/// when a stream opens, so this is how long one that was withdrawn is of use.
const OLDEST: Duration = Duration::from_mins(30);
/// How long the proxy of a pod that is gone may stay: the last words of a pod that stops.
const GONE_GRACE: Duration = Duration::from_mins(1);

/// The deadlines of a stream.
#[derive(Debug)]
pub(super) struct Deadlines {
    hello: Option<Instant>,
    retry: Option<Instant>,
    gone: Option<Instant>,
    oldest: Option<Instant>,
    authenticated: bool,
    was_known: bool,
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// There was no Hello.
    Hello,
    /// What was refused is offered again.
    Retry,
    /// The pod is gone, and its proxy has to be, too.
    Gone,
    /// The proxy has to prove again who it is.
    Oldest,
}

impl Deadlines {
    /// Of a stream that opens now; `authenticated` if its peer proved who it is.
    pub(super) fn new(authenticated: bool, now: Instant) -> Self {
        // Spread, so that a fleet that connected at once does not come back at once.
        let spread = OLDEST.mul_f64(rand::random::<f64>());
        Self {
            hello: Some(now + HELLO_WITHIN),
            retry: None,
            gone: None,
            oldest: authenticated.then(|| now + OLDEST + spread),
            authenticated,
            was_known: false,
        }
    }

    /// Hello came.
    pub(super) fn introduced(&mut self) {
        self.hello = None;
    }

    /// The proxy refused something.
    pub(super) fn refused(&mut self, now: Instant) {
        self.retry = Some(now + RETRY_REFUSED);
    }

    /// The workload is known.
    pub(super) fn known(&mut self) {
        self.was_known = true;
        self.gone = None;
    }

    /// The workload is not known: not yet, or not any more.
    pub(super) fn unknown(&mut self, now: Instant) {
        if self.authenticated && self.was_known && self.gone.is_none() {
            self.gone = Some(now + GONE_GRACE);
        }
    }

    /// Waits for the next deadline; each passes once.
    pub(super) async fn passed(&mut self) -> Due {
        let Some((at, due)) = self.next() else {
            return std::future::pending().await;
        };
        tokio::time::sleep_until(at).await;
        let place = match due {
            Due::Hello => &mut self.hello,
            Due::Retry => &mut self.retry,
            Due::Gone => &mut self.gone,
            Due::Oldest => &mut self.oldest,
        };
        *place = None;
        due
    }

    fn next(&self) -> Option<(Instant, Due)> {
        let all = [
            (self.hello, Due::Hello),
            (self.retry, Due::Retry),
            (self.gone, Due::Gone),
            (self.oldest, Due::Oldest),
        ];
        all.into_iter()
            .filter_map(|(at, due)| Some((at?, due)))
            .min_by_key(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refused_resource_is_offered_again_a_minute_after_the_last_refusal() {
        let mut deadlines = Deadlines::new(false, Instant::now());
        deadlines.introduced();
        tokio::time::sleep(Duration::from_secs(50)).await;
        deadlines.refused(Instant::now());
        tokio::time::sleep(Duration::from_secs(20)).await;
        deadlines.refused(Instant::now());
        let began = Instant::now();
        assert_eq!(deadlines.passed().await, Due::Retry);
        assert_eq!(began.elapsed(), Duration::from_mins(1));
        let idle = tokio::time::timeout(Duration::from_hours(3), deadlines.passed()).await;
        assert!(
            idle.is_err(),
            "a stream of this machine has no other deadline"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_authenticated_stream_ends_and_sooner_when_its_pod_is_gone() {
        let began = Instant::now();
        let mut deadlines = Deadlines::new(true, began);
        assert_eq!(deadlines.passed().await, Due::Hello);
        deadlines.unknown(Instant::now());
        assert_eq!(
            deadlines.passed().await,
            Due::Oldest,
            "not known yet is not gone"
        );
        let age = began.elapsed();
        assert!((OLDEST..=2 * OLDEST).contains(&age), "{age:?}");

        let mut deadlines = Deadlines::new(true, Instant::now());
        deadlines.introduced();
        deadlines.known();
        deadlines.unknown(Instant::now());
        deadlines.known();
        deadlines.unknown(Instant::now());
        let began = Instant::now();
        assert_eq!(deadlines.passed().await, Due::Gone);
        assert_eq!(began.elapsed(), GONE_GRACE);
    }
}
