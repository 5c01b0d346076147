//! `control-plane serve`: objects from a folder of files, proxies of this machine.

use anyhow::{Context, bail};
use mesh_runtime::admin::{AdminLimits, AdminServer};
use mesh_runtime::shutdown::Shutdown;
use tokio::sync::watch;

use super::{Core, STOP_WITHIN, stream_ended};
use crate::admin;
use crate::args::Serve;
use crate::discovery::{self, Discovery};
use crate::keep::{self, KeptFile};
use crate::model::MeshSettings;
use crate::source::folder;

/// Runs until it is told to stop.
pub async fn serve(settings: Serve) -> anyhow::Result<()> {
    let problems = settings.problems();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n  "));
    }
    let (core, mut losses) = Core::start(&settings.common)?;
    let admin = AdminServer::bind(settings.admin, AdminLimits::default())
        .await
        .context("--admin")?;
    let stream = discovery::bind(settings.listen)
        .await
        .with_context(|| format!("--listen {}", settings.listen))?;

    let file = KeptFile::in_directory(&settings.state_dir());
    let (kept, wrong) = file.load();
    for one in wrong {
        let file = file.path().display();
        tracing::error!("what was kept in {file} is used without what cannot be read: {one}");
    }
    let start = folder::Start::new(&settings.common.root_namespace, kept);
    let (keeper, to_keep) = watch::channel(None);
    // Nobody else writes it.
    let (_always, ours) = watch::channel(true);
    let vital = &core.vital;
    vital.spawn("what stores what is kept", keep::run(file, to_keep, ours));
    // Ends when it goes out of scope.
    let (mut watch, batches) =
        folder::watch(&settings.config_dir, folder::Settings::default(), start)
            .with_context(|| format!("--config-dir {}", settings.config_dir.display()))?;
    let ended = watch.ended();
    vital.spawn("the watch of the folder", ended);
    let commands = core.push(
        MeshSettings {
            cluster_domain: settings.common.domain.into(),
            root_namespace: settings.common.root_namespace.into(),
            one_machine: true,
            ..MeshSettings::default()
        },
        batches,
        keeper,
    );
    let routes = admin::router(
        &core.registry,
        &core.board,
        &core.readiness,
        &core.prometheus,
    );
    vital.spawn("the admin port", admin.serve(routes, core.drain.watch()));
    tracing::info!(
        stream = %settings.listen, admin = %settings.admin, folder = %settings.config_dir.display(),
        "serving"
    );

    let service = Discovery::new(core.registry, commands);
    let mut shutdown = Shutdown::listen(settings.common.exit_on_stdin_close)?;
    let serving = discovery::serve(stream, service, core.drain.watch());
    let mut serving = std::pin::pin!(serving);
    let mut lost = None;
    tokio::select! {
        served = &mut serving => return Err(stream_ended(served)),
        loss = losses.next() => lost = Some(loss),
        reason = shutdown.recv() => tracing::info!(%reason, "stopping"),
    }
    core.drain.trigger();
    if tokio::time::timeout(STOP_WITHIN, serving).await.is_err() {
        tracing::info!(
            "streams were still open after {STOP_WITHIN:?}; proxies reconnect elsewhere"
        );
    }
    lost.map_or(Ok(()), |loss| Err(loss.into()))
}
