//! How many reviews are answered at a time. Whoever asks decides how much there is to do, and anybody
//! may ask; so it is done beside everything else, and no source keeps the others waiting.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mesh_runtime::shares::{Crowded, Share, Shares};

/// Places, of which a source has half at most.
const PLACES: usize = 64;
/// What a review takes, at least and at most, and for how many bytes it takes one.
const LEAST: usize = PLACES / 4;
const MOST: usize = PLACES / 2;
const BYTES_EACH: usize = 256 << 10;
/// How long a review waits for its turn: less than the API server waits by default, so that it
/// hears our reason and not its own.
pub(super) const WITHIN: Duration = Duration::from_secs(5);

/// The places.
#[derive(Clone, Debug)]
pub(super) struct Places {
    shares: Arc<Shares>,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            shares: Shares::new(PLACES),
        }
    }

    /// Waits for room for a review of so many bytes.
    pub(super) async fn take(&self, source: IpAddr, bytes: usize) -> Result<Share, Crowded> {
        let mut share = self.shares.of(source);
        let size = (bytes / BYTES_EACH).clamp(LEAST, MOST);
        share.grow(size, WITHIN).await?;
        Ok(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_source_that_asks_all_the_time_keeps_nobody_waiting() {
        let places = Places::new();
        let source = |last: u8| IpAddr::from([10, 0, 0, last]);
        let _first = places.take(source(1), 100).await.unwrap();
        let _second = places.take(source(1), 100).await.unwrap();
        let third = places.take(source(1), 100).await;
        assert_eq!(third.err(), Some(Crowded::Source));
        let began = tokio::time::Instant::now();
        let _other = places.take(source(2), 100).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_review_takes_what_one_source_may_have() {
        let places = Places::new();
        let source = IpAddr::from([10, 0, 0, 1]);
        let large = places.take(source, 8 << 20).await.unwrap();
        assert!(places.take(source, 100).await.is_err());
        drop(large);
        assert!(places.take(source, 100).await.is_ok());
    }
}
