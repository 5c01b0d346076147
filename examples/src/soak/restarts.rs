//! Control plane crashes under load: nobody notices, nothing is sent twice, and nothing that was
//! changed or deleted meanwhile is lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::Request;

use super::Tell;
use super::crowd::Crowd;
use super::findings::Findings;
use super::stage::{
    self, GATEWAY, HOST, PATIENCE, STAGE, VERSION_FILE, version_plan, version_yaml,
};
use super::versions::Versions;
use crate::load::{Plan, run};
use crate::mesh::{Mesh, MeshOptions, send, wait_until};

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct RestartsPlan {
    /// Crashes of the control plane.
    pub restarts: u64,
}

const CONTROL_PLANE: &str = "control-plane";

/// How long the control plane stays away each time.
const AWAY: Duration = Duration::from_millis(300);

/// How long nothing must be applied after a reconnect.
const QUIET: Duration = Duration::from_millis(500);

/// Requests that a proxy restarted without control plane must answer.
const ALONE: u64 = 200;

/// Details are for people; the first few tell.
const SHOWN_DETAILS: usize = 8;

/// The host of the route that is deleted.
const LEAVING_HOST: &str = "leaving.example.com";

/// A route that is deleted while the control plane is away.
const LEAVING_ROUTE: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: leaving
  namespace: shop
spec:
  hosts:
    - leaving.example.com
  gateways:
    - soak
  http:
    - name: leaving
      route:
        - destination:
            host: backend
            port:
              number: 8080
";

/// A Service that is deleted while the control plane is away.
const LEAVING_SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: leaving
  namespace: shop
spec:
  selector:
    app: backend
  ports:
    - name: http
      port: 8080
      targetPort: 8080
";

/// Kills and restarts the control plane under load.
pub async fn restarts(
    plan: RestartsPlan,
    options: MeshOptions,
    tell: Tell<'_>,
) -> anyhow::Result<Findings> {
    tell("restarts: starting a mesh");
    let mut mesh = Mesh::start(options).await?;
    let outcome = on(&mut mesh, plan, tell).await;
    stage::with_logs(outcome, &mesh)
}

async fn on(mesh: &mut Mesh, plan: RestartsPlan, tell: Tell<'_>) -> anyhow::Result<Findings> {
    let mut findings = Findings::new("restarts");
    let versions = Versions::new(true);
    mesh.write_config("soak-stage.yaml", STAGE)?;
    mesh.write_config("soak-leaving-route.yaml", LEAVING_ROUTE)?;
    mesh.write_config("soak-leaving-service.yaml", LEAVING_SERVICE)?;
    mesh.write_config(VERSION_FILE, &version_yaml(0))?;
    // What is to be deleted must have worked before.
    answers(mesh, LEAVING_HOST, 200).await?;
    offers(mesh, 200).await?;
    answers(mesh, HOST, 200).await?;

    let judged = versions.clone();
    let versioned = version_plan(mesh).check(move |parts, body| judged.judge(parts, body));
    let shop = Plan::new(mesh.gateway(), "shop.example.com", "/");
    let crowd = Crowd::gather(vec![
        ("HTTP/1.1 through all tiers", shop.connections(2)),
        ("HTTP/2 to the backend", versioned.http2(4)),
    ])
    .await?;
    let before = stage::settled(mesh).await?;
    let mut crashes = Crashes::default();
    for number in 1..=plan.restarts {
        crashes
            .one(mesh, &before)
            .await
            .with_context(|| format!("crash {number}"))?;
        let failed = crowd.failures();
        tell(&format!(
            "restarts: {number} of {}, {failed} failed",
            plan.restarts
        ));
    }
    crashes.judge(plan.restarts, &mut findings);

    tell("restarts: a change and two deletions while the control plane is away");
    mesh.kill(CONTROL_PLANE)?;
    mesh.write_config(VERSION_FILE, &version_yaml(1))?;
    mesh.remove_config("soak-leaving-route.yaml")?;
    mesh.remove_config("soak-leaving-service.yaml")?;
    tokio::time::sleep(AWAY).await;
    let unchanged = stage::all_applied(mesh).await?;
    mesh.start_part(CONTROL_PLANE)?;
    mesh.wait_ready(CONTROL_PLANE).await?;
    let begun = Instant::now();
    let changed = versions.reached(1, PATIENCE).await;
    findings.claim(changed.is_ok(), "a change made while it was away arrived");
    let gone = answers(mesh, LEAVING_HOST, 404).await;
    findings.claim(
        gone.is_ok(),
        "a route deleted while it was away is gone from the gateway",
    );
    let gone = offers(mesh, 404).await;
    findings.claim(
        gone.is_ok(),
        "a Service deleted while it was away is gone from the sidecars",
    );
    findings.note("caught_up_ms", u64::try_from(begun.elapsed().as_millis())?);
    findings.claim(
        unchanged == before,
        format!("until it was back, nobody applied anything: {unchanged:?}"),
    );
    let summary = crowd.leave().await?;
    summary.note_in(&mut findings);
    let (failed, requests) = (summary.failed(), summary.requests());
    findings.claim(
        failed == 0,
        format!("{failed} of {requests} requests failed"),
    );
    let disagreeing = versions.disagreeing();
    findings.claim(
        disagreeing == 0,
        format!("{disagreeing} answers disagreed on the version"),
    );

    alone(mesh, tell, &mut findings).await?;
    Ok(findings)
}

/// What the crashes showed.
#[derive(Debug, Default)]
struct Crashes {
    resources: u64,
    removals: u64,
    moved: u64,
    worst: Duration,
    details: Vec<String>,
}

impl Crashes {
    async fn one(
        &mut self,
        mesh: &mut Mesh,
        before: &BTreeMap<&'static str, u64>,
    ) -> anyhow::Result<()> {
        mesh.kill(CONTROL_PLANE)?;
        tokio::time::sleep(AWAY).await;
        mesh.start_part(CONTROL_PLANE)?;
        mesh.wait_ready(CONTROL_PLANE).await?;
        let ready = Instant::now();
        stage::all_synced(mesh).await?;
        self.worst = self.worst.max(ready.elapsed());
        tokio::time::sleep(QUIET).await;
        for (name, line) in stage::all_synced(mesh).await? {
            if line.resources_sent + line.removals_sent > 0 {
                self.details.push(format!(
                    "{name} was sent {} resources and {} removals",
                    line.resources_sent, line.removals_sent
                ));
            }
            self.resources += line.resources_sent;
            self.removals += line.removals_sent;
        }
        let after = stage::all_applied(mesh).await?;
        if after != *before {
            self.moved += 1;
            self.details.push(format!(
                "applied counters went from {before:?} to {after:?}"
            ));
        }
        Ok(())
    }

    fn judge(self, restarts: u64, findings: &mut Findings) {
        findings.note("restarts", restarts);
        findings.note("resources_sent_after_reconnects", self.resources);
        findings.note("removals_sent_after_reconnects", self.removals);
        findings.note("slowest_reconnect_seconds", self.worst.as_secs_f64());
        let details = self.details.iter().take(SHOWN_DETAILS).cloned();
        findings.note("details", details.collect::<Vec<String>>());
        findings.claim(
            self.resources + self.removals == 0,
            format!(
                "with nothing changed, {} resources and {} removals were sent after {restarts} \
                 reconnects of every proxy",
                self.resources, self.removals
            ),
        );
        findings.claim(
            self.moved == 0,
            format!(
                "the applied counters moved after {} of {restarts} reconnects",
                self.moved
            ),
        );
    }
}

/// Proxies that start while there is no control plane at all.
async fn alone(mesh: &mut Mesh, tell: Tell<'_>, findings: &mut Findings) -> anyhow::Result<()> {
    tell("restarts: proxies start without a control plane");
    stage::all_synced(mesh).await?;
    mesh.kill(CONTROL_PLANE)?;
    for name in [GATEWAY, "backend-v2"] {
        mesh.restart(name)
            .await
            .with_context(|| format!("{name} without control plane"))?;
    }
    let versions = Versions::new(true);
    let judged = versions.clone();
    let load = version_plan(mesh).check(move |parts, body| judged.judge(parts, body));
    let report = run(load.requests(ALONE).connections(2)).await;
    findings.note("failures_alone", report.reasons.clone());
    findings.claim(
        report.failed == 0,
        format!(
            "a gateway and a sidecar restarted without control plane failed {} of {ALONE} requests",
            report.failed
        ),
    );
    let restarted = stage::all_applied(mesh).await?;
    mesh.start_part(CONTROL_PLANE)?;
    mesh.wait_ready(CONTROL_PLANE).await?;
    let lines = stage::all_synced(mesh).await?;
    tokio::time::sleep(QUIET).await;
    let sent: u64 = lines
        .values()
        .map(|line| line.resources_sent + line.removals_sent)
        .sum();
    let after = stage::all_applied(mesh).await?;
    findings.claim(
        sent == 0 && after == restarted,
        format!(
            "what they had kept on disk was all they needed: {sent} resources sent after the \
             reconnect, applied counters {restarted:?}, then {after:?}"
        ),
    );
    Ok(())
}

/// Waits until the gateway answers a host with a status.
async fn answers(mesh: &Mesh, host: &str, status: u16) -> anyhow::Result<()> {
    eventually(mesh.gateway(), host, status).await
}

/// Waits until the frontend's sidecar answers for the Service that is deleted with a status.
async fn offers(mesh: &Mesh, status: u16) -> anyhow::Result<()> {
    eventually(mesh.outbound("frontend-1")?, "leaving:8080", status).await
}

async fn eventually(to: std::net::SocketAddr, host: &str, status: u16) -> anyhow::Result<()> {
    let mut last = String::new();
    let seen = wait_until(
        &format!("{status} from {host} at {to}"),
        PATIENCE,
        async || {
            let request = Request::get("/echo").header("host", host);
            let page = send(to, request.body(String::new())?).await?;
            last = format!("{} {}", page.status, page.body);
            Ok((page.status == status).then_some(()))
        },
    )
    .await;
    seen.with_context(|| format!("last answer: {last}"))
}
