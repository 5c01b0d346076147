//! A header decides which version answers.

use std::path::Path;

use anyhow::Context as _;

use crate::demo::acts::{ROUTING, Verdict};
use crate::demo::screen::Screen;
use crate::demo::users::{PATIENCE, plan};
use crate::load::{Report, run};
use crate::mesh::{Mesh, wait_until};

pub(super) async fn header_routing(
    mesh: &Mesh,
    screen: &Screen,
    examples: &Path,
) -> anyhow::Result<Vec<Verdict>> {
    screen.title("3. Routing by header: x-user: tester sees version 2, everybody else version 1");
    let file = examples.join("header-routing").join("routing.yaml");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    mesh.write_config(ROUTING, &text)?;
    let sees = |report: &Report, version: &str| report.shares.get(version).copied().unwrap_or(0);
    wait_until("the new routes", PATIENCE, async || {
        let report = run(plan(mesh).requests(40)).await;
        Ok((sees(&report, "v1") == 40).then_some(()))
    })
    .await?;
    screen.table_head();
    let testers = run(plan(mesh).requests(500).header("x-user", "tester")).await;
    screen.figures(&testers);
    let others = run(plan(mesh).requests(500).header("x-user", "somebody")).await;
    screen.figures(&others);
    Ok(vec![
        Verdict {
            passed: sees(&testers, "v2") == 500,
            claim: format!(
                "{} of 500 requests of a tester saw version 2",
                sees(&testers, "v2")
            ),
        },
        Verdict {
            passed: sees(&others, "v1") == 500,
            claim: format!(
                "{} of 500 other requests saw version 1",
                sees(&others, "v1")
            ),
        },
    ])
}
