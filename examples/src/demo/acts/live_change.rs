//! The weights change while traffic runs: how soon, and at whose expense?

use std::time::{Duration, Instant};

use crate::demo::acts::{ROUTING, Verdict, none_failed};
use crate::demo::screen::Screen;
use crate::demo::users::{Crowd, PATIENCE, plan};
use crate::load::{Timeline, run};
use crate::mesh::{Mesh, wait_until, with_split};

/// The header by which an answer names the split it was routed by.
const SPLIT: &str = "x-shop-split";

pub(super) async fn live_change(mesh: &Mesh, screen: &Screen) -> anyhow::Result<Vec<Verdict>> {
    screen.title("2. The weights become 50/50 while traffic runs");
    screen.table_head();
    let timeline = Timeline::of(SPLIT);
    let noted = timeline.clone();
    let crowd = Crowd::gather(plan(mesh).check(move |parts, body| {
        noted.note(parts, body);
        Ok(())
    }))
    .await?;
    let progress = screen.progress();
    crowd.watch(&progress, Duration::from_secs(1)).await;
    let changed = with_split(&mesh.read_config(ROUTING)?, 50, 50);
    let written = Instant::now();
    mesh.write_config(ROUTING, &changed)?;
    let first = wait_until("the new weights", PATIENCE, async || {
        Ok(timeline.first("50-50"))
    })
    .await;
    crowd.watch(&progress, Duration::from_secs(2)).await;
    progress.finish();
    let report = crowd.leave().await?;
    screen.figures(&report);
    let first = first?.saturating_duration_since(written);
    let last = timeline
        .last("90-10")
        .map_or(Duration::ZERO, |at| at.saturating_duration_since(written));
    screen.line(&format!(
        "first answer by the new weights after {} ms, last by the old ones after {} ms",
        first.as_millis(),
        last.as_millis()
    ));
    let after = run(plan(mesh).requests(4000)).await;
    screen.figures(&after);
    let share = after.share("v2");
    Ok(vec![
        Verdict {
            passed: first.max(last) < Duration::from_secs(1),
            claim: format!(
                "the change was in force {} ms after the file was written",
                first.max(last).as_millis()
            ),
        },
        none_failed(screen, &report, "across the change"),
        Verdict {
            passed: (share - 50.0).abs() <= 4.0,
            claim: format!("afterwards version 2 got {share:.2} % (50 % wanted)"),
        },
    ])
}
