//! How many tokens are shown to the API server: for each address, and for all together.
//!
//! Only what turns out to be worth nothing costs anything, so that many pods behind one address (a
//! node, a gateway of another cluster) are not held up. While nobody knows, a review has a place: as
//! many are under way as could be paid for if all were worthless, and who comes then waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::allowance::{Allowance, Allowances, Rate, source};

/// Of one address.
const EACH: Rate = Rate::new(2, 32);
/// Of all of them.
const TOGETHER: Rate = Rate::new(50, 256);
/// Under way at a time, of one address.
const EACH_AT_ONCE: u32 = 8;

/// What is left to be spent on reviews.
#[derive(Debug)]
pub(super) struct Budget {
    left: Mutex<Left>,
    /// Told when a review has ended.
    freed: Notify,
}

#[derive(Debug)]
struct Left {
    each: Allowances<IpAddr>,
    together: Allowance,
    under_way: HashMap<Option<IpAddr>, u32>,
    all_under_way: u32,
}

/// Whether a review may begin.
enum Begin {
    Now,
    /// Not before another one ends.
    Later,
    /// Too much was worth nothing.
    Never,
}

impl Budget {
    pub(super) fn new(now: Instant) -> Arc<Self> {
        let left = Left {
            each: Allowances::new(EACH, now),
            together: Allowance::new(TOGETHER, now),
            under_way: HashMap::new(),
            all_under_way: 0,
        };
        Arc::new(Self {
            left: Mutex::new(left),
            freed: Notify::new(),
        })
    }

    /// Waits until a token from this address may be shown to the API server; `None` if it may not.
    pub(super) async fn take(self: &Arc<Self>, from: Option<IpAddr>) -> Option<UnderWay> {
        let from = from.map(source);
        loop {
            // From before the look, so that no end is missed.
            let freed = self.freed.notified();
            match self.left.lock().begin(from, Instant::now()) {
                Begin::Never => return None,
                Begin::Later => {}
                Begin::Now => {
                    let budget = Arc::clone(self);
                    return Some(UnderWay { budget, from });
                }
            }
            freed.await;
        }
    }
}

impl Left {
    fn begin(&mut self, from: Option<IpAddr>, now: Instant) -> Begin {
        let together = self.together.left(now);
        let own = from.map_or(together, |from| self.each.of(from, now).left(now));
        if own == 0 || together == 0 {
            return Begin::Never;
        }
        let of_this = self.under_way.get(&from).copied().unwrap_or(0);
        if of_this >= own.min(EACH_AT_ONCE) || self.all_under_way >= together {
            return Begin::Later;
        }
        self.under_way.insert(from, of_this + 1);
        self.all_under_way += 1;
        Begin::Now
    }
}

/// A review that has its place, until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay {
    budget: Arc<Budget>,
    from: Option<IpAddr>,
}

impl UnderWay {
    /// The token was worth nothing.
    pub(super) fn was_worthless(self, now: Instant) {
        let mut left = self.budget.left.lock();
        left.together.spend(1, now);
        if let Some(from) = self.from {
            left.each.of(from, now).spend(1, now);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut left = self.budget.left.lock();
        left.all_under_way -= 1;
        if let Some(count) = left.under_way.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                left.under_way.remove(&self.from);
            }
        }
        drop(left);
        self.budget.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    fn of(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// How many worthless tokens of an address are looked at.
    async fn storm(budget: &Arc<Budget>, last: u8) -> usize {
        let mut looked_at = 0;
        for _ in 0..1000 {
            if let Some(one) = budget.take(Some(of(last))).await {
                one.was_worthless(Instant::now());
                looked_at += 1;
            }
        }
        looked_at
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_uses_up_its_own_share_only() {
        let budget = Budget::new(Instant::now());
        assert_eq!(storm(&budget, 1).await, 32);
        assert_eq!(storm(&budget, 2).await, 32, "the next is not touched by it");
        for last in 3..8 {
            storm(&budget, last).await;
        }
        let left = 256 - 7 * 32;
        assert_eq!(storm(&budget, 9).await, left, "all together have a bound");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(storm(&budget, 1).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn good_tokens_cost_nothing_however_many_come_at_once() {
        let budget = Budget::new(Instant::now());
        let all = (0..1000).map(|_| async {
            let place = budget.take(Some(of(1))).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
            place.is_some()
        });
        let all = futures_util::future::join_all(all).await;
        assert!(all.iter().all(|taken| *taken));
        assert!(budget.left.lock().under_way.is_empty());
        assert_eq!(storm(&budget, 1).await, 32, "and nothing is spent by them");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_under_way_than_could_be_worthless() {
        let budget = Budget::new(Instant::now());
        for _ in 0..30 {
            let one = budget.take(Some(of(1))).await.unwrap();
            one.was_worthless(Instant::now());
        }
        let first = budget.take(Some(of(1))).await.unwrap();
        let second = budget.take(Some(of(1))).await.unwrap();
        let mut third = std::pin::pin!(budget.take(Some(of(1))));
        assert!(third.as_mut().now_or_never().is_none(), "it has to wait");
        assert!(budget.take(Some(of(2))).await.is_some(), "others do not");
        first.was_worthless(Instant::now());
        second.was_worthless(Instant::now());
        assert!(third.await.is_none());
    }
}
