//! A backend dies without a word, application and sidecar, and comes back.

use std::time::{Duration, Instant};

use crate::demo::acts::{ROUTING, Verdict, show_reasons};
use crate::demo::screen::Screen;
use crate::demo::users::{Crowd, PATIENCE, plan};
use crate::load::run;
use crate::mesh::{Mesh, wait_until};

/// A route without subsets: a request may go to either version, and a failed one to the other.
const RESILIENT: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: backend
  namespace: shop
spec:
  hosts:
    - backend
  http:
    - name: everything
      retries:
        attempts: 3
        perTryTimeout: 2s
        retryOn: connect-failure,refused-stream,reset,gateway-error
      route:
        - destination:
            host: backend
";

pub(super) async fn dying_backend(
    mesh: &mut Mesh,
    screen: &Screen,
) -> anyhow::Result<Vec<Verdict>> {
    screen.title("4. Version 2 of the backend is killed, application and sidecar, and comes back");
    mesh.write_config(ROUTING, RESILIENT)?;
    wait_until("both versions to answer", PATIENCE, async || {
        let report = run(plan(mesh).requests(40)).await;
        Ok((report.share("v2") > 20.0).then_some(()))
    })
    .await?;
    screen.table_head();
    let crowd = Crowd::gather(plan(mesh)).await?;
    let progress = screen.progress();
    crowd.watch(&progress, Duration::from_secs(1)).await;
    mesh.kill("backend-v2-app")?;
    mesh.kill("backend-v2")?;
    crowd.watch(&progress, Duration::from_secs(3)).await;
    let during = run(plan(mesh).requests(200)).await;
    for part in ["backend-v2-app", "backend-v2"] {
        mesh.start_part(part)?;
        mesh.wait_ready(part).await?;
    }
    let back = Instant::now();
    let answered = wait_until("version 2 to answer again", PATIENCE, async || {
        let report = run(plan(mesh).requests(40)).await;
        Ok((report.share("v2") > 0.0).then(|| back.elapsed()))
    })
    .await;
    crowd.watch(&progress, Duration::from_secs(2)).await;
    progress.finish();
    let report = crowd.leave().await?;
    screen.figures(&report);
    if let Some(retries) = retries(mesh).await {
        screen.line(&format!(
            "the frontend's sidecar tried {retries} requests again"
        ));
    }
    show_reasons(screen, &report);
    // What was on its way to a user at the very moment of the kill cannot be tried again.
    let tolerable = (report.requests / 1000).max(1);
    Ok(vec![
        Verdict {
            passed: during.failed == 0 && during.share("v1") >= 100.0,
            claim: format!(
                "while it was dead, version 1 answered {} of 200 requests",
                during.requests - during.failed
            ),
        },
        Verdict {
            passed: report.failed <= tolerable,
            claim: format!(
                "users saw {} failures in {} requests across death and return (retries on)",
                report.failed, report.requests
            ),
        },
        Verdict {
            passed: answered.is_ok(),
            claim: match &answered {
                Ok(time) => format!(
                    "version 2 answered again {} ms after it was ready",
                    time.as_millis()
                ),
                Err(error) => format!("version 2 did not come back: {error:#}"),
            },
        },
    ])
}

/// Retries that the frontend's sidecar counted over all its clusters.
async fn retries(mesh: &Mesh) -> Option<u64> {
    let page = mesh.proxy("frontend-1", "/stats").await.ok()?;
    let counts: Vec<u64> = page
        .body
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| name.ends_with(".upstream_rq_retry"))
        .filter_map(|(_, count)| count.trim().parse().ok())
        .collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}
