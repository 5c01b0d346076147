//! Floods and greed: what a few hostile clients do to everybody else, at a gateway, at both sides
//! of a sidecar, and at HAProxy in the same run.
//!
//! Lawful clients send 300 requests a second beside each attack. All of them must be answered;
//! memory and files stay bounded; the log stays readable; and when the attackers are gone, nothing
//! of theirs is left. Latency is reported beside the quiet one and HAProxy's, and judged by people:
//! it depends on the machine.

mod attack;
mod frames;
mod victim;

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mesh_runtime::Drain;

use super::Tell;
use super::findings::Findings;
use super::stage::{
    self, GATEWAY, HOST, PATIENCE, STAGE, VERSION_FILE, version_plan, version_yaml,
};
use super::usage::Usage;
use crate::load::{Amount, Plan, Report, run};
use crate::mesh::{Mesh, MeshOptions, Metrics, wait_until};
pub use attack::Attack;
use victim::{Peer, Victim};

/// How much of it.
#[derive(Debug, Clone)]
pub struct FloodsPlan {
    /// How long each attack goes on.
    pub time: Duration,
    /// With how many connections at once.
    pub connections: Vec<usize>,
    /// How often; the table shows the middle one.
    pub rounds: usize,
    /// Which attacks; all if empty.
    pub only: Vec<Attack>,
}

/// Requests per second of lawful clients, half of them over each version of HTTP.
const LAWFUL: f64 = 300.0;
/// How long the quiet before the attacks is measured.
const QUIET: Duration = Duration::from_secs(3);
/// How often what a process uses is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// What an attack may add to resident memory.
const MEMORY: u64 = 64 << 20;
/// Files that may still be open a while after an attack, beyond those before it: connections that
/// lawful requests left in pools.
const FILES_LEFT: u64 = 64;
/// Lines a second that attackers may cause.
const LINES: f64 = 10.0;
/// How long after an attack its connections may take to be gone.
const AFTERMATH: Duration = Duration::from_secs(10);
/// Why the proxy ended connections.
const ENDED: &str = "proxy_connections_ended_total";
const EVICTED: &str = "proxy_connections_evicted_total";

/// Attacks every kind of listener, and HAProxy if it is installed.
pub async fn floods(
    plan: FloodsPlan,
    options: MeshOptions,
    tell: Tell<'_>,
) -> anyhow::Result<Findings> {
    tell("floods: starting a mesh");
    let mesh = Mesh::start(options).await?;
    let outcome = on(&mesh, &plan, tell).await;
    stage::with_logs(outcome, &mesh)
}

async fn on(mesh: &Mesh, plan: &FloodsPlan, tell: Tell<'_>) -> anyhow::Result<Findings> {
    mesh.write_config("soak-stage.yaml", STAGE)?;
    mesh.write_config(VERSION_FILE, &version_yaml(1))?;
    let first = version_plan(mesh).requests(1);
    wait_until("the first answer", PATIENCE, async || {
        let report = run(first.clone()).await;
        Ok((report.failed == 0).then_some(()))
    })
    .await?;
    victim::pin_others(mesh);
    let peer = Peer::start(mesh.ip(9, 9), mesh.app("backend-v1")?).await?;
    let mut victims = vec![
        Victim::of_mesh(mesh, ("gateway", GATEWAY), mesh.gateway(), HOST)?,
        Victim::of_mesh(
            mesh,
            ("outbound", "frontend-1"),
            mesh.outbound("frontend-1")?,
            "backend:8080",
        )?,
        Victim::of_mesh(
            mesh,
            ("inbound", "backend-v1"),
            (mesh.address_of("backend-v1")?, 8080).into(),
            "backend:8080",
        )?,
    ];
    victims.extend(peer.as_ref().map(|peer| peer.victim("backend:8080")));
    let mut findings = Findings::new("floods");
    if peer.is_none() {
        findings.note(
            "peer",
            "HAProxy is not installed, so nothing is compared with it",
        );
    }
    let rows = attack_all(mesh, &victims, plan, tell).await;
    judge(&rows, &mut findings);
    Ok(findings)
}

async fn attack_all(
    mesh: &Mesh,
    victims: &[Victim],
    plan: &FloodsPlan,
    tell: Tell<'_>,
) -> Vec<Row> {
    let all = <Attack as clap::ValueEnum>::value_variants();
    let chosen = if plan.only.is_empty() {
        all
    } else {
        &plan.only
    };
    let total = chosen.len() * plan.connections.len() * victims.len();
    let mut rows = Vec::new();
    for victim in victims {
        let quiet = lawful(victim, QUIET).await.milliseconds(0.99);
        for attack in chosen {
            for connections in &plan.connections {
                let mut tries = Vec::new();
                for _round in 0..plan.rounds.max(1) {
                    tries.push(one(mesh, victim, (*attack, *connections), plan.time).await);
                }
                tries.sort_by(|one, other| one.p99.total_cmp(&other.p99));
                let mut row = tries.swap_remove(tries.len() / 2);
                row.quiet = quiet;
                rows.push(row);
                tell(&format!(
                    "floods: {} of {total}: {:?} with {connections} at {}",
                    rows.len(),
                    attack,
                    victim.name
                ));
            }
        }
    }
    rows
}

/// What one attack did.
#[derive(Debug)]
struct Row {
    victim: &'static str,
    ours: bool,
    attack: Attack,
    connections: usize,
    lawful: Report,
    p99: f64,
    quiet: f64,
    before: Usage,
    most: Usage,
    after: Usage,
    /// Lines a second.
    lines: f64,
    begun: u64,
    ended: u64,
    reasons: String,
}

/// Lawful requests over both versions of HTTP, for a while.
async fn lawful(victim: &Victim, time: Duration) -> Report {
    let plan = |plan: Plan| Plan {
        amount: Amount::For(time),
        rate: Some(LAWFUL / 2.0),
        timeout: Duration::from_secs(20),
        ..plan
    };
    let to = || Plan::new(victim.aim.address, victim.aim.host.clone(), "/echo");
    let (http1, http2) = tokio::join!(run(plan(to().connections(4))), run(plan(to().http2(4))));
    http1.and(http2)
}

async fn one(
    mesh: &Mesh,
    victim: &Victim,
    (attack, connections): (Attack, usize),
    time: Duration,
) -> Row {
    let (before, counted) = (victim.usage(), metrics(mesh, victim).await);
    let stop = Drain::new();
    let attacking = attack.run(victim.aim.clone(), connections, stop.watch());
    let looking = async {
        let mut most = before;
        let watch = stop.watch();
        while !watch.is_triggered() {
            let now = victim.usage();
            most = most.and(now);
            tokio::time::sleep(LOOK).await;
        }
        most
    };
    let lawful = async {
        let report = lawful(victim, time).await;
        stop.trigger();
        report
    };
    let (toll, most, lawful) = tokio::join!(attacking, looking, lawful);
    let reasons = match victim.part {
        Some(_) => reasons(&counted, &metrics(mesh, victim).await),
        None => String::new(),
    };
    let after = aftermath(victim, before).await;
    let seconds = time.as_secs_f64().max(1.0);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a log has far fewer lines than 2^52"
    )]
    let lines = most.lines.saturating_sub(before.lines) as f64 / seconds;
    Row {
        victim: victim.name,
        ours: victim.part.is_some(),
        attack,
        connections,
        p99: lawful.milliseconds(0.99),
        lawful,
        quiet: 0.0,
        before,
        most,
        after,
        lines,
        begun: toll.begun.load(Ordering::Relaxed),
        ended: toll.ended.load(Ordering::Relaxed),
        reasons,
    }
}

/// What is left when the attackers are gone.
async fn aftermath(victim: &Victim, before: Usage) -> Usage {
    let started = tokio::time::Instant::now();
    loop {
        let now = victim.usage();
        if now.files <= before.files + FILES_LEFT || started.elapsed() > AFTERMATH {
            return now;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn metrics(mesh: &Mesh, victim: &Victim) -> Metrics {
    match victim.part {
        Some(part) => mesh.metrics(part).await.unwrap_or_default(),
        None => Metrics::default(),
    }
}

/// Why the proxy ended connections meanwhile.
fn reasons(before: &Metrics, after: &Metrics) -> String {
    let mut text = String::new();
    for reason in after.values(ENDED, "reason") {
        let labels = [("reason", reason.as_str())];
        let count = after.sum(ENDED, &labels) - before.sum(ENDED, &labels);
        if count > 0.0 {
            // Writing to a String cannot fail.
            let _written = write!(text, "{reason}: {count} ");
        }
    }
    let evicted = after.sum(EVICTED, &[]) - before.sum(EVICTED, &[]);
    if evicted > 0.0 {
        let _written = write!(text, "evicted: {evicted}");
    }
    text.trim_end().to_owned()
}

fn judge(rows: &[Row], findings: &mut Findings) {
    let header = format!(
        "{:<9} {:<15} {:>4} {:>8} {:>9} {:>9} {:>8} {:>6} {:>6} {:>7} {:>11}  ended by the proxy",
        "at",
        "attack",
        "conn",
        "success",
        "p99 ms",
        "quiet ms",
        "MiB +",
        "files",
        "after",
        "lines/s",
        "begun/ended"
    );
    let mut lines = vec![header];
    lines.extend(rows.iter().map(Row::line));
    findings.note("rows", lines);
    for row in rows.iter().filter(|row| row.ours) {
        row.judge(findings);
    }
}

impl Row {
    fn added(&self) -> u64 {
        self.most.memory.saturating_sub(self.before.memory)
    }

    fn line(&self) -> String {
        #[expect(
            clippy::cast_precision_loss,
            reason = "bytes of a process, to a tenth of a MiB"
        )]
        let mebibytes = self.added() as f64 / f64::from(1 << 20);
        format!(
            "{:<9} {:<15} {:>4} {:>7.2}% {:>9.2} {:>9.2} {:>8.1} {:>6} {:>6} {:>7.1} {:>5}/{:<5}  {}",
            self.victim,
            format!("{:?}", self.attack),
            self.connections,
            self.lawful.success(),
            self.p99,
            self.quiet,
            mebibytes,
            self.most.files,
            self.after.files,
            self.lines,
            self.begun,
            self.ended,
            self.reasons,
        )
    }

    fn judge(&self, findings: &mut Findings) {
        let what = format!(
            "{:?} with {} at {}",
            self.attack, self.connections, self.victim
        );
        let mut wrong = Vec::new();
        if self.lawful.requests == 0 || self.lawful.failed > 0 {
            let reasons = self.lawful.reasons.join("; ");
            let (failed, all) = (self.lawful.failed, self.lawful.requests);
            wrong.push(format!(
                "{failed} of {all} lawful requests failed: {reasons}"
            ));
        }
        if self.added() > MEMORY {
            wrong.push(format!("{} KiB more memory", self.added() / 1024));
        }
        if self.after.files > self.before.files + FILES_LEFT {
            let (before, after) = (self.before.files, self.after.files);
            wrong.push(format!("{after} files open afterwards, {before} before"));
        }
        if self.lines > LINES {
            wrong.push(format!("{:.0} log lines a second", self.lines));
        }
        findings.claim(
            wrong.is_empty(),
            if wrong.is_empty() {
                what
            } else {
                format!("{what}: {}", wrong.join(", "))
            },
        );
    }
}
