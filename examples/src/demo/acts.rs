//! The acts of the tour, each with the claims it proves or fails to prove.

mod dying_backend;
mod header_routing;
mod live_change;

use std::path::Path;

use super::screen::Screen;
use super::users::{HOST, plan, shown};
use crate::load::Report;
use crate::mesh::Mesh;

/// The file that every act rewrites.
const ROUTING: &str = "canary-routing.yaml";

/// One claim and whether it held.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) passed: bool,
    pub(super) claim: String,
}

/// Plays all acts. One that cannot be finished is a claim that failed, and the last.
pub(super) async fn all(
    mesh: &mut Mesh,
    screen: &Screen,
    requests: u64,
    examples: &Path,
) -> Vec<Verdict> {
    let mut verdicts = split(mesh, screen, requests).await;
    for act in [Act::LiveChange, Act::HeaderRouting, Act::DyingBackend] {
        let played = match act {
            Act::LiveChange => live_change::live_change(mesh, screen).await,
            Act::HeaderRouting => header_routing::header_routing(mesh, screen, examples).await,
            Act::DyingBackend => dying_backend::dying_backend(mesh, screen).await,
        };
        match played {
            Ok(proven) => verdicts.extend(proven),
            Err(error) => {
                verdicts.push(Verdict {
                    passed: false,
                    claim: format!("{act:?}: {error:#}"),
                });
                break;
            }
        }
    }
    verdicts
}

/// The acts that change something.
#[derive(Debug, Clone, Copy)]
enum Act {
    LiveChange,
    HeaderRouting,
    DyingBackend,
}

/// Puts the canary back and says what there is to play with.
pub(super) fn leave_running(mesh: &Mesh, screen: &Screen) -> anyhow::Result<()> {
    mesh.write_config(ROUTING, include_str!("../../canary/routing.yaml"))?;
    screen.title("Everything keeps running until ctrl-C");
    let gateway = mesh.gateway();
    screen.line(&format!(
        "the shop           curl -H 'host: {HOST}' http://{gateway}/"
    ));
    screen.line(&format!(
        "load               load --to {gateway} --host {HOST} --share-header x-shop-tier-backend"
    ));
    screen.line(&format!(
        "edit this folder   {}",
        mesh.config_dir().display()
    ));
    screen.line(&format!(
        "its weights        {}",
        mesh.config_dir().join(ROUTING).display()
    ));
    screen.line(&format!("logs               {}", mesh.log_dir().display()));
    screen.line(&format!(
        "control plane      http://{}:15014/",
        mesh.ip(0, 2)
    ));
    for name in [
        "istio-ingressgateway-1",
        "frontend-1",
        "backend-v1",
        "backend-v2",
        "store-1",
    ] {
        let address = mesh.address_of(name)?;
        screen.line(&format!(
            "{name:<24} http://{address}:15000/  (metrics on 15090)"
        ));
    }
    Ok(())
}

async fn split(mesh: &Mesh, screen: &Screen, requests: u64) -> Vec<Verdict> {
    screen.title(&format!(
        "1. A canary: 90 % to version 1, 10 % to version 2, {requests} requests"
    ));
    screen.table_head();
    let progress = screen.progress();
    let report = shown(plan(mesh).requests(requests), &progress).await;
    progress.finish();
    screen.figures(&report);
    let share = report.share("v2");
    vec![
        Verdict {
            passed: (share - 10.0).abs() <= 2.0,
            claim: format!("version 2 got {share:.2} % of {requests} requests (10 % wanted)"),
        },
        none_failed(screen, &report, "while the split was measured"),
    ]
}

fn none_failed(screen: &Screen, report: &Report, when: &str) -> Verdict {
    show_reasons(screen, report);
    Verdict {
        passed: report.failed == 0,
        claim: format!(
            "{} of {} requests failed {when}",
            report.failed, report.requests
        ),
    }
}

fn show_reasons(screen: &Screen, report: &Report) {
    for reason in &report.reasons {
        screen.line(&format!("failure: {reason}"));
    }
}
