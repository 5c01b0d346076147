//! The injector as a server: answers the API server's reviews, keeps its own certificate and
//! webhook right, and looks for pods that were missed.

mod budget;
mod by_default;
mod cluster;
pub mod missing;
mod namespaces;
pub mod restart;
mod settings;
pub mod webhook;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kube::Client;
use mesh_kubernetes::authority::{self, KeptAuthority, Trust};
use mesh_kubernetes::webhooks;
use mesh_runtime::admin::{AdminLimits, AdminServer, Router};
use mesh_runtime::build_info::BuildInfo;
use mesh_runtime::drain::{Drain, DrainWatch, Drained};
use mesh_runtime::https::{HttpsLimits, HttpsServer};
use mesh_runtime::prometheus::Prometheus;
use mesh_runtime::readiness::Readiness;
use mesh_runtime::vital::{Loss, Vital};
use mesh_runtime::{AdminResponse, StopReason};
use tokio::sync::{mpsc, watch as channel};

use crate::Home;

pub use settings::{ConfigMaps, configuration_of, load_once};

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it and the control plane run.
    pub home: Home,
    /// Where reviews are answered, over TLS.
    pub webhook: SocketAddr,
    /// The roots, in PEM, of the certificates whoever asks for a review must have; none: anybody
    /// may ask.
    pub client_roots: Option<String>,
    /// Where /metrics, /ready and /version are.
    pub monitoring: SocketAddr,
    /// The Service in front of it, whose names its certificate has.
    pub service: String,
    /// The webhook configuration whose roots are kept.
    pub webhook_configuration: String,
    /// The Secret with its authority.
    pub ca_secret: String,
    /// How long its serving certificates are good for.
    pub serving_valid: Duration,
    /// How long API servers may take to learn of a new root.
    pub roll_out: Duration,
    /// The ConfigMaps it reads.
    pub config_maps: ConfigMaps,
    /// How often it looks for pods that were missed.
    pub look_every: Duration,
    /// How long it still accepts reviews once it is told to stop.
    pub stop_delay: Duration,
}

/// What writes in our name.
pub const MANAGER: &str = "istio-sidecar-injector";

/// How long reviews in progress may take at the end; the API server waits no longer than that.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

/// Serves until it is told to stop: once to finish in peace, twice to hurry.
pub async fn run(
    client: Client,
    settings: Settings,
    mut stop: mpsc::Receiver<StopReason>,
) -> anyhow::Result<()> {
    let prometheus = Prometheus::install(webhook::BUCKETS)?;
    webhook::describe_metrics();
    let build = BuildInfo::of("sidecar-injector");
    tracing::info!("starting {build}");
    prometheus.add_section(Arc::new(build));
    prometheus.add_section(Arc::new(mesh_runtime::process::ProcessSection));
    prometheus.add_section(Arc::new(mesh_runtime::logging::LogSection));
    tokio::spawn(prometheus.clone().upkeep());

    let (drain, readiness) = (Drain::new(), Readiness::new());
    let (vital, mut losses) = Vital::new(&readiness);
    // Until reviews are answered nobody should send any.
    let serving = readiness.gate("reviews are answered");
    let trusted = readiness.gate("webhook configuration trusts this injector");
    let configuration = settings::follow(
        client.clone(),
        &settings,
        readiness.gate("configuration read"),
        (&vital, drain.watch()),
    );
    let namespaces = namespaces::follow(
        client.clone(),
        readiness.gate("namespaces read"),
        (&vital, drain.watch()),
    );
    let found = missing::follow(
        client.clone(),
        configuration.clone(),
        namespaces.clone(),
        settings.look_every,
        drain.watch(),
    );
    tokio::spawn(by_default::compare(
        client.clone(),
        settings.webhook_configuration.clone(),
        configuration.clone(),
        drain.watch(),
    ));
    let monitoring = monitoring(&prometheus, &readiness, build, found);
    let admin = AdminServer::bind(usable(settings.monitoring)?, AdminLimits::default()).await?;
    vital.spawn(
        "the monitoring port",
        admin.serve(monitoring, drain.watch()),
    );

    let starting = start(&client, &settings, trusted, (&vital, &drain));
    let (https, kept) = tokio::select! {
        started = starting => started?,
        loss = losses.next() => return Err(loss.into()),
        reason = stop.recv() => {
            tracing::info!(?reason, "told to stop before it had a certificate");
            return Ok(());
        }
    };
    vital.spawn("what keeps the certificates", kept.keep(drain.watch()));
    tracing::info!(address = %https.address(), "answering reviews at /inject");
    let router = webhook::router(configuration, namespaces);
    vital.spawn("the webhook", https.serve(router, drain.watch()));
    serving.open();

    let ended = tokio::select! {
        reason = stop.recv() => Ok(reason),
        loss = losses.next() => Err(loss),
    };
    serving.close();
    finish(&ended, (settings.stop_delay, &mut stop), &drain).await;
    ended.map(|_reason| ()).map_err(Into::into)
}

/// Lets reviews in progress finish, and those that are still sent here.
async fn finish(
    ended: &Result<Option<StopReason>, Loss>,
    (stop_delay, stop): (Duration, &mut mpsc::Receiver<StopReason>),
    drain: &Drain,
) {
    match ended {
        Ok(reason) => {
            tracing::info!(
                ?reason,
                "stopping; reviews are answered for {stop_delay:?} more"
            );
        }
        Err(loss) => tracing::error!("stopping: {loss}"),
    }
    // The Service still sends reviews here until everybody knows that this replica is going.
    if matches!(ended, Ok(Some(StopReason::Terminate)) | Err(_)) {
        tokio::select! {
            () = tokio::time::sleep(stop_delay) => {}
            _again = stop.recv() => {}
        }
    }
    drain.trigger();
    if let Drained::DeadlinePassed { remaining } = drain.wait_idle(FINISH_WITHIN).await {
        tracing::warn!(remaining, "reviews were still in progress");
    }
}

/// Opens the authority and the port, and begins to keep the webhook configuration.
async fn start(
    client: &Client,
    settings: &Settings,
    trusted: mesh_runtime::Gate,
    (vital, drain): (&Vital, &Drain),
) -> anyhow::Result<(HttpsServer, KeptAuthority)> {
    let (service, namespace) = (&settings.service, &settings.home.injector);
    let names = [
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}"),
        format!("{service}.{namespace}.svc.cluster.local"),
        service.clone(),
    ];
    let mut kept = authority::Settings::new(namespace, &settings.ca_secret, MANAGER, &names);
    kept.serving_valid = settings.serving_valid;
    kept.roll_out = settings.roll_out;
    let kept = KeptAuthority::open(client.clone(), kept).await?;
    let address = usable(settings.webhook)?;
    let https = HttpsServer::bind(address, kept.certificate(), HttpsLimits::default()).await?;
    let https = match &settings.client_roots {
        Some(roots) => https
            .only_clients_of(roots)
            .context("--webhook-client-ca")?,
        None => https,
    };
    let keeping = webhooks::Settings {
        kind: webhooks::Kind::Mutating,
        name: settings.webhook_configuration.clone(),
        manager: MANAGER.to_owned(),
        lenient: None,
    };
    let (wanted, following) = wanted(kept.trust(), drain.watch());
    vital.spawn("the trust of the webhook", following);
    let keeping = webhooks::keep(client.clone(), keeping, wanted, trusted, drain.watch());
    vital.spawn("what keeps the webhook's configuration", keeping);
    Ok((https, kept))
}

/// The roots of the authority as what the webhook configuration should say.
fn wanted(
    mut trust: channel::Receiver<Trust>,
    drain: DrainWatch,
) -> (
    channel::Receiver<webhooks::Wanted>,
    impl Future<Output = ()> + Send,
) {
    let of = |trust: &Trust| webhooks::Wanted {
        bundle_pem: Arc::clone(&trust.bundle_pem),
        // Said by the manifest: which pods are held up is for the operator to decide.
        failure_policy: None,
    };
    let (sender, receiver) = channel::channel(of(&trust.borrow()));
    let following = async move {
        loop {
            tokio::select! {
                () = drain.triggered() => return,
                changed = trust.changed() => if changed.is_err() {
                    // The authority is not kept any more; its last word holds.
                    drain.triggered().await;
                    return;
                },
            }
            let news = of(&trust.borrow_and_update());
            sender.send_replace(news);
        }
    };
    (receiver, following)
}

fn monitoring(
    prometheus: &Prometheus,
    readiness: &Readiness,
    build: BuildInfo,
    found: channel::Receiver<Arc<missing::Report>>,
) -> Router {
    let router = Router::new("sidecar injector")
        .get("/version", "which build this is", move |_request| {
            let version = build.to_string();
            async move { AdminResponse::text(format!("{version}\n")) }
        })
        .get(
            "/debug/missing",
            "pods that should have a sidecar and have none, or an old one",
            move |_request| {
                let report = Arc::clone(&found.borrow());
                async move { AdminResponse::json(&*report) }
            },
        );
    // Which pods have no sidecar is nobody's business but the operator's.
    let router = router.local_only(
        "/debug/",
        "kubectl port-forward -n istio-injector deploy/istio-sidecar-injector 15014",
    );
    let router = prometheus.mount(router, "/metrics");
    readiness.mount(router, "/ready")
}

/// The address to listen on: all of IPv4 where all of IPv6 is meant but the machine has none.
fn usable(address: SocketAddr) -> io::Result<SocketAddr> {
    if address.is_ipv4() || !address.ip().is_unspecified() {
        return Ok(address);
    }
    match std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => Ok(address),
        Err(_no_ipv6) => {
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            Ok(SocketAddr::new(
                Ipv4Addr::UNSPECIFIED.into(),
                address.port(),
            ))
        }
    }
}
