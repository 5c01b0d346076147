//! Hostile clients: bytes that no decent client sends, on every listener of two live proxies,
//! while decent clients go on. Whoever is refused is refused alone.

mod http1;
mod http2;
mod probe;
mod random;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Tell;
use super::crowd::Crowd;
use super::findings::Findings;
use super::stage::{
    self, GATEWAY, HOST, PATIENCE, STAGE, VERSION_FILE, version_plan, version_yaml,
};
use super::versions::Versions;
use crate::load::Plan;
use crate::mesh::{Mesh, MeshOptions, wait_until};

use probe::{Attack, Outcome, Verdict};
use random::Random;

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct HostilePlan {
    /// Times that all attacks are gone through, with other random bytes each time.
    pub rounds: u64,
    /// Where the random bytes begin.
    pub seed: u64,
}

/// A path that only ever stands in the body of another request: whoever serves it was tricked.
const SMUGGLED: &str = "/smuggled";

/// Attacks at once.
const AT_ONCE: usize = 16;

/// Half requests held open on each HTTP listener all the time.
const STALLED: usize = 50;

/// The time limit for request heads that the proxies under attack are given.
const HEAD_TIMEOUT: &str = "2s";

/// Details are for people; the first few tell.
const SHOWN_DETAILS: usize = 12;

/// The sidecar under attack.
const SIDECAR: &str = "frontend-1";

/// What a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surface {
    /// Traffic over HTTP: every attack must be turned away.
    Http,
    /// Admin pages, metrics and probes: the same.
    Admin,
    /// Opaque bytes: they go through, whatever they are.
    Tcp,
}

/// One listener of a proxy.
#[derive(Debug, Clone, Copy)]
struct Target {
    address: SocketAddr,
    surface: Surface,
    /// The host of a request that would be served.
    host: &'static str,
}

/// Attacks every listener of the gateway and of a sidecar.
pub async fn hostile_bytes(
    plan: HostilePlan,
    options: MeshOptions,
    tell: Tell<'_>,
) -> anyhow::Result<Findings> {
    tell("hostile bytes: starting a mesh");
    let mut mesh = Mesh::start(options).await?;
    let outcome = on(&mut mesh, plan, tell).await;
    stage::with_logs(outcome, &mesh)
}

async fn on(mesh: &mut Mesh, plan: HostilePlan, tell: Tell<'_>) -> anyhow::Result<Findings> {
    for name in [GATEWAY, SIDECAR] {
        mesh.set_flag(name, "--header-read-timeout", HEAD_TIMEOUT)?;
        mesh.restart(name).await?;
    }
    mesh.write_config("soak-stage.yaml", STAGE)?;
    mesh.write_config(VERSION_FILE, &version_yaml(0))?;
    let versions = Versions::new(true);
    let judged = versions.clone();
    let versioned = version_plan(mesh).check(move |parts, body| judged.judge(parts, body));
    let first = versioned.clone().requests(1);
    wait_until("the first answer", PATIENCE, async || {
        let report = crate::load::run(first.clone()).await;
        Ok((report.failed == 0).then_some(()))
    })
    .await?;
    let shop = Plan::new(mesh.gateway(), "shop.example.com", "/");
    let crowd = Crowd::gather(vec![
        ("HTTP/1.1 through all tiers", shop.connections(2)),
        ("HTTP/2 to the backend", versioned.http2(4)),
    ])
    .await?;
    let before = identities(mesh).await?;
    let targets = targets(mesh)?;
    let stalls = probe::stall(&targets, STALLED).await;
    let mut results = Results::default();
    for round in 0..plan.rounds {
        let attacks = attacks(plan.seed.wrapping_add(round));
        results.collect(&targets, &attacks).await?;
        let (done, failed) = (crowd.requests(), crowd.failures());
        tell(&format!(
            "hostile bytes: round {} of {}, {} attacks, {done} requests of others, {failed} failed",
            round + 1,
            plan.rounds,
            results.attacks
        ));
    }
    let stalls = stalls.wait().await;
    let summary = crowd.leave().await?;
    let after = identities(mesh).await?;

    let mut findings = Findings::new("hostile bytes");
    results.judge(&mut findings);
    findings.claim(
        stalls.left_open == 0,
        format!(
            "{} of {} half requests outlived the time limit",
            stalls.left_open, stalls.opened
        ),
    );
    let smuggled = smuggled(mesh).await?;
    findings.claim(
        smuggled == 0,
        format!("{smuggled} smuggled requests reached an application"),
    );
    findings.claim(
        before == after,
        format!("the same processes run: {before:?}, then {after:?}"),
    );
    summary.note_in(&mut findings);
    let (failed, requests) = (summary.failed(), summary.requests());
    findings.claim(
        failed == 0,
        format!("{failed} of {requests} decent requests failed"),
    );
    Ok(findings)
}

/// Everything a proxy listens on.
fn targets(mesh: &Mesh) -> anyhow::Result<Vec<Target>> {
    let mut targets = Vec::new();
    for name in [GATEWAY, SIDECAR] {
        let address = mesh.address_of(name)?;
        let mut add = |port: u16, surface, host| {
            let address = (address, port).into();
            targets.push(Target {
                address,
                surface,
                host,
            });
        };
        for port in [15000, 15020, 15021, 15090] {
            add(port, Surface::Admin, "localhost");
        }
        if name == GATEWAY {
            add(8080, Surface::Http, HOST);
        } else {
            add(8080, Surface::Http, "frontend:8080");
            add(15001, Surface::Http, "backend:8080");
            add(7000, Surface::Tcp, "store:7000");
        }
    }
    Ok(targets)
}

/// All attacks of one round.
fn attacks(seed: u64) -> Vec<Arc<Attack>> {
    let mut random = Random::new(seed);
    let mut attacks = http1::attacks(&mut random);
    attacks.extend(http2::attacks(&mut random));
    attacks.into_iter().map(Arc::new).collect()
}

/// The processes under attack: their ids, and that they answer.
async fn identities(mesh: &Mesh) -> anyhow::Result<BTreeMap<&'static str, u32>> {
    let mut identities = BTreeMap::new();
    for name in [GATEWAY, SIDECAR] {
        // A process that died is not started again, so whoever answers is the one started.
        let ready = (mesh.address_of(name)?, 15021).into();
        let page = crate::mesh::fetch(ready, "/healthz/ready").await;
        page.and_then(|page| page.expect_ok())
            .with_context(|| format!("{name} is not ready"))?;
        let pid = mesh
            .pid(name)
            .with_context(|| format!("{name} is not running"))?;
        identities.insert(name, pid);
    }
    Ok(identities)
}

/// Requests that applications saw and nobody sent.
async fn smuggled(mesh: &Mesh) -> anyhow::Result<u64> {
    let mut count = 0;
    for workload in ["frontend-1", "backend-v1", "backend-v2", "store-1"] {
        let counters = mesh.counters(workload).await?;
        let paths = counters.get("paths").context("counters without paths")?;
        count += paths
            .get(SMUGGLED)
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0);
    }
    Ok(count)
}

/// What came of all attacks.
#[derive(Debug, Default)]
struct Results {
    attacks: u64,
    by_outcome: BTreeMap<Outcome, u64>,
    let_in: Vec<String>,
    ignored: Vec<String>,
}

impl Results {
    async fn collect(&mut self, targets: &[Target], attacks: &[Arc<Attack>]) -> anyhow::Result<()> {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut running = JoinSet::new();
        for attack in attacks {
            for &target in targets {
                let (attack, places) = (Arc::clone(attack), Arc::clone(&places));
                running.spawn(async move {
                    let _place = places.acquire_owned().await;
                    let outcome = probe::attempt(&attack, target).await;
                    (attack, target, outcome)
                });
            }
        }
        while let Some(ended) = running.join_next().await {
            let (attack, target, outcome) = ended.context("an attack ended early")?;
            self.attacks += 1;
            *self.by_outcome.entry(outcome).or_insert(0) += 1;
            let line = format!("{} at {}: {outcome:?}", attack.name, target.address);
            match attack.verdict(target, outcome) {
                Verdict::AsItShould => {}
                Verdict::LetIn => self.let_in.push(line),
                Verdict::Ignored => self.ignored.push(line),
            }
        }
        Ok(())
    }

    fn judge(&self, findings: &mut Findings) {
        findings.note("attacks", self.attacks);
        let outcomes = self.by_outcome.iter();
        let outcomes: Vec<String> = outcomes
            .map(|(outcome, count)| format!("{outcome:?}: {count}"))
            .collect();
        findings.note("outcomes", outcomes);
        let shown = |lines: &[String]| -> Vec<String> {
            let mut lines = lines.to_vec();
            lines.sort();
            lines.dedup();
            lines.truncate(SHOWN_DETAILS);
            lines
        };
        findings.note("let_in", shown(&self.let_in));
        findings.note("ignored", shown(&self.ignored));
        let attacks = self.attacks;
        let let_in = self.let_in.len();
        findings.claim(
            let_in == 0,
            format!("{let_in} of {attacks} attacks got a success"),
        );
        let ignored = self.ignored.len();
        findings.claim(
            ignored == 0,
            format!("{ignored} of {attacks} attacks were neither answered nor closed in time"),
        );
    }
}

/// How long a stalled connection may live: the time limit, and time to notice on a busy machine.
const STALL_PATIENCE: Duration = Duration::from_secs(10);
