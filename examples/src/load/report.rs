//! What came of a run, while it goes on and afterwards.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

/// Failures whose reasons are kept.
const KEPT_REASONS: usize = 8;

/// The latest figures of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Requests that ended, one way or the other.
    pub requests: u64,
    /// Those with an unexpected status, a refused check, or no complete answer.
    pub failed: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Successful answers by the value that shares are counted by; `-` where it is absent.
    pub shares: BTreeMap<String, u64>,
    /// The reasons of the first failures.
    pub reasons: Vec<String>,
    /// Requests moved, unsent, to a new connection because theirs had just been closed.
    pub reconnects: u64,
    /// Microseconds of every request that was answered.
    pub latency: Histogram<u64>,
    /// From the first request to the last answer, or until now.
    pub elapsed: Duration,
}

impl Report {
    fn new() -> Self {
        #[expect(
            clippy::expect_used,
            reason = "three digits are within the accepted 0 to 5"
        )]
        let latency = Histogram::new(3).expect("three significant digits are valid");
        Self {
            requests: 0,
            failed: 0,
            statuses: BTreeMap::new(),
            shares: BTreeMap::new(),
            reasons: Vec::new(),
            reconnects: 0,
            latency,
            elapsed: Duration::ZERO,
        }
    }

    /// The share of one value among successful answers, in percent.
    pub fn share(&self, value: &str) -> f64 {
        let all: u64 = self.shares.values().sum();
        percent(self.shares.get(value).copied().unwrap_or(0), all)
    }

    /// Successful requests, in percent.
    pub fn success(&self) -> f64 {
        percent(self.requests - self.failed, self.requests)
    }

    /// The latency that `quantile` (0 to 1) of the answers stayed below, in milliseconds.
    pub fn milliseconds(&self, quantile: f64) -> f64 {
        super::to_f64(self.latency.value_at_quantile(quantile)) / 1000.0
    }

    /// Requests per second.
    pub fn rate(&self) -> f64 {
        super::to_f64(self.requests) / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// What happened between an earlier snapshot of the same run and this one.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut part = self.clone();
        part.requests = self.requests.saturating_sub(earlier.requests);
        part.failed = self.failed.saturating_sub(earlier.failed);
        subtract(&mut part.statuses, &earlier.statuses);
        subtract(&mut part.shares, &earlier.shares);
        part.reconnects = self.reconnects.saturating_sub(earlier.reconnects);
        if part.latency.subtract(&earlier.latency).is_err() {
            // Not of the same run: the whole is the best answer there is.
            part.latency = self.latency.clone();
        }
        part.elapsed = self.elapsed.saturating_sub(earlier.elapsed);
        part
    }

    /// Both runs, which went on at the same time, as one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.requests += other.requests;
        self.failed += other.failed;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (share, count) in other.shares {
            *self.shares.entry(share).or_default() += count;
        }
        self.reasons.extend(other.reasons);
        self.reconnects += other.reconnects;
        // Fails only for another shape; all have the same.
        let _added = self.latency.add(&other.latency);
        self.elapsed = self.elapsed.max(other.elapsed);
        self
    }

    /// The figures as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "requests": self.requests,
            "failed": self.failed,
            "statuses": self.statuses,
            "shares": self.shares,
            "reasons": self.reasons,
            "reconnects": self.reconnects,
            "seconds": self.elapsed.as_secs_f64(),
            "requests_per_second": self.rate(),
            "latency_ms": {
                "p50": self.milliseconds(0.5),
                "p90": self.milliseconds(0.9),
                "p99": self.milliseconds(0.99),
                "max": super::to_f64(self.latency.max()) / 1000.0,
            },
        })
    }
}

fn subtract<K: Ord>(from: &mut BTreeMap<K, u64>, earlier: &BTreeMap<K, u64>) {
    for (key, count) in earlier {
        if let Some(now) = from.get_mut(key) {
            *now = now.saturating_sub(*count);
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        100.0 * super::to_f64(part) / super::to_f64(whole)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "requests   {} in {:.2} s, {:.0} a second",
            self.requests,
            self.elapsed.as_secs_f64(),
            self.rate()
        )?;
        writeln!(
            formatter,
            "success    {:.3} %, {} failed",
            self.success(),
            self.failed
        )?;
        for (status, count) in &self.statuses {
            writeln!(formatter, "status     {status}: {count}")?;
        }
        for (value, count) in &self.shares {
            writeln!(
                formatter,
                "share      {value}: {count} ({:.2} %)",
                self.share(value)
            )?;
        }
        if self.reconnects > 0 {
            writeln!(formatter, "reconnects {}", self.reconnects)?;
        }
        for reason in &self.reasons {
            writeln!(formatter, "failure    {reason}")?;
        }
        write!(
            formatter,
            "latency    p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            self.milliseconds(0.5),
            self.milliseconds(0.99),
            super::to_f64(self.latency.max()) / 1000.0
        )
    }
}

/// A report that is being written. Clones share it.
#[derive(Debug, Clone)]
pub struct Tally {
    shared: Arc<Mutex<Running>>,
}

#[derive(Debug)]
struct Running {
    report: Report,
    started: Option<Instant>,
    ended: bool,
}

impl Default for Tally {
    fn default() -> Self {
        let running = Running {
            report: Report::new(),
            started: None,
            ended: false,
        };
        Self {
            shared: Arc::new(Mutex::new(running)),
        }
    }
}

impl Tally {
    /// The figures so far.
    pub fn snapshot(&self) -> Report {
        let running = self.lock();
        let mut report = running.report.clone();
        if let (Some(started), false) = (running.started, running.ended) {
            report.elapsed = started.elapsed();
        }
        report
    }

    /// The count of failures so far, without copying the rest.
    pub fn failures(&self) -> u64 {
        self.lock().report.failed
    }

    pub(super) fn begin(&self, now: Instant) {
        let mut running = self.lock();
        running.started = Some(now);
        running.ended = false;
    }

    pub(super) fn end(&self, now: Instant) {
        let mut running = self.lock();
        running.ended = true;
        if let Some(started) = running.started {
            running.report.elapsed = now.duration_since(started);
        }
    }

    pub(super) fn answered(&self, status: u16, took: Duration, judged: Result<&str, &str>) {
        let mut running = self.lock();
        let report = &mut running.report;
        report.requests += 1;
        *report.statuses.entry(status).or_insert(0) += 1;
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if report.latency.record(microseconds).is_err() {
            // Beyond what the histogram can grow to: the largest value it has.
            report.latency.saturating_record(microseconds);
        }
        match judged {
            Ok("") => {}
            Ok(share) => match report.shares.get_mut(share) {
                Some(count) => *count += 1,
                None => {
                    report.shares.insert(share.to_owned(), 1);
                }
            },
            Err(reason) => report.note_failure(reason),
        }
    }

    pub(super) fn failed(&self, reason: &str) {
        let mut running = self.lock();
        running.report.requests += 1;
        running.report.note_failure(reason);
    }

    pub(super) fn reconnected(&self) {
        self.lock().report.reconnects += 1;
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    fn note_failure(&mut self, reason: &str) {
        self.failed += 1;
        if self.reasons.len() < KEPT_REASONS {
            self.reasons.push(reason.to_owned());
        }
    }
}
