//! How much somebody outside may make this process do: a steady rate, of which a burst can be
//! saved up. A value, not a task: the caller says what time it is.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Keys that have an allowance of their own; whoever comes after shares one with the others.
const MOST_KEYS: usize = 4096;
/// The longest anybody has to wait, however much was spent.
const LONGEST: Duration = Duration::from_mins(10);

/// So much a second, so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    per_second: u32,
    burst: u32,
}

impl Rate {
    /// Both numbers count as at least 1.
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }

    fn time(self, units: u32) -> Duration {
        let each = Duration::from_secs(1) / self.per_second.max(1);
        each.checked_mul(units).unwrap_or(LONGEST).min(LONGEST)
    }
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    rate: Rate,
    /// When everything that was spent will have come in again.
    whole_at: Instant,
}

impl Allowance {
    /// A whole one.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            whole_at: now,
        }
    }

    /// Spends whatever something costs, even more than there is: what follows waits the longer.
    pub fn spend(&mut self, units: u32, now: Instant) {
        let latest = now + LONGEST;
        self.whole_at = (self.whole_at.max(now) + self.rate.time(units)).min(latest);
    }

    /// Spends one unit, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let there = self.ready_at() <= now;
        if there {
            self.spend(1, now);
        }
        there
    }

    /// How many units there are.
    pub fn left(&self, now: Instant) -> u32 {
        let spent = self.whole_at.saturating_duration_since(now);
        let each = self.rate.time(1).as_nanos().max(1);
        let spent = u32::try_from(spent.as_nanos().div_ceil(each)).unwrap_or(u32::MAX);
        self.rate.burst.max(1).saturating_sub(spent)
    }

    /// From when on there is a unit.
    pub fn ready_at(&self) -> Instant {
        let saved = self.rate.time(self.rate.burst.max(1) - 1);
        self.whole_at.checked_sub(saved).unwrap_or(self.whole_at)
    }

    /// Whether nothing of it is spent.
    pub fn is_whole(&self, now: Instant) -> bool {
        self.whole_at <= now
    }
}

/// One allowance for each of many.
#[derive(Debug)]
pub struct Allowances<K> {
    rate: Rate,
    known: HashMap<K, Allowance>,
    rest: Allowance,
}

impl<K: Eq + Hash> Allowances<K> {
    /// Whole ones for everybody.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            known: HashMap::new(),
            rest: Allowance::new(rate, now),
        }
    }

    /// That of one.
    pub fn of(&mut self, key: K, now: Instant) -> &mut Allowance {
        if self.known.len() >= MOST_KEYS && !self.known.contains_key(&key) {
            self.known.retain(|_, one| !one.is_whole(now));
            if self.known.len() >= MOST_KEYS {
                return &mut self.rest;
            }
        }
        let rate = self.rate;
        self.known
            .entry(key)
            .or_insert_with(|| Allowance::new(rate, now))
    }
}

/// Who somebody at this address is to be counted as. Not by IPv6 network: all pods of a node share
/// one, and none of them is to pay for another.
pub fn source(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_at_once_and_then_the_rate() {
        let mut now = Instant::now();
        let mut allowance = Allowance::new(Rate::new(10, 3), now);
        let taken = |allowance: &mut Allowance, now| (0..9).filter(|_| allowance.take(now)).count();
        assert_eq!(allowance.left(now), 3);
        assert_eq!(taken(&mut allowance, now), 3);
        assert_eq!(allowance.left(now), 0);
        assert_eq!(allowance.left(now + Duration::from_millis(199)), 1);
        assert_eq!(allowance.ready_at(), now + Duration::from_millis(100));
        now += Duration::from_millis(100);
        assert_eq!(taken(&mut allowance, now), 1);
        now += Duration::from_hours(1);
        assert!(allowance.is_whole(now));
        assert_eq!(
            taken(&mut allowance, now),
            3,
            "no more is saved up than that"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_costs_more_than_there_is_keeps_the_next_waiting() {
        let now = Instant::now();
        let mut allowance = Allowance::new(Rate::new(10, 5), now);
        allowance.spend(25, now);
        assert!(!allowance.take(now));
        assert_eq!(allowance.ready_at(), now + Duration::from_millis(2100));
        allowance.spend(u32::MAX, now);
        allowance.spend(u32::MAX, now);
        assert!(allowance.ready_at() <= now + LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn many_keys_share_what_is_left_and_known_ones_keep_theirs() {
        let now = Instant::now();
        let mut all = Allowances::new(Rate::new(1, 1), now);
        for key in 0..MOST_KEYS {
            assert!(all.of(key, now).take(now));
        }
        assert!(all.of(MOST_KEYS, now).take(now));
        assert!(
            !all.of(MOST_KEYS + 1, now).take(now),
            "one for all the rest"
        );
        let later = now + Duration::from_secs(1);
        assert!(
            all.of(MOST_KEYS + 2, later).take(later),
            "whole ones are forgotten"
        );
        assert!(all.known.len() <= MOST_KEYS);
    }

    #[test]
    fn an_address_counts_as_one_in_either_spelling() {
        let of = |text: &str| source(text.parse().unwrap()).to_string();
        assert_eq!(of("10.0.0.1"), "10.0.0.1");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
        assert_ne!(of("2001:db8::1:2:3:4"), of("2001:db8::9"));
    }
}
