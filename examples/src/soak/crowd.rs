//! Clients that keep coming, over HTTP/1.1 and HTTP/2 at once, while something happens to the
//! mesh around them.

use std::time::Duration;

use anyhow::Context as _;
use mesh_runtime::Drain;
use tokio::task::JoinSet;

use super::findings::Findings;
use crate::load::{Amount, Plan, Report, Tally, run_with};
use crate::mesh::wait_until;

/// Answers that each kind of client must have had before anything is done to the mesh.
const WARM: u64 = 50;

/// How long the first answers may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Running clients.
#[derive(Debug)]
pub(super) struct Crowd {
    tallies: Vec<(&'static str, Tally)>,
    stop: Drain,
    running: JoinSet<()>,
}

impl Crowd {
    /// Starts the plans, each until told to leave, and waits until all have had answers.
    pub(super) async fn gather(plans: Vec<(&'static str, Plan)>) -> anyhow::Result<Self> {
        let stop = Drain::new();
        let mut running = JoinSet::new();
        let mut tallies = Vec::new();
        for (name, plan) in plans {
            let (tally, watch) = (Tally::default(), stop.watch());
            let filled = tally.clone();
            let plan = Plan {
                amount: Amount::UntilStopped,
                ..plan
            };
            running.spawn(async move { run_with(plan, &filled, watch).await });
            tallies.push((name, tally));
        }
        let crowd = Self {
            tallies,
            stop,
            running,
        };
        wait_until("the first answers", PATIENCE, async || {
            let warm = |(_, tally): &(_, Tally)| tally.snapshot().requests > WARM;
            Ok(crowd.tallies.iter().all(warm).then_some(()))
        })
        .await?;
        Ok(crowd)
    }

    /// Requests that have ended so far.
    pub(super) fn requests(&self) -> u64 {
        let tallies = self.tallies.iter();
        tallies.map(|(_, tally)| tally.snapshot().requests).sum()
    }

    /// Requests that have failed so far.
    pub(super) fn failures(&self) -> u64 {
        self.tallies.iter().map(|(_, tally)| tally.failures()).sum()
    }

    /// Lets what is on its way end and answers what came of it all.
    pub(super) async fn leave(mut self) -> anyhow::Result<Summary> {
        self.stop.trigger();
        while let Some(ended) = self.running.join_next().await {
            ended.context("the load ended early")?;
        }
        let reports = self.tallies.iter();
        Ok(Summary {
            reports: reports
                .map(|(name, tally)| (*name, tally.snapshot()))
                .collect(),
        })
    }
}

/// What came of a crowd.
#[derive(Debug)]
pub(super) struct Summary {
    reports: Vec<(&'static str, Report)>,
}

impl Summary {
    pub(super) fn requests(&self) -> u64 {
        self.reports.iter().map(|(_, report)| report.requests).sum()
    }

    pub(super) fn failed(&self) -> u64 {
        self.reports.iter().map(|(_, report)| report.failed).sum()
    }

    /// Figures of every kind of client, and the reasons of the first failures.
    pub(super) fn note_in(&self, findings: &mut Findings) {
        let rate: f64 = self.reports.iter().map(|(_, report)| report.rate()).sum();
        findings.note("requests", self.requests());
        findings.note("failed", self.failed());
        findings.note("requests_per_second", rate.round());
        let lines: Vec<String> = self.reports.iter().map(line).collect();
        findings.note("clients", lines);
        let reasons = self.reports.iter().flat_map(|(name, report)| {
            let reasons = report.reasons.iter();
            reasons.map(move |reason| format!("{name}: {reason}"))
        });
        findings.note("failures", reasons.collect::<Vec<String>>());
    }
}

fn line((name, report): &(&'static str, Report)) -> String {
    format!(
        "{name}: {} requests, {} failed, {} moved unsent to a new connection, p50 {:.2} ms, \
         p99 {:.2} ms",
        report.requests,
        report.failed,
        report.reconnects,
        report.milliseconds(0.5),
        report.milliseconds(0.99)
    )
}
