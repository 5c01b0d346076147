//! What `canary/README.md` promises.
#![expect(clippy::unwrap_used, reason = "a failed test may end in a panic")]

use std::time::{Duration, Instant};

use examples::load::{Amount, Plan, Tally, Timeline, run, run_with};
use examples::mesh::{Mesh, MeshOptions, wait_until, with_split};
use mesh_runtime::Drain;

const FILE: &str = "canary-routing.yaml";
const HOST: &str = "shop.example.com";
const SPLIT: &str = "x-shop-split";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_split_holds_and_changes_under_load() {
    let mesh = Mesh::start(MeshOptions::story("canary")).await.unwrap();
    let plan = Plan::new(mesh.gateway(), HOST, "/").share_by_header("x-shop-tier-backend");
    let report = run(plan.clone().requests(10_000).connections(8)).await;
    assert_eq!(report.failed, 0, "{report}");
    assert!((report.share("v2") - 10.0).abs() <= 2.0, "{report}");

    let timeline = Timeline::of(SPLIT);
    let noted = timeline.clone();
    let mut plan = plan.connections(8).check(move |parts, body| {
        noted.note(parts, body);
        let split = parts.headers.get(SPLIT).map(http::HeaderValue::as_bytes);
        let backend = parts
            .headers
            .get("x-shop-tier-backend")
            .map(http::HeaderValue::as_bytes);
        if split == Some(b"0-100") && backend != Some(b"v2") {
            return Err(format!("split 0-100, but {backend:?} answered"));
        }
        Ok(())
    });
    plan.amount = Amount::UntilStopped;
    let (tally, drain) = (Tally::default(), Drain::new());
    let (watched, stop) = (tally.clone(), drain.watch());
    let load = tokio::spawn(async move { run_with(plan, &watched, stop).await });
    wait_until("traffic", Duration::from_secs(10), async || {
        Ok((tally.snapshot().requests > 100).then_some(()))
    })
    .await
    .unwrap();

    change(&mesh, &timeline, (90, 10), (50, 50)).await;
    change(&mesh, &timeline, (50, 50), (0, 100)).await;
    drain.trigger();
    load.await.unwrap();
    let report = tally.snapshot();
    assert_eq!(report.failed, 0, "{report}");

    let plan = Plan::new(mesh.gateway(), HOST, "/").share_by_header("x-shop-tier-backend");
    let report = run(plan.requests(1000).connections(8)).await;
    assert!(
        (report.share("v2") - 100.0).abs() < f64::EPSILON,
        "{report}"
    );
}

/// Rewrites the weights while traffic runs, and checks how soon all of it follows.
async fn change(mesh: &Mesh, timeline: &Timeline, old: (u32, u32), new: (u32, u32)) {
    let text = mesh.read_config(FILE).unwrap();
    let changed = with_split(&text, new.0, new.1);
    let (old, new) = (
        format!("{}-{}", old.0, old.1),
        format!("{}-{}", new.0, new.1),
    );
    let written = Instant::now();
    mesh.write_config(FILE, &changed).unwrap();
    wait_until("the new split", Duration::from_secs(10), async || {
        Ok(timeline.first(&new))
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let last_old = timeline
        .last(&old)
        .unwrap()
        .saturating_duration_since(written);
    assert!(
        last_old < Duration::from_secs(1),
        "{old} was in force for {last_old:?}"
    );
}
