//! How many tokens are shown to the API server: for each address, and for all together.
//!
//! What turns out to be good is given back, so that many pods behind one address (a node, a gateway
//! of another cluster) are not held up, and only those who show us what is worth nothing are.

use std::net::IpAddr;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::allowance::{Allowance, Allowances, Rate, source};

/// Of one address.
const EACH: Rate = Rate::new(2, 32);
/// Of all of them.
const TOGETHER: Rate = Rate::new(50, 256);

/// What is left to be spent on reviews.
#[derive(Debug)]
pub(super) struct Budget {
    left: Mutex<Left>,
}

#[derive(Debug)]
struct Left {
    each: Allowances<IpAddr>,
    together: Allowance,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Self {
        let left = Left {
            each: Allowances::new(EACH, now),
            together: Allowance::new(TOGETHER, now),
        };
        Self {
            left: Mutex::new(left),
        }
    }

    /// Whether a token from this address may be shown to the API server now.
    pub(super) fn take(&self, from: Option<IpAddr>, now: Instant) -> bool {
        let mut left = self.left.lock();
        let own = from.map(|from| left.each.of(source(from), now).take(now));
        if own == Some(false) {
            return false;
        }
        let there = left.together.take(now);
        if let Some(from) = from.filter(|_| !there) {
            left.each.of(source(from), now).refund(1);
        }
        there
    }

    /// It was a good one.
    pub(super) fn refund(&self, from: Option<IpAddr>, now: Instant) {
        let mut left = self.left.lock();
        left.together.refund(1);
        if let Some(from) = from {
            left.each.of(source(from), now).refund(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_address_uses_up_its_own_share_only() {
        let now = Instant::now();
        let budget = Budget::new(now);
        let of = |last: u8| Some(IpAddr::from([10, 0, 0, last]));
        let storm = |last: u8, now| (0..10_000).filter(|_| budget.take(of(last), now)).count();
        assert_eq!(storm(1, now), 32);
        assert_eq!(storm(2, now), 32, "the next is not touched by it");
        for last in 3..8 {
            storm(last, now);
        }
        assert_eq!(
            storm(9, now),
            256 - 7 * 32,
            "and all together have a bound, too"
        );
        let later = now + Duration::from_secs(1);
        assert_eq!(storm(1, later), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn good_tokens_cost_nothing() {
        let now = Instant::now();
        let budget = Budget::new(now);
        let node = Some(IpAddr::from([10, 0, 0, 1]));
        for _ in 0..10_000 {
            assert!(budget.take(node, now));
            budget.refund(node, now);
        }
        assert!(budget.take(None, now));
    }
}
