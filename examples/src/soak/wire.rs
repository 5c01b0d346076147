//! Damage on the wire between control plane and gateway: the damaged resource is refused by name
//! and field and its last good version keeps serving, while everything else, above all endpoint
//! changes, still arrives.

mod damage;

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::Tell;
use super::crowd::Crowd;
use super::findings::Findings;
use super::relay::Relay;
use super::stage::{self, GATEWAY, GATEWAY_WORKLOAD, PATIENCE, STAGE, VERSION_FILE, version_plan};
use super::versions::{VERSION, Versions};
use crate::load::run;
use crate::mesh::{Mesh, MeshOptions, wait_until};

pub(super) use damage::Damage;

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct WirePlan {
    /// Times that all faults are gone through.
    pub rounds: u64,
}

/// How long a gateway that got half a push is watched.
const WATCHED: Duration = Duration::from_millis(700);

/// Requests by which it is told where traffic goes.
const SAMPLE: u64 = 40;

/// A Service whose endpoints are given one by one, so that they change apart from all else.
const DIRECT: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: direct
  namespace: shop
spec:
  ports:
    - name: http
      port: 8080
      targetPort: 8080
";

/// Damages pushes to the gateway in every way, one after the other.
pub async fn wire_faults(
    plan: WirePlan,
    options: MeshOptions,
    tell: Tell<'_>,
) -> anyhow::Result<Findings> {
    tell("wire faults: starting a mesh");
    let mut mesh = Mesh::start(options).await?;
    let outcome = on(&mut mesh, plan, tell).await;
    stage::with_logs(outcome, &mesh)
}

async fn on(mesh: &mut Mesh, plan: WirePlan, tell: Tell<'_>) -> anyhow::Result<Findings> {
    let relay = Relay::start((mesh.ip(0, 2), 15012).into()).await?;
    mesh.kill(GATEWAY)?;
    mesh.set_flag(
        GATEWAY,
        "--control-plane",
        &format!("http://{}", relay.address()),
    )?;
    mesh.start_part(GATEWAY)?;
    mesh.wait_ready(GATEWAY).await?;
    mesh.write_config("soak-stage.yaml", STAGE)?;
    mesh.write_config("soak-direct.yaml", DIRECT)?;
    let mut scene = Scene {
        mesh,
        relay,
        versions: Versions::new(false),
        number: 0,
        turn: 0,
        findings: Findings::new("wire faults"),
    };
    scene.point_at("v1")?;
    scene.write_version(None)?;
    scene.serves("v1").await?;
    let judged = scene.versions.clone();
    let load = version_plan(scene.mesh).check(move |parts, body| judged.judge(parts, body));
    let crowd = Crowd::gather(vec![
        ("HTTP/1.1", load.clone().connections(2)),
        ("HTTP/2", load.http2(2)),
    ])
    .await?;
    for round in 1..=plan.rounds {
        for damage in Damage::ALL {
            tell(&format!(
                "wire faults: round {round} of {}, {damage}",
                plan.rounds
            ));
            scene
                .play(damage)
                .await
                .with_context(|| format!("{damage}"))?;
        }
    }
    let summary = crowd.leave().await?;
    let Scene {
        mut findings,
        versions,
        ..
    } = scene;
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
    Ok(findings)
}

/// A mesh whose gateway hears the control plane through a relay.
struct Scene<'a> {
    mesh: &'a Mesh,
    relay: Relay,
    versions: Versions,
    /// The newest version written.
    number: u64,
    /// Endpoint changes so far.
    turn: u64,
    findings: Findings,
}

impl Scene<'_> {
    async fn play(&mut self, damage: Damage) -> anyhow::Result<()> {
        let before = stage::applied(self.mesh, GATEWAY).await?;
        let good = self.number;
        self.relay.arm(damage);
        self.number += 1;
        self.write_version(Some(damage))?;
        if damage == Damage::HalfPush {
            self.half_push(good, before).await?;
        } else {
            self.refusal(damage, good).await?;
        }
        self.relay.heal();
        let arrived = self.versions.reached(self.number, PATIENCE).await;
        let newest = self.number;
        self.findings.claim(
            arrived.is_ok(),
            format!("{damage}: once the damage was over, version {newest} arrived"),
        );
        let clean = wait_until("nothing to be refused", PATIENCE, async || {
            let lines = stage::syncz(self.mesh).await?;
            let line = lines
                .get(GATEWAY_WORKLOAD)
                .context("the gateway is not connected")?;
            Ok((line.state == "SYNCED" && line.refused.is_empty()).then_some(()))
        })
        .await;
        self.findings.claim(
            clean.is_ok(),
            format!("{damage}: after that the gateway holds all it should"),
        );
        Ok(())
    }

    /// The damaged resource is refused; what it was stays, and endpoints change all the same.
    async fn refusal(&mut self, damage: Damage, good: u64) -> anyhow::Result<()> {
        let mut last = String::new();
        let refused = wait_until("a refusal", PATIENCE, async || {
            let lines = stage::syncz(self.mesh).await?;
            let line = lines
                .get(GATEWAY_WORKLOAD)
                .context("the gateway is not connected")?;
            let refusals = line.refused.iter();
            let refusals: Vec<String> = refusals
                .map(|refused| {
                    format!("{} {}: {}", refused.resource, refused.field, refused.reason)
                })
                .collect();
            last = format!("{} nacks; refused: {}", line.nacks, refusals.join("; "));
            let expected = |refused: &&stage::Refused| {
                damage.is_about(&refused.resource) && refused.field == damage.field()
            };
            Ok(line.refused.iter().find(expected).map(|_found| ()))
        })
        .await;
        let damaged = self.relay.damaged();
        self.findings.claim(
            refused.is_ok() && damaged > 0,
            format!("{damage}: the control plane knows what was refused, and where ({last})"),
        );
        // The next endpoints go to the other backend.
        self.turn += 1;
        let backend = super::versions::subset_of(self.turn);
        self.point_at(backend)?;
        let moved = self.serves(backend).await;
        self.findings.claim(
            moved.is_ok(),
            format!("{damage}: an endpoint change pushed after it took effect"),
        );
        let in_force = self.version_in_force().await?;
        let expected = if damage.spares_routes() {
            self.number
        } else {
            good
        };
        self.findings.claim(
            in_force == expected,
            format!("{damage}: version {in_force} of the route is in force ({expected} expected)"),
        );
        Ok(())
    }

    /// A push whose end never came leaves no trace.
    async fn half_push(&mut self, good: u64, before: u64) -> anyhow::Result<()> {
        wait_until("the stream to break off", PATIENCE, async || {
            Ok((self.relay.damaged() > 0).then_some(()))
        })
        .await?;
        tokio::time::sleep(WATCHED).await;
        let after = stage::applied(self.mesh, GATEWAY).await?;
        let in_force = self.version_in_force().await?;
        self.findings.claim(
            after == before && in_force == good,
            format!(
                "{}: applied {before} before and {after} after it, version {in_force} in force \
                 ({good} expected)",
                Damage::HalfPush
            ),
        );
        Ok(())
    }

    /// Writes the newest version so that every resource a damage is about changes with it.
    fn write_version(&self, damage: Option<Damage>) -> anyhow::Result<()> {
        let subset = (damage == Some(Damage::Dangling)).then(|| format!("fresh-{}", self.number));
        let host = "direct";
        let mut text = stage::route_yaml(self.number, host, subset.as_deref());
        let milliseconds = 1000 + self.number;
        text.push_str(&damage::destination_rule(
            host,
            milliseconds,
            subset.as_deref(),
        ));
        self.mesh.write_config(VERSION_FILE, &text)
    }

    /// Makes one backend the only endpoint of the direct Service.
    fn point_at(&self, backend: &str) -> anyhow::Result<()> {
        let address = self.mesh.address_of(&format!("backend-{backend}"))?;
        self.mesh.write_config(
            "soak-endpoints.yaml",
            &format!(
                "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: direct-1
  namespace: shop
  labels:
    kubernetes.io/service-name: direct
addressType: IPv4
endpoints:
  - addresses:
      - {address}
ports:
  - name: http
    port: 8080
    protocol: TCP
"
            ),
        )
    }

    /// Waits until one backend answers everything.
    async fn serves(&self, backend: &str) -> anyhow::Result<()> {
        wait_until(
            &format!("{backend} to answer everything"),
            PATIENCE,
            async || {
                let plan = version_plan(self.mesh)
                    .requests(SAMPLE)
                    .share_by_header("x-shop-version");
                let report = run(plan).await;
                ensure!(report.failed == 0, "{report}");
                Ok((report.shares.get(backend) == Some(&SAMPLE)).then_some(()))
            },
        )
        .await
    }

    async fn version_in_force(&self) -> anyhow::Result<u64> {
        let plan = version_plan(self.mesh)
            .requests(SAMPLE)
            .share_by_header(VERSION);
        let report = run(plan).await;
        ensure!(report.failed == 0 && report.shares.len() == 1, "{report}");
        let number = report.shares.keys().next().context("no version")?;
        Ok(number.parse()?)
    }
}
