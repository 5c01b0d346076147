//! A control plane under one hostile pod: how soon the pushes of everybody else arrive, and what it
//! costs.
//!
//! A real control plane, as it runs on Kubernetes, before an API server in memory, with lawful proxies
//! that take their pushes. A route is changed again and again, quietly first and then beside each
//! attack. Every change must arrive at every lawful proxy; memory, files and log lines stay bounded.
//! How soon changes arrive is told beside the quiet figure and judged by people: it depends on the
//! machine.

mod attack;
mod cluster;
mod peer;
mod row;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mesh_runtime::Drain;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Tell;
use super::findings::Findings;
use super::usage::Usage;
use crate::mesh::processes::Processes;
use crate::mesh::topology::{self, CONTROL_PLANE, Part};
use crate::mesh::{MeshOptions, Metrics, fetch, ports, wait_until};
pub use attack::PlaneAttack;
use attack::{SOURCE, Target};
use cluster::Cluster;
use peer::{Arrival, Door, Lawful};
use row::Row;

/// How much of it.
#[derive(Debug, Clone)]
pub struct PlanePlan {
    /// How long each attack goes on.
    pub time: Duration,
    /// Lawful proxies.
    pub proxies: usize,
    /// Services with a route, which every proxy is told of.
    pub services: usize,
    /// Which attacks; all if empty.
    pub only: Vec<PlaneAttack>,
}

/// How long a change may take to arrive everywhere before it counts as lost.
const ARRIVES: Duration = Duration::from_secs(10);
/// From the arrival of a change to the next.
const BETWEEN: Duration = Duration::from_millis(100);
/// How often what the process uses is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long after an attack what belongs to it may take to be gone.
const AFTERMATH: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(30);

/// Attacks a control plane.
pub async fn plane(
    plan: PlanePlan,
    options: MeshOptions,
    tell: Tell<'_>,
) -> anyhow::Result<Findings> {
    tell("plane: starting a control plane");
    let mut rig = Rig::start(&plan, &options).await?;
    let outcome = rig.attack_all(&plan, tell).await;
    outcome.map_err(|error| {
        let log = crate::mesh::tail(&rig.processes.log(CONTROL_PLANE));
        anyhow::anyhow!("{error:#}\n{log}")
    })
}

/// Everything there is.
struct Rig {
    processes: Processes,
    /// Holds the log; gone with this value.
    _folder: tempfile::TempDir,
    pid: u32,
    monitoring: SocketAddr,
    cluster: Arc<Cluster>,
    target: Target,
    lawful: JoinSet<()>,
    proxies: usize,
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    change: u64,
}

/// How soon changes arrived.
#[derive(Debug, Default)]
struct Pushes {
    changes: usize,
    /// Proxies that did not hear of a change in time, of all changes.
    lost: usize,
    times: Vec<Duration>,
}

impl Rig {
    async fn start(plan: &PlanePlan, options: &MeshOptions) -> anyhow::Result<Self> {
        let binaries = topology::find_binaries(options.binaries.as_deref())?;
        let folder = tempfile::Builder::new().prefix("plane-").tempdir()?;
        let cluster = Arc::new(Cluster::start(plan.services).await?);
        let kubeconfig = folder.path().join("kubeconfig");
        cluster.write_kubeconfig(&kubeconfig)?;
        let mut lawful = Vec::new();
        for number in 0..plan.proxies {
            let [high, low] = u16::try_from(number + 1)?.to_be_bytes();
            let from = Ipv4Addr::new(127, 98, high, low);
            let name = format!("lawful-{number}");
            let token = cluster.pod("shop", &name, Ipv4Addr::new(10, 98, high, low));
            lawful.push(Lawful {
                number,
                workload: format!("shop/{name}"),
                from,
                token,
            });
        }
        let token = cluster.pod("evil", "mallory", Ipv4Addr::new(10, 99, 99, 99));
        let mut processes = Processes::new(folder.path())?;
        let part = start(&mut processes, &binaries, &kubeconfig)?;
        processes.ready(&part).await?;
        let root = wait_until(
            "the root certificate",
            PATIENCE,
            async || Ok(cluster.root()),
        )
        .await?;
        let at = |port| SocketAddr::from((part.address, port));
        let door = Door::new(at(15012), at(15017), &root)?;
        let target = Target {
            door: door.clone(),
            cluster: Arc::clone(&cluster),
            token,
            workload: "evil/mallory".to_owned(),
            victim: "shop/lawful-0".to_owned(),
            begun: Arc::default(),
        };
        let (heard, arrivals) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for one in lawful {
            tasks.spawn(one.run(door.clone(), heard.clone()));
        }
        Ok(Self {
            pid: processes
                .pid(CONTROL_PLANE)
                .context("the control plane has no process")?,
            processes,
            _folder: folder,
            monitoring: at(15014),
            cluster,
            target,
            lawful: tasks,
            proxies: plan.proxies,
            arrivals,
            change: 0,
        })
    }

    async fn attack_all(&mut self, plan: &PlanePlan, tell: Tell<'_>) -> anyhow::Result<Findings> {
        let first = self.push().await;
        anyhow::ensure!(
            first.lost == 0,
            "{} proxies were not told anything",
            first.lost
        );
        // Until everything has been allocated that is by being there.
        self.pushes(Instant::now() + plan.time / 2).await;
        let quiet = self.pushes(Instant::now() + plan.time).await;
        let before = self.usage();
        let mut rows = vec![Row::quiet(&quiet, before)];
        let all = <PlaneAttack as clap::ValueEnum>::value_variants();
        let chosen = if plan.only.is_empty() {
            all
        } else {
            &plan.only
        };
        for attack in chosen {
            rows.push(self.one(*attack, plan.time, before).await?);
            tell(&format!(
                "plane: {} of {}: {attack:?}",
                rows.len() - 1,
                chosen.len()
            ));
        }
        let mut findings = Findings::new("plane");
        row::judge(&rows, &mut findings);
        self.expressions(&mut findings).await?;
        while self.lawful.try_join_next().is_some() {
            findings.claim(false, "a lawful proxy ended");
        }
        Ok(findings)
    }

    async fn one(
        &mut self,
        attack: PlaneAttack,
        time: Duration,
        quiet: Usage,
    ) -> anyhow::Result<Row> {
        let (before, counted) = (self.usage(), self.metrics().await?);
        let begun = self.target.begun.load(Ordering::Relaxed);
        let stop = Drain::new();
        let (target, watch) = (self.target.clone(), stop.watch());
        let attacking = tokio::task::spawn_blocking(move || attack.run(&target, &watch));
        let log = self.processes.log(CONTROL_PLANE);
        let (pid, watch) = (self.pid, stop.watch());
        let looking = tokio::spawn(async move {
            let mut most = Usage::of(pid, &log);
            while !watch.is_triggered() {
                most = most.and(Usage::of(pid, &log));
                tokio::time::sleep(LOOK).await;
            }
            most
        });
        let started = Instant::now();
        let pushes = self.pushes(started + time).await;
        let seconds = started.elapsed().as_secs_f64();
        stop.trigger();
        let most = looking.await?;
        attacking.await??;
        let reasons = row::reasons(&counted, &self.metrics().await?);
        let after = self.aftermath(before).await;
        Ok(Row {
            attack: Some(attack),
            pushes: row::Latency::of(&pushes),
            quiet,
            before,
            most,
            after,
            seconds,
            begun: self.target.begun.load(Ordering::Relaxed) - begun,
            reasons,
        })
    }

    /// Changes the route again and again; at least once.
    async fn pushes(&mut self, until: Instant) -> Pushes {
        let mut all = Pushes::default();
        loop {
            let one = self.push().await;
            all.changes += one.changes;
            all.lost += one.lost;
            all.times.extend(one.times);
            if Instant::now() >= until {
                return all;
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// Changes the route once, and waits until everybody has heard of it.
    async fn push(&mut self) -> Pushes {
        self.change += 1;
        let began = Instant::now();
        self.cluster.change(self.change);
        let mut missing = vec![true; self.proxies];
        let mut times = Vec::new();
        while times.len() < self.proxies {
            let left = ARRIVES.saturating_sub(began.elapsed());
            let Ok(Some(arrival)) = tokio::time::timeout(left, self.arrivals.recv()).await else {
                break;
            };
            let place = missing.get_mut(arrival.proxy);
            // One before it may have been late.
            if let Some(missing) =
                place.filter(|missing| **missing && arrival.change == self.change)
            {
                *missing = false;
                times.push(arrival.at.saturating_duration_since(began));
            }
        }
        Pushes {
            changes: 1,
            lost: self.proxies - times.len(),
            times,
        }
    }

    /// What is left when the attackers are gone.
    async fn aftermath(&self, before: Usage) -> Usage {
        let started = Instant::now();
        loop {
            let now = self.usage();
            if now.files <= before.files + row::FILES_LEFT || started.elapsed() > AFTERMATH {
                return now;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn usage(&self) -> Usage {
        Usage::of(self.pid, &self.processes.log(CONTROL_PLANE))
    }

    async fn metrics(&self) -> anyhow::Result<Metrics> {
        let page = fetch(self.monitoring, "/metrics").await?;
        page.expect_ok().context("metrics of the control plane")?;
        Ok(Metrics::parse(&page.body))
    }

    /// What whoever applies the route with the expensive expressions is told.
    async fn expressions(&self, findings: &mut Findings) -> anyhow::Result<()> {
        let object = cluster::route("service-0", &attack::expensive(0));
        let review = serde_json::json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "1", "operation": "CREATE", "name": "service-0", "namespace": "shop",
                "kind": {"group": "networking.istio.io", "version": "v1", "kind": "VirtualService"},
                "resource": {"group": "networking.istio.io", "version": "v1", "resource": "virtualservices"},
                "object": object,
            },
        });
        let body = review.to_string();
        let answer = self.target.door.post(SOURCE, body.as_bytes()).await?;
        let allowed = answer.contains("\"allowed\": true");
        let reason = answer.find("the regular expression");
        let reason = reason
            .and_then(|place| answer.get(place..))
            .unwrap_or(&answer);
        let reason: String = reason.chars().take(240).collect();
        findings.claim(
            !allowed && reason.contains("KiB"),
            format!("a virtual service of 400 expensive expressions is refused: {reason} …"),
        );
        Ok(())
    }
}

/// Starts it at the first address whose ports are free.
fn start(
    processes: &mut Processes,
    binaries: &topology::Binaries,
    kubeconfig: &Path,
) -> anyhow::Result<Part> {
    let mut last = None;
    for number in 1..=250 {
        let address = Ipv4Addr::new(127, 97, number, 1);
        let part = topology::control_plane_of_cluster(address, binaries, kubeconfig);
        match ports::check_free(&part.ports) {
            Ok(()) => {
                processes.start(&part)?;
                return Ok(part);
            }
            Err(busy) => last = Some(busy),
        }
    }
    let last = last.map_or_else(String::new, |busy| busy.to_string());
    anyhow::bail!("no loopback address has its ports free; the last one tried: {last}")
}
