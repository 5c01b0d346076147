//! How fast may be written: a token bucket.

use std::time::Duration;

use tokio::time::Instant;

/// Tokens that come at a steady rate and can be saved up to a burst.
#[derive(Debug)]
pub struct Bucket {
    burst: u32,
    /// The time one token takes.
    each: Duration,
    tokens: u32,
    /// Up to when tokens were counted.
    counted: Instant,
}

impl Bucket {
    /// A full bucket. Both numbers are at least 1.
    pub fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self {
            burst: burst.max(1),
            each: Duration::from_secs(1) / per_second.max(1),
            tokens: burst.max(1),
            counted: now,
        }
    }

    /// Takes as many as there are, `wanted` at most.
    pub fn take(&mut self, wanted: usize, now: Instant) -> usize {
        let passed = now.saturating_duration_since(self.counted);
        let new = passed.as_nanos() / self.each.as_nanos().max(1);
        let new = u32::try_from(new).unwrap_or(u32::MAX);
        if let Some(time) = self.each.checked_mul(new) {
            self.counted += time;
        } else {
            self.counted = now;
        }
        self.tokens = self.tokens.saturating_add(new).min(self.burst);
        let taken = u32::try_from(wanted).unwrap_or(u32::MAX).min(self.tokens);
        self.tokens -= taken;
        usize::try_from(taken).unwrap_or(wanted)
    }

    /// When the next token is there, if there is none.
    pub fn next(&self) -> Instant {
        self.counted + self.each
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_the_rate() {
        let mut bucket = Bucket::new(20, 50, Instant::now());
        assert_eq!(bucket.take(1000, Instant::now()), 50);
        assert_eq!(bucket.take(1, Instant::now()), 0);
        tokio::time::sleep_until(bucket.next()).await;
        assert_eq!(bucket.take(1000, Instant::now()), 1);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(bucket.take(1000, Instant::now()), 20);
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert_eq!(bucket.take(1000, Instant::now()), 50);
    }
}
