//! Counters and histograms that one thread writes and any thread reads.
//!
//! A cell belongs to one worker, so an addition is a plain load and store: no locked
//! instruction, no cache line that two workers fight over. A scrape sums the workers' cells.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many upper bounds a histogram has; one more bucket takes what exceeds them all.
pub const BOUNDS: usize = 19;

/// The upper bounds as they are printed.
pub const BOUND_TEXTS: [&str; BOUNDS] = [
    "0.5", "1", "5", "10", "25", "50", "100", "250", "500", "1000", "2500", "5000", "10000",
    "30000", "60000", "300000", "600000", "1800000", "3600000",
];

/// The upper bounds of durations, in microseconds.
pub const DURATION_BOUNDS: [u64; BOUNDS] = [
    500,
    1_000,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    600_000_000,
    1_800_000_000,
    3_600_000_000,
];

/// The upper bounds of sizes, in bytes; a whole number is at most 0.5 if it is 0.
pub const SIZE_BOUNDS: [u64; BOUNDS] = [
    0, 1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000,
    600_000, 1_800_000, 3_600_000,
];

/// A number that only grows, written by one thread.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds. Only the owning worker may call this.
    pub fn add(&self, amount: u64) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now.wrapping_add(amount), Ordering::Relaxed);
    }

    /// The number, perhaps a moment old.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many values fell under each bound, and their sum; written by one thread.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Per bucket, not cumulative; the last takes what exceeds every bound.
    buckets: [Counter; BOUNDS + 1],
    sum: Counter,
}

impl Histogram {
    /// Counts `value` against `bounds`. Only the owning worker may call this.
    pub fn record(&self, bounds: &[u64; BOUNDS], value: u64) {
        // No branch: how many bounds lie below the value is the index of its bucket.
        let index = bounds
            .iter()
            .fold(0_usize, |index, bound| index + usize::from(value > *bound));
        if let Some(bucket) = self.buckets.get(index) {
            bucket.add(1);
        }
        self.sum.add(value);
    }
}

/// A histogram summed over workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramTotal {
    /// Per bucket, not cumulative.
    pub buckets: [u64; BOUNDS + 1],
    /// The sum of all values.
    pub sum: u64,
}

impl HistogramTotal {
    /// Adds what one worker counted.
    pub fn add(&mut self, cells: &Histogram) {
        for (total, cell) in self.buckets.iter_mut().zip(&cells.buckets) {
            *total = total.wrapping_add(cell.value());
        }
        self.sum = self.sum.wrapping_add(cells.sum.value());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_under_it() {
        let cells = Histogram::default();
        for value in [0, 500, 501, 3_600_000_000, 3_600_000_001] {
            cells.record(&DURATION_BOUNDS, value);
        }
        let mut total = HistogramTotal::default();
        total.add(&cells);
        total.add(&cells);
        let mut expected = [0; BOUNDS + 1];
        expected[0] = 4;
        expected[1] = 2;
        expected[BOUNDS - 1] = 2;
        expected[BOUNDS] = 2;
        assert_eq!(total.buckets, expected);
        assert_eq!(total.sum, 2 * (500 + 501 + 7_200_000_001));
    }

    #[test]
    fn printed_bounds_are_the_bounds_compared_with() {
        for (index, text) in BOUND_TEXTS.iter().enumerate() {
            // Milliseconds with at most one decimal.
            let (whole, tenths) = text.split_once('.').unwrap_or((text, "0"));
            let (whole, tenths): (u64, u64) = (whole.parse().unwrap(), tenths.parse().unwrap());
            assert_eq!(whole * 1_000 + tenths * 100, DURATION_BOUNDS[index]);
            assert_eq!(whole, SIZE_BOUNDS[index]);
        }
    }
}
