//! `control-plane kubernetes`: objects from an API server, proxies that prove which pod is theirs.
//!
//! Sockets are opened first, so that an address in use is an error at start and probes are
//! answered while the API server is still away. Everything that needs the API server then waits
//! for it by itself.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use kube::Client;
use mesh_kubernetes::lease::{self, Leadership};
use mesh_runtime::admin::{AdminLimits, AdminServer, Router};
use mesh_runtime::shutdown::Shutdown;
use mesh_runtime::vital::Task;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::webhook::Webhook;
use super::{Core, STOP_WITHIN, listening, stream_ended};
use crate::admin;
use crate::admission::Reviewer;
use crate::args::Kubernetes;
use crate::discovery::{self, Discovery, authenticate::Authenticator};
use crate::identity::Identity;
use crate::keep::{self, KeptConfigMap};
use crate::model::MeshSettings;
use crate::source::kubernetes as source;
use crate::status;

/// Who we are in the API server's audit log.
const AGENT: &str = concat!("mesh-control-plane/", env!("CARGO_PKG_VERSION"));

/// Runs until it is told to stop.
pub async fn serve(settings: Kubernetes) -> anyhow::Result<()> {
    let problems = settings.problems();
    if !problems.is_empty() {
        bail!("{}", problems.join("\n  "));
    }
    let (core, mut losses) = Core::start(&settings.common)?;
    let identity_ready = core.readiness.gate("certificate");
    let mut shutdown = Shutdown::listen(settings.common.exit_on_stdin_close)?;
    let Sockets { stream, webhook } = Sockets::open(&settings, &core).await?;

    let (kubeconfig, context) = (settings.kubeconfig.as_deref(), settings.context.as_deref());
    let client = mesh_kubernetes::client::connect(kubeconfig, context, AGENT).await?;
    let writer = Writer::start(client.clone(), &settings, &core);
    let root_namespace = &settings.common.root_namespace;
    let watched = source::Settings::new(root_namespace, writer.leading.clone());
    let (watch, batches) = source::watch(client.clone(), watched);
    let vital = &core.vital;
    vital.spawn_fallible("the watch of the cluster", watch.ended());
    let (keeper, to_keep) = watch::channel(None);
    let place = KeptConfigMap::new(client.clone(), root_namespace);
    let keeping = keep::run(place, to_keep, writer.leading.clone());
    vital.spawn("what stores what is kept", keeping);
    let commands = core.push(mesh_settings(&settings), batches, keeper);

    let identity = Identity::start(
        client.clone(),
        root_namespace,
        &settings.common.domain,
        writer.leading.clone(),
        (vital, core.drain.watch()),
    );
    let identity = tokio::select! {
        identity = identity => identity?,
        loss = losses.next() => return Err(loss.into()),
        reason = shutdown.recv() => {
            tracing::info!(%reason, "stopping before there was a certificate");
            return Ok(());
        }
    };
    let client_roots = settings.webhook_client_ca.as_deref();
    let client_roots = client_roots.map(std::fs::read_to_string).transpose();
    let webhook = Webhook {
        address: webhook,
        client_roots: client_roots.context("--webhook-client-ca")?,
        configuration: &settings.webhook_configuration,
        identity: &identity,
        reviewer: Reviewer::new(mesh_settings(&settings)).beside(core.board.examined()),
        readiness: &core.readiness,
    };
    webhook.start(client, vital, &core.drain.watch()).await?;
    let tokens = Authenticator::Tokens(Arc::clone(&identity.tokens));
    let service = Discovery::new(Arc::clone(&core.registry), commands).authenticated_by(tokens);
    let certificate = Arc::clone(&identity.certificate);
    let serving = discovery::serve_tls(stream, service, certificate, core.drain.watch());
    let mut serving = std::pin::pin!(serving);
    identity_ready.open();
    let mut lost = None;
    tracing::info!(stream = %settings.listen, monitoring = %settings.monitoring, "serving");
    tokio::select! {
        served = &mut serving => return Err(stream_ended(served)),
        loss = losses.next() => lost = Some(loss),
        reason = shutdown.recv() => tracing::info!(%reason, "stopping"),
    }
    core.drain.trigger();
    if tokio::time::timeout(STOP_WITHIN, serving).await.is_err() {
        tracing::info!("streams were still open; proxies reconnect elsewhere");
    }
    core.stop().await;
    writer.stop().await;
    lost.map_or(Ok(()), |loss| Err(loss.into()))
}

/// The part that only one replica plays: writing what users read.
struct Writer {
    leading: watch::Receiver<bool>,
    election: Task,
    status: Task,
}

impl Writer {
    /// Stands for election, and keeps the status of objects right while elected.
    fn start(client: Client, settings: &Kubernetes, core: &Core) -> Self {
        let namespace = &settings.common.root_namespace;
        let lease = lease::Settings::new(namespace, "istiod-leader", &settings.pod_name);
        let leadership = Leadership::new(client.clone(), lease);
        let leading = leadership.watch();
        let drain = core.drain.watch();
        let electing = leadership.run(async move { drain.triggered().await });
        let election = core.vital.spawn("the election", electing);
        let status = status::run(
            client,
            Arc::clone(&core.registry),
            Arc::clone(&core.board),
            leading.clone(),
            status::Settings {
                pod: settings.pod_name.clone(),
                namespace: namespace.clone(),
            },
            core.drain.watch(),
        );
        Self {
            leading,
            election,
            status: core.vital.spawn("the status of objects", status),
        }
    }

    /// Waits, once the drain has begun, until what this replica told the others is taken back and
    /// the Lease is free, so that the next leader need not wait for it to run out.
    async fn stop(self) {
        self.status.ended().await;
        self.election.ended().await;
    }
}

/// What is served once there is a certificate; everything else is served from the start.
struct Sockets {
    stream: TcpListener,
    webhook: SocketAddr,
}

impl Sockets {
    async fn open(settings: &Kubernetes, core: &Core) -> anyhow::Result<Self> {
        let stream = listening("--listen", settings.listen)?;
        let stream = discovery::bind(stream)
            .await
            .with_context(|| format!("--listen {stream}"))?;
        let routes = admin::router(
            &core.registry,
            &core.board,
            &core.readiness,
            &core.prometheus,
        );
        serve_plain("--monitoring", settings.monitoring, routes, core).await?;
        let probes = admin::probes(&core.readiness);
        serve_plain("--probes", settings.probes, probes, core).await?;
        Ok(Self {
            stream,
            webhook: listening("--webhook", settings.webhook)?,
        })
    }
}

async fn serve_plain(
    flag: &'static str,
    address: SocketAddr,
    routes: Router,
    core: &Core,
) -> anyhow::Result<()> {
    let address = listening(flag, address)?;
    let server = AdminServer::bind(address, AdminLimits::default())
        .await
        .context(flag)?;
    let serving = server.serve(routes, core.drain.watch());
    core.vital.spawn(format!("the port of {flag}"), serving);
    Ok(())
}

fn mesh_settings(settings: &Kubernetes) -> MeshSettings {
    MeshSettings {
        cluster_domain: settings.common.domain.as_str().into(),
        root_namespace: settings.common.root_namespace.as_str().into(),
        cluster_id: settings.cluster_id.as_str().into(),
        ..MeshSettings::default()
    }
}
