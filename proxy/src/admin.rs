//! What operators, probes and scrapes ask a proxy: which ports, which pages.
//!
//! | port | what | where |
//! |---|---|---|
//! | 15000 | everything there is to see, and the log level | loopback only: it shows configuration |
//! | a socket in `--data-dir` | drain and stop | whoever may open that file: the proxy's own user |
//! | 15020 | metrics (the application's, too), readiness, the application's probes; drain and stop for the pod itself | the workload's address |
//! | 15021 | readiness | the workload's address |
//! | 15090 | metrics | the workload's address |

mod actions;
mod config_dump;
mod pod;
mod sockets;
mod stats;

use std::sync::Arc;

use anyhow::Context;
use mesh_api::reserved::{ADMIN_PORT, HEALTH_PORT, METRICS_PORT, POD_PORT};
use mesh_runtime::admin::{AdminLimits, AdminResponse, LocalServer, Router};
use mesh_runtime::build_info::BuildInfo;
use mesh_runtime::drain::DrainWatch;
use mesh_runtime::prometheus::Prometheus;
use mesh_runtime::readiness::Readiness;
use mesh_runtime::vital::Vital;
use tokio::sync::mpsc;

use crate::bootstrap::Settings;
use crate::config::live::LiveConfig;
use crate::control::ControlStatus;

const METRICS_PATH: &str = "/stats/prometheus";
const READY_PATH: &str = "/healthz/ready";

/// What the pages are made of.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The configuration in use.
    pub live: Arc<LiveConfig>,
    /// How the configuration stream is doing.
    pub control: ControlStatus,
    /// Whether the proxy is ready.
    pub readiness: Readiness,
    /// The metrics.
    pub prometheus: Prometheus,
    /// Whom to ask to drain or stop.
    pub ask: mpsc::Sender<Request>,
}

/// What an operator asks of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Tell clients to go elsewhere, but keep serving.
    Drain,
    /// Drain and stop.
    Quit,
}

/// Starts all ports, or says which cannot be listened on.
pub fn start(settings: &Settings, admin: &Admin, vital: &Vital) -> anyhow::Result<()> {
    let at_home = settings.pod.kubelet.neighbours();
    let ready = |title| admin.readiness.mount(Router::new(title), READY_PATH);
    let metrics = |router| admin.prometheus.mount(router, METRICS_PATH);
    let ports = [
        (vec![settings.admin_address(ADMIN_PORT)], router(admin)),
        (
            settings.probe_addresses(POD_PORT),
            pod::mount(ready("the pod"), settings, admin),
        ),
        (settings.probe_addresses(HEALTH_PORT), ready("readiness")),
        (
            settings.probe_addresses(METRICS_PORT),
            metrics(Router::new("metrics")),
        ),
    ];
    for (addresses, router) in ports {
        for server in sockets::bind(&addresses)? {
            let what = format!("port {}", server.address().port());
            // They answer until the very end, so that a drain can be watched.
            let server = server.beside(at_home.clone());
            vital.spawn(what, server.serve(router.clone(), DrainWatch::never()));
        }
    }
    let socket = settings.admin_socket();
    let local = LocalServer::bind(&socket, AdminLimits::default())
        .context("give another --data-dir, on a file system with sockets and with a short path")?;
    let actions = actions::mount(Router::new("proxy actions"), &admin.ask);
    let serving = local.serve(actions, DrainWatch::never());
    vital.spawn("the admin socket", serving);
    Ok(())
}

/// The pages of the admin port.
pub fn router(admin: &Admin) -> Router {
    let router = Router::new("proxy admin");
    let router = admin.readiness.mount(router, "/ready");
    let router = admin.prometheus.mount(router, METRICS_PATH);
    let router = config_dump::mount(router, &admin.live);
    let router = stats::mount(router, &admin.live);
    let router = actions::mount_logging(router);
    let control = admin.control.clone();
    let router = router.get(
        "/control",
        "the stream to the control plane",
        move |_request| {
            let answer = AdminResponse::json(&control.report());
            async move { answer }
        },
    );
    router.get("/version", "what is running", |_request| async {
        AdminResponse::json(&BuildInfo::of("proxy"))
    })
}

#[cfg(test)]
mod tests;
