//! The users of the demo: a measured number of requests, or a crowd that keeps coming while
//! the stage is rebuilt around it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mesh_runtime::{Drain, DrainWatch};

use super::screen::Progress;
use crate::load::{Amount, Plan, Report, Tally, run_with};
use crate::mesh::{Mesh, wait_until};

/// The host users ask for.
pub(super) const HOST: &str = "shop.example.com";

/// How long anything the demo waits for may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// Connections that users hold at once.
const USERS: usize = 8;

/// How often figures change on the screen, and over how long they are taken.
const REFRESH: Duration = Duration::from_millis(200);
const WINDOW: Duration = Duration::from_secs(1);

/// What users do, counted by the version of the backend that answered.
pub(super) fn plan(mesh: &Mesh) -> Plan {
    Plan::new(mesh.gateway(), HOST, "/")
        .connections(USERS)
        .share_by_header("x-shop-tier-backend")
}

/// Runs a plan to its end with the figures so far on the screen.
pub(super) async fn shown(plan: Plan, progress: &Progress<'_>) -> Report {
    let tally = Tally::default();
    let load = run_with(plan, &tally, DrainWatch::never());
    tokio::select! {
        () = load => {}
        () = show(progress, &tally, Figures::SoFar) => {}
    }
    tally.snapshot()
}

/// Users that keep coming while the stage is rebuilt around them.
#[derive(Debug)]
pub(super) struct Crowd {
    tally: Tally,
    stop: Drain,
    running: tokio::task::JoinHandle<()>,
}

impl Crowd {
    pub(super) async fn gather(plan: Plan) -> anyhow::Result<Self> {
        let (tally, stop) = (Tally::default(), Drain::new());
        let (filled, watch) = (tally.clone(), stop.watch());
        let plan = Plan {
            amount: Amount::UntilStopped,
            ..plan
        };
        let running = tokio::spawn(async move { run_with(plan, &filled, watch).await });
        let crowd = Self {
            tally,
            stop,
            running,
        };
        wait_until("the first answers", PATIENCE, async || {
            Ok((crowd.tally.snapshot().requests > 50).then_some(()))
        })
        .await?;
        Ok(crowd)
    }

    /// Shows the figures of the last second for a while.
    pub(super) async fn watch(&self, progress: &Progress<'_>, time: Duration) {
        tokio::select! {
            () = show(progress, &self.tally, Figures::LastSecond) => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    pub(super) async fn leave(self) -> anyhow::Result<Report> {
        self.stop.trigger();
        self.running.await.context("the load ended early")?;
        Ok(self.tally.snapshot())
    }
}

#[derive(Debug, Clone, Copy)]
enum Figures {
    SoFar,
    LastSecond,
}

/// Never ends: select it away.
async fn show(progress: &Progress<'_>, tally: &Tally, figures: Figures) {
    let mut recent = VecDeque::from([(Instant::now(), tally.snapshot())]);
    loop {
        tokio::time::sleep(REFRESH).await;
        let now = tally.snapshot();
        match figures {
            Figures::SoFar => progress.figures(&now),
            Figures::LastSecond => {
                if let Some((_, earlier)) = recent.front() {
                    progress.figures(&now.since(earlier));
                }
                recent.push_back((Instant::now(), now));
                while recent.front().is_some_and(|(at, _)| at.elapsed() > WINDOW) {
                    recent.pop_front();
                }
            }
        }
    }
}
