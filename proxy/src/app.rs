//! The process from start to stop: what is started after what, and the reverse.
//!
//! Start: probes and admin pages, workers, the configuration stream; ready when the first
//! configuration is in effect. Stop: not ready, a while of accepting still in which clients are
//! told to go elsewhere, then every connection is told to finish, then whatever remains is cut.
//!
//! In a pod, the application stops at the same time as the proxy or before it, and needs its way
//! out until it is gone: where connections are captured, outbound ones are accepted and carried
//! until nobody else listens in the pod and the application has no connection, or until the
//! deadline.

mod predecessor;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::future::join_all;
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::reserved::HEALTH_PORT;
use mesh_runtime::build_info::BuildInfo;
use mesh_runtime::drain::Drained;
use mesh_runtime::logging::LogSection;
use mesh_runtime::process::ProcessSection;
use mesh_runtime::prometheus::Prometheus;
use mesh_runtime::readiness::{Gate, Readiness};
use mesh_runtime::shutdown::{Shutdown, StopReason};
use mesh_runtime::vital::{Losses, Task, Vital};
use mesh_runtime::{files, memory};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::admin::{self, Admin, Request};
use crate::bootstrap::{AtDeadline, Settings};
use crate::budgets::{Budgets, Resources};
use crate::config::live::LiveConfig;
use crate::control::{self, ClientSettings, ControlStatus, Identity};
use crate::dispatch::Command;
use crate::listeners::{self, Applier};
use crate::net::Way;
use crate::pod::listening;
use crate::runtimes::{self, WorkerThread};
use crate::telemetry::peers::PeerRequests;
use crate::telemetry::{AccessLog, Telemetry};
use crate::worker::drains::Drains;
use crate::worker::{Shared, Worker};

/// Histogram buckets, in seconds, of what the exporter itself counts.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// The longest a proxy whose parent is gone takes to finish what is in flight.
const ORPHANED: Duration = Duration::from_secs(1);
/// Longer than any platform lets a process take.
const FOREVER: Duration = Duration::from_hours(24 * 365);
/// How long the last access-log lines may take to be written.
const FLUSH: Duration = Duration::from_secs(1);

/// Runs the proxy until it is told to stop.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let settings = Arc::new(settings);
    let mut shutdown =
        Shutdown::listen(settings.exit_on_stdin_close).context("cannot listen for signals")?;
    tracing::info!(
        version = %BuildInfo::of("proxy"),
        workload = %settings.workload,
        address = %settings.address,
        workers = settings.concurrency.get(),
        "starting"
    );
    if let Some(port) = settings.probe_addresses(HEALTH_PORT).first() {
        // The one before was most likely told to take as long as this one.
        let limit = settings.min_drain + settings.drain_timeout + FLUSH;
        tokio::select! {
            () = predecessor::leave(*port, limit) => {}
            reason = shutdown.recv() => {
                tracing::info!(%reason, "stopped before it began");
                return Ok(());
            }
        }
    }
    let mut proxy = Proxy::start(Arc::clone(&settings))?;
    let mut lost = None;
    let haste = loop {
        tokio::select! {
            reason = shutdown.recv() => {
                tracing::info!(%reason, "stopping");
                break match reason {
                    StopReason::StdinClosed => Haste::Hurry,
                    StopReason::Terminate | StopReason::Interrupt => Haste::None,
                };
            }
            request = proxy.requests.recv() => match request {
                Some(Request::Drain) => proxy.start_draining(),
                Some(Request::Quit) | None => {
                    tracing::info!("stopping as asked on the admin port");
                    break Haste::Asked;
                }
            },
            loss = proxy.losses.next() => {
                // What still runs has a moment to finish its work; the platform starts it again, so
                // neither the application nor the last connection is waited for.
                tracing::error!("stopping: {loss}");
                lost = Some(loss);
                break Haste::Hurry;
            }
        }
    };
    tokio::select! {
        () = proxy.stop(haste) => {}
        reason = shutdown.recv() => {
            let remaining = proxy.drains.in_flight();
            tracing::warn!(%reason, remaining, "stopping at once: told a second time");
        }
    }
    proxy.end().await;
    tracing::info!("stopped");
    lost.map_or(Ok(()), |loss| Err(loss.into()))
}

/// How much is waited for at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Haste {
    /// The application, too: it is told to stop at the same time.
    None,
    /// The pod itself asked for the end, so its application needs no proxy any more.
    Asked,
    /// Nobody is there any more to be considerate of.
    Hurry,
}

/// The parts of a running proxy.
struct Proxy {
    settings: Arc<Settings>,
    telemetry: Telemetry,
    drains: Drains,
    /// Since when clients are told to go elsewhere.
    draining: Option<Instant>,
    accepting: Gate,
    workers: Vec<Running>,
    requests: mpsc::Receiver<Request>,
    control: Task,
    losses: Losses,
}

/// A worker, and how its end is heard of.
struct Running {
    commands: mpsc::Sender<Command>,
    end: Task,
}

impl Proxy {
    fn start(settings: Arc<Settings>) -> anyhow::Result<Self> {
        let prometheus = Prometheus::install(&BUCKETS).context("cannot count")?;
        let readiness = Readiness::new();
        let (vital, losses) = Vital::new(&readiness);
        let configured = readiness.gate("configuration");
        let accepting = readiness.gate("accepting connections");
        let live = LiveConfig::new();
        let drains = Drains::default();
        let budgets = budgets(&settings);
        let (peers, wanted_peers) = PeerRequests::channel();
        let access_log = AccessLog::start(settings.access_log, io::stdout())
            .context("cannot start the access log")?;
        let telemetry = Telemetry::new()
            .with_access_log(Some(access_log))
            .with_peer_requests(peers);
        sections(&prometheus, &telemetry, &budgets);
        tokio::spawn(prometheus.clone().upkeep());

        let (ask, requests) = mpsc::channel(4);
        let status = ControlStatus::default();
        let admin = Admin {
            live: Arc::clone(&live),
            control: status.clone(),
            readiness,
            prometheus,
            ask,
        };
        admin::start(&settings, &admin, &vital)?;

        let shared = Shared {
            settings: Arc::clone(&settings),
            live: Arc::clone(&live),
            budgets,
            drains: drains.watches(),
        };
        let workers = start_workers(&shared, &telemetry, &vital)?;
        let senders = workers
            .iter()
            .map(|worker| worker.commands.clone())
            .collect();
        let applier = Applier::new(Arc::clone(&settings), live, senders)
            .switching(telemetry.access_log().cloned());
        let client = client_settings(&settings);
        let control = control::run(client, applier, wanted_peers, status, configured);
        let control = vital.spawn("the configuration stream", async { match control.await {} });
        accepting.open();
        if is_beside_an_application(&settings) {
            tokio::spawn(listening::warn_of_own_user());
        }
        Ok(Self {
            settings,
            telemetry,
            drains,
            draining: None,
            accepting,
            workers,
            requests,
            control,
            losses,
        })
    }

    /// Tells load balancers and clients that this proxy is going; it still accepts, and the
    /// local application notices nothing.
    fn start_draining(&mut self) {
        self.accepting.close();
        self.drains.inbound.announce();
        self.draining.get_or_insert_with(Instant::now);
    }

    /// Stops in order.
    async fn stop(&mut self, haste: Haste) {
        let hurry = haste == Haste::Hurry;
        self.accepting.close();
        let settings = &self.settings;
        let mut limit = match settings.at_deadline {
            AtDeadline::Cut => settings.drain_timeout,
            AtDeadline::Wait => FOREVER,
        };
        if hurry {
            limit = settings.drain_timeout.min(ORPHANED);
        } else {
            self.drains.inbound.announce();
            if settings.mode == CaptureMode::Explicit {
                self.drains.outbound.announce();
            }
            // Clients that were told earlier need not be waited for again.
            let told = self
                .draining
                .map_or(Duration::ZERO, |since| since.elapsed());
            tokio::time::sleep(settings.min_drain.saturating_sub(told)).await;
        }
        self.drains.inbound.trigger();
        if hurry || settings.mode == CaptureMode::Explicit {
            self.drains.outbound.trigger();
        }
        let commands: Vec<mpsc::Sender<Command>> = self
            .workers
            .iter()
            .map(|worker| worker.commands.clone())
            .collect();
        listeners::stop_accepting(&commands).await;
        let deadline = Instant::now() + limit;
        if haste == Haste::None && is_beside_an_application(settings) {
            let gone = tokio::time::timeout(limit, listening::alone()).await;
            if gone.is_err() {
                tracing::warn!("the application still listens; the proxy ends before it");
            }
        }
        let limit = deadline.saturating_duration_since(Instant::now());
        match self.drains.wait_idle(limit).await {
            Drained::Idle => {}
            Drained::DeadlinePassed { remaining } => {
                tracing::warn!(
                    remaining,
                    "connections were cut: they took too long to finish"
                );
            }
        }
    }

    /// Ends the workers, so that connections cut short are counted and logged, too.
    async fn end(self) {
        // It holds ways to the workers, which keep them running.
        self.control.cut().await;
        let ends = self.workers.into_iter().map(|worker| {
            drop(worker.commands);
            worker.end.ended()
        });
        if tokio::time::timeout(FLUSH, join_all(ends)).await.is_err() {
            tracing::warn!("a worker did not end in time");
        }
        if let Some(log) = self.telemetry.access_log()
            && !log.flush(FLUSH).await
        {
            tracing::warn!("the last access-log lines were not written in time");
        }
    }
}

/// Whether the other sockets of this network are an application's that needs its proxy.
fn is_beside_an_application(settings: &Settings) -> bool {
    settings.role == ProxyRole::Sidecar && settings.mode == CaptureMode::OriginalDestination
}

fn client_settings(settings: &Settings) -> ClientSettings {
    ClientSettings {
        control_plane: settings.control_plane.clone(),
        identity: Identity {
            workload: settings.workload.clone(),
            role: settings.role,
            capture_mode: settings.mode,
            software: BuildInfo::of("proxy").version,
        },
        address: settings.address,
        data_dir: Some(settings.data_dir.clone()),
    }
}

fn start_workers(
    shared: &Shared,
    telemetry: &Telemetry,
    vital: &Vital,
) -> anyhow::Result<Vec<Running>> {
    (0..shared.settings.concurrency.get())
        .map(|id| {
            let (shared, telemetry) = (shared.clone(), telemetry.clone());
            let build = move || Worker::new(id, shared, telemetry.worker(id));
            let WorkerThread { commands, ended } = runtimes::spawn_worker(id, build)
                .with_context(|| format!("cannot start worker {id}"))?;
            // It resolves with an error, since nobody sends: the thread dropped its end.
            let end = vital.spawn(format!("worker {id}"), async { drop(ended.await) });
            Ok(Running { commands, end })
        })
        .collect()
}

/// What peers may cost: as many connections as were asked for, or less where there is not enough for
/// them.
fn budgets(settings: &Settings) -> Budgets {
    let open_files = files::raise_limit();
    let resources = Resources {
        open_files: Some(open_files),
        memory: memory::available(),
    };
    let budgets = Budgets::new(settings, resources);
    let (asked, possible) = (settings.max_connections, budgets.slots.limit(Way::Inbound));
    if possible < asked {
        let memory = resources.memory;
        tracing::info!(
            asked,
            possible,
            open_files,
            memory,
            "the limit of open files, or of memory, lowers the cap on connections"
        );
    }
    budgets
}

fn sections(prometheus: &Prometheus, telemetry: &Telemetry, budgets: &Budgets) {
    prometheus.add_section(Arc::new(telemetry.clone()));
    prometheus.add_section(Arc::new(ProcessSection));
    prometheus.add_section(Arc::new(LogSection));
    prometheus.add_section(Arc::new(BuildInfo::of("proxy")));
    let budgets = budgets.clone();
    prometheus.add_section(Arc::new(move |out: &mut String| budgets.render(out)));
}
