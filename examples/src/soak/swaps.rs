//! Configuration swaps under load: the whole way from a file through compiler and push to the
//! gateway, again and again, while clients of both HTTP versions watch every answer.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::Tell;
use super::crowd::Crowd;
use super::findings::Findings;
use super::stage::{self, GATEWAY, PATIENCE, STAGE, VERSION_FILE, version_plan, version_yaml};
use super::versions::Versions;
use crate::mesh::{Mesh, MeshOptions, wait_until};

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct SwapsPlan {
    /// Configuration changes.
    pub swaps: u64,
    /// Requests that are sent at least.
    pub requests: u64,
}

/// How long the load may go on after the last swap to reach its number of requests.
const CATCH_UP: Duration = Duration::from_mins(10);

/// The longest time of a swap that is told apart, in microseconds.
const SLOWEST_MICROS: u64 = 60_000_000;

/// Swaps the configuration under load.
pub async fn swaps(
    plan: SwapsPlan,
    options: MeshOptions,
    tell: Tell<'_>,
) -> anyhow::Result<Findings> {
    tell("swaps: starting a mesh");
    // Two workers take a new configuration over one after the other; one alone could hide it.
    let options = MeshOptions {
        concurrency: 2,
        ..options
    };
    let mesh = Mesh::start(options).await?;
    let outcome = on(&mesh, plan, tell).await;
    stage::with_logs(outcome, &mesh)
}

async fn on(mesh: &Mesh, plan: SwapsPlan, tell: Tell<'_>) -> anyhow::Result<Findings> {
    let versions = Versions::new(true);
    mesh.write_config("soak-stage.yaml", STAGE)?;
    mesh.write_config(VERSION_FILE, &version_yaml(0))?;
    let first = version_plan(mesh).requests(1);
    wait_until("version 0 at the gateway", PATIENCE, async || {
        let report = crate::load::run(first.clone()).await;
        Ok((report.failed == 0).then_some(()))
    })
    .await?;
    let before = settle(mesh).await?;
    let judged = versions.clone();
    let load = version_plan(mesh).check(move |parts, body| judged.judge(parts, body));
    let crowd = Crowd::gather(vec![
        ("HTTP/1.1", load.clone().connections(4)),
        ("HTTP/2", load.connections(2).http2(2)),
    ])
    .await?;
    let begun = Instant::now();
    let mut times: Histogram<u64> = Histogram::new_with_max(SLOWEST_MICROS, 3)?;
    for number in 1..=plan.swaps {
        let written = Instant::now();
        mesh.write_config(VERSION_FILE, &version_yaml(number))?;
        let seen = versions.reached(number, PATIENCE).await?;
        let took = seen.saturating_duration_since(written);
        times.saturating_record(u64::try_from(took.as_micros())?);
        if number.is_multiple_of(50) || number == plan.swaps {
            let (done, failed) = (crowd.requests(), crowd.failures());
            tell(&format!(
                "swaps: {number} of {}, {done} requests, {failed} failed",
                plan.swaps
            ));
        }
    }
    let swapping = begun.elapsed();
    wait_until("the last requests", CATCH_UP, async || {
        Ok((crowd.requests() >= plan.requests).then_some(()))
    })
    .await?;
    let after = stage::applied(mesh, GATEWAY).await?;
    let summary = crowd.leave().await?;

    let mut findings = Findings::new("swaps");
    findings.note("swaps", plan.swaps);
    findings.note("applied_before", before);
    findings.note("applied_after", after);
    findings.note("swapping_seconds", swapping.as_secs_f64());
    findings.note("swap_ms_p50", millis(&times, 0.5));
    findings.note("swap_ms_p99", millis(&times, 0.99));
    findings.note("swap_ms_max", millis(&times, 1.0));
    summary.note_in(&mut findings);
    let disagreeing = versions.disagreeing();
    findings.note("disagreeing", disagreeing);
    let (requests, failed) = (summary.requests(), summary.failed());
    findings.claim(
        failed == 0,
        format!("{failed} of {requests} requests failed"),
    );
    findings.claim(
        disagreeing == 0,
        format!("{disagreeing} of {requests} answers disagreed with themselves on the version"),
    );
    findings.claim(
        requests >= plan.requests,
        format!("{requests} requests were sent ({} wanted)", plan.requests),
    );
    let applied = after.saturating_sub(before);
    findings.claim(
        applied >= plan.swaps,
        format!(
            "the gateway counts {applied} applied versions for {} swaps",
            plan.swaps
        ),
    );
    Ok(findings)
}

/// What the gateway has applied when nothing is left to apply.
async fn settle(mesh: &Mesh) -> anyhow::Result<u64> {
    let counts = stage::settled(mesh).await?;
    Ok(counts.get(GATEWAY).copied().unwrap_or_default())
}

fn millis(times: &Histogram<u64>, quantile: f64) -> f64 {
    let micros = u32::try_from(times.value_at_quantile(quantile)).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}
