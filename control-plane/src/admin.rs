//! What operators ask a running control plane over HTTP.
//!
//! Health, metrics and the version are for anyone who reaches the port. `/debug` says what the
//! whole mesh is made of, so it answers this machine only, which `kubectl port-forward` counts as.

use std::future::ready;
use std::sync::Arc;

use http::StatusCode;
use mesh_api::convert;
use mesh_api::workload::WorkloadId;
use mesh_runtime::admin::{AdminRequest, AdminResponse, Router};
use mesh_runtime::build_info::BuildInfo;
use mesh_runtime::prometheus::Prometheus;
use mesh_runtime::readiness::Readiness;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::discovery::desired::DesiredState;
use crate::discovery::registry::Registry;
use crate::push::board::Board;

/// The routes.
pub fn router(
    registry: &Arc<Registry>,
    board: &Arc<Board>,
    readiness: &Readiness,
    prometheus: &Prometheus,
) -> Router {
    let syncz = Arc::clone(registry);
    let config = Arc::clone(registry);
    let findings = Arc::clone(board);
    let kept = Arc::clone(board);
    let router = Router::new("control-plane")
        .get(
            "/debug/syncz",
            "which proxy has which configuration",
            move |_| {
                let report = AdminResponse::json(&syncz.report(Instant::now()));
                ready(report)
            },
        )
        .get(
            "/debug/config",
            "?proxy=NAMESPACE/NAME: what that proxy should have, resource by resource",
            move |request| ready(configuration(&config, &request)),
        )
        .get(
            "/debug/diagnostics",
            "what is wrong with the input, and what is not acted on",
            move |_| ready(AdminResponse::json(&findings.diagnostics())),
        )
        .get(
            "/debug/kept",
            "what outlives a restart: routes that are held back, and the last good settings",
            move |_| ready(AdminResponse::json(&kept.kept())),
        )
        .get("/version", "what is running", |_| async {
            AdminResponse::json(&BuildInfo::of("control-plane"))
        })
        .local_only(
            "/debug/",
            "kubectl port-forward -n istio-system deploy/istiod 15014",
        );
    let router = readiness.mount(router, "/ready");
    prometheus.mount(router, "/metrics")
}

/// The routes of a port that only serves probes.
pub fn probes(readiness: &Readiness) -> Router {
    readiness.mount(Router::new("control-plane"), "/ready")
}

fn configuration(registry: &Registry, request: &AdminRequest) -> AdminResponse {
    let Some(proxy) = request.query("proxy") else {
        return AdminResponse::error(
            StatusCode::BAD_REQUEST,
            "name the proxy: /debug/config?proxy=NAMESPACE/NAME (the names are on /debug/syncz)",
        );
    };
    let workload: WorkloadId = match proxy.parse() {
        Ok(workload) => workload,
        Err(error) => return AdminResponse::error(StatusCode::BAD_REQUEST, error.to_string()),
    };
    match registry.desired_of(&workload) {
        None => AdminResponse::error(
            StatusCode::NOT_FOUND,
            format!("no proxy of {workload} is connected; /debug/syncz lists those that are"),
        ),
        Some(None) => AdminResponse::error(
            StatusCode::NOT_FOUND,
            format!("{workload} is connected but has no configuration yet; /debug/syncz says why"),
        ),
        Some(Some(state)) => AdminResponse::json(&dump(&state)),
    }
}

fn dump(state: &DesiredState) -> Value {
    let resources: Vec<Value> = state
        .iter()
        .map(|(name, encoded)| {
            let resource = match convert::decode(&encoded.to_wire()) {
                Ok(entry) => serde_json::to_value(&entry.resource).unwrap_or_default(),
                Err(rejection) => json!({ "undecodable": rejection.to_string() }),
            };
            json!({ "name": name, "version": encoded.version.to_string(), "resource": resource })
        })
        .collect();
    json!({ "version": state.version().to_string(), "resources": resources })
}
