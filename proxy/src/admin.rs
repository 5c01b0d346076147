//! What operators, probes and scrapes ask a proxy: which ports, which pages.
//!
//! | port | what | where |
//! |---|---|---|
//! | 15000 | everything | loopback only: it shows configuration and can stop the process |
//! | 15020 | metrics (the application's, too), readiness, the application's probes; drain and stop for the pod itself | the workload's address |
//! | 15021 | readiness | the workload's address |
//! | 15090 | metrics | the workload's address |

mod actions;
mod config_dump;
mod pod;
mod sockets;
mod stats;

use std::sync::Arc;

use mesh_runtime::admin::{AdminResponse, Router};
use mesh_runtime::build_info::BuildInfo;
use mesh_runtime::drain::DrainWatch;
use mesh_runtime::prometheus::Prometheus;
use mesh_runtime::readiness::Readiness;
use tokio::sync::mpsc;

use crate::bootstrap::Settings;
use crate::config::live::LiveConfig;
use crate::control::ControlStatus;

pub(crate) use stats::render_connections;

/// Everything.
const ADMIN: u16 = 15_000;
/// Metrics and readiness.
const POD: u16 = 15_020;
/// Readiness.
pub(crate) const HEALTH: u16 = 15_021;
/// Metrics.
const METRICS: u16 = 15_090;

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
pub fn start(settings: &Settings, admin: &Admin) -> anyhow::Result<()> {
    let ready = |title| admin.readiness.mount(Router::new(title), READY_PATH);
    let metrics = |router| admin.prometheus.mount(router, METRICS_PATH);
    let ports = [
        (vec![settings.admin_address(ADMIN)], router(admin)),
        (
            settings.probe_addresses(POD),
            pod::mount(ready("the pod"), settings, admin),
        ),
        (settings.probe_addresses(HEALTH), ready("readiness")),
        (
            settings.probe_addresses(METRICS),
            metrics(Router::new("metrics")),
        ),
    ];
    for (addresses, router) in ports {
        for server in sockets::bind(&addresses)? {
            // They answer until the very end, so that a drain can be watched.
            tokio::spawn(server.serve(router.clone(), DrainWatch::never()));
        }
    }
    Ok(())
}

/// The pages of the admin port.
pub fn router(admin: &Admin) -> Router {
    let router = Router::new("proxy admin");
    let router = admin.readiness.mount(router, "/ready");
    let router = admin.prometheus.mount(router, METRICS_PATH);
    let router = config_dump::mount(router, &admin.live);
    let router = stats::mount(router, &admin.live);
    let router = actions::mount(router, &admin.ask);
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
