//! Bounded load over HTTP, written to disturb what it measures as little as possible: hyper
//! connections driven directly, nothing parsed unless asked for.
//!
//! It never retries. A request that hyper proves was not sent, because its connection had
//! just been closed in good order, goes out on a new connection and is counted in
//! [`Report::reconnects`]; every other trouble is a failure.

mod connection;
mod plan;
mod report;
#[cfg(test)]
mod tests;
mod timeline;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh_runtime::DrainWatch;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use plan::{Amount, Check, Plan, Protocol, ShareBy};
pub use report::{Report, Tally};
pub use timeline::Timeline;

/// Runs a plan to its end.
pub async fn run(plan: Plan) -> Report {
    let tally = Tally::default();
    run_with(plan, &tally, DrainWatch::never()).await;
    tally.snapshot()
}

/// Runs a plan until its end or until `stop` is triggered, whichever comes first, filling
/// `tally` as answers come, so that somebody else can watch.
pub async fn run_with(plan: Plan, tally: &Tally, stop: DrainWatch) {
    let started = Instant::now();
    tally.begin(started);
    let pace = Arc::new(Pace::new(&plan, started, stop));
    let plan = Arc::new(plan);
    let mut streams = JoinSet::new();
    for _connection in 0..plan.connections.max(1) {
        match plan.protocol {
            Protocol::Http1 => {
                let stream = connection::http1(Arc::clone(&plan), Arc::clone(&pace), tally.clone());
                streams.spawn(stream);
            }
            Protocol::Http2 => {
                let shared = connection::SharedHttp2::default();
                for _stream in 0..plan.streams.max(1) {
                    streams.spawn(connection::http2(
                        Arc::clone(&plan),
                        Arc::clone(&pace),
                        tally.clone(),
                        shared.clone(),
                    ));
                }
            }
        }
    }
    while let Some(ended) = streams.join_next().await {
        if let Err(error) = ended {
            tally.failed(&format!("a load task ended early: {error}"));
        }
    }
    tally.end(Instant::now());
}

/// Hands out the turns of one run.
#[derive(Debug)]
struct Pace {
    started: Instant,
    /// The number of requests, if it is bounded.
    limit: u64,
    deadline: Option<Instant>,
    /// Time between two requests of an open loop.
    interval: Option<Duration>,
    taken: AtomicU64,
    stop: DrainWatch,
}

impl Pace {
    fn new(plan: &Plan, started: Instant, stop: DrainWatch) -> Self {
        let (limit, deadline) = match plan.amount {
            Amount::Requests(count) => (count, None),
            Amount::For(duration) => (u64::MAX, Some(started + duration)),
            Amount::UntilStopped => (u64::MAX, None),
        };
        let interval = plan
            .rate
            .filter(|rate| *rate > 0.0)
            .map(|rate| Duration::from_secs_f64(1.0 / rate));
        Self {
            started,
            limit,
            deadline,
            interval,
            taken: AtomicU64::new(0),
            stop,
        }
    }

    /// Waits for the next turn: its number, and when its clock starts. `None` ends the run.
    async fn turn(&self) -> Option<(u64, Instant)> {
        if self.stop.is_triggered() {
            return None;
        }
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if number >= self.limit {
            return None;
        }
        let Some(interval) = self.interval else {
            let now = Instant::now();
            return self
                .deadline
                .is_none_or(|deadline| now < deadline)
                .then_some((number, now));
        };
        // An open loop measures from when the request was due, so that a server that makes
        // the load wait cannot hide the waiting.
        let due = self.started + interval.mul_f64(to_f64(number));
        if self.deadline.is_some_and(|deadline| due >= deadline) {
            return None;
        }
        tokio::select! {
            () = tokio::time::sleep_until(due) => Some((number, due)),
            () = self.stop.triggered() => None,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of requests stay far below 2^52"
)]
fn to_f64(count: u64) -> f64 {
    count as f64
}
