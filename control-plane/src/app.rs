//! Wires the parts together: what starts in which order, and how it stops.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use mesh_runtime::admin::{AdminLimits, AdminServer};
use mesh_runtime::build_info::BuildInfo;
use mesh_runtime::drain::Drain;
use mesh_runtime::prometheus::Prometheus;
use mesh_runtime::readiness::Readiness;
use mesh_runtime::shutdown::Shutdown;
use tokio::sync::mpsc;

use crate::args::Serve;
use crate::discovery::registry::Registry;
use crate::discovery::{self, Discovery};
use crate::model::{MeshSettings, World};
use crate::push::board::Board;
use crate::push::{PushLoop, Timing};
use crate::source::folder;
use crate::{admin, metrics};

/// How long streams may take to end at shutdown.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// Commands sessions may be ahead of the push loop.
const COMMANDS: usize = 1024;

/// Runs `control-plane serve` until it is told to stop.
pub async fn serve(settings: Serve) -> anyhow::Result<()> {
    let problems = settings.problems();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n  "));
    }
    mesh_runtime::logging::init(settings.log_format, &settings.log_level)?;
    let prometheus = Prometheus::install(metrics::BUCKETS)?;
    metrics::describe();
    let build = BuildInfo::of("pilot");
    tracing::info!("starting {build}");
    prometheus.add_section(Arc::new(build));
    prometheus.add_section(Arc::new(mesh_runtime::process::ProcessSection));

    let drain = Drain::new();
    let readiness = Readiness::new();
    let config_read = readiness.gate("configuration read");
    let registry = Arc::new(Registry::default());
    let board = Arc::new(Board::default());

    let admin = AdminServer::bind(settings.admin, AdminLimits::default())
        .await
        .with_context(|| format!("--admin {}", settings.admin))?;
    let stream = discovery::bind(settings.listen)
        .await
        .with_context(|| format!("--listen {}", settings.listen))?;

    let (commands_in, commands) = mpsc::channel(COMMANDS);
    // Ends when it goes out of scope.
    let (_watch, batches) = folder::watch(&settings.config_dir, folder::Settings::default())
        .with_context(|| format!("--config-dir {}", settings.config_dir.display()))?;
    let world = World::new(MeshSettings {
        cluster_domain: settings.domain.into(),
        root_namespace: settings.root_namespace.into(),
        ..MeshSettings::default()
    });
    let push_loop = PushLoop::new(world, Timing::default(), Arc::clone(&board));
    tokio::spawn(push_loop.run(batches, commands, move || config_read.open()));
    tokio::spawn(Arc::clone(&board).examiner());
    tokio::spawn(prometheus.clone().upkeep());
    let routes = admin::router(&registry, &board, &readiness, &prometheus);
    tokio::spawn(admin.serve(routes, drain.watch()));
    tracing::info!(
        stream = %settings.listen, admin = %settings.admin, folder = %settings.config_dir.display(),
        "serving"
    );

    let service = Discovery::new(registry, commands_in);
    let mut shutdown = Shutdown::listen(settings.exit_on_stdin_close)?;
    let serving = discovery::serve(stream, service, drain.watch());
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        served = &mut serving => return served.context("the configuration stream ended"),
        reason = shutdown.recv() => tracing::info!(?reason, "stopping"),
    }
    drain.trigger();
    if tokio::time::timeout(STOP_WITHIN, serving).await.is_err() {
        tracing::info!(
            "streams were still open after {STOP_WITHIN:?}; proxies reconnect elsewhere"
        );
    }
    Ok(())
}
