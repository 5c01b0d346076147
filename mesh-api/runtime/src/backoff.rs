//! How long to wait before trying again: exponential, capped and jittered.
//!
//! Pure: the caller brings the random value and does the sleeping, so a test decides both.

use std::time::Duration;

/// An exponential delay with jitter over its upper half.
///
/// After a fleet loses its control plane, the jitter is what keeps the reconnects from
/// arriving in one wave.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// A delay that starts at `base`, doubles with each failure and never exceeds `cap`.
    ///
    /// A `cap` below `base` counts as `base`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self {
            base,
            cap: cap.max(base),
            attempt: 0,
        }
    }

    /// The next delay: between half and the whole of the current step, chosen by `random`,
    /// which the caller draws uniformly over all of `u32`.
    pub fn next_delay(&mut self, random: u32) -> Duration {
        let factor = 2_u32.checked_pow(self.attempt).unwrap_or(u32::MAX);
        let step = self.base.saturating_mul(factor).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        let half = step / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Failures since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Starts over; call it after something worked.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let whole: Vec<u128> = (0..6)
            .map(|_| backoff.next_delay(u32::MAX).as_millis())
            .collect();
        assert_eq!(whole, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.attempts(), 6);
        backoff.reset();
        assert_eq!(backoff.next_delay(0), Duration::from_millis(50));
    }

    #[test]
    fn survives_endless_failure() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        for _ in 0..100 {
            let delay = backoff.next_delay(1 << 31);
            assert!(delay <= Duration::from_secs(30));
        }
        assert!(backoff.next_delay(0) >= Duration::from_secs(15));
    }
}
