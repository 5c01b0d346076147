//! Port 15020: what the kubelet, Prometheus and the pod itself ask.
//!
//! Everybody may ask how the pod is doing; only the pod itself may make its proxy drain or stop.

use std::net::IpAddr;

use http::{StatusCode, header};
use mesh_runtime::admin::{AdminRequest, AdminResponse, Router};
use tokio::sync::mpsc;

use super::actions::pass_on;
use super::{Admin, METRICS_PATH, Request};
use crate::bootstrap::Settings;
use crate::pod::is_the_pod;
use crate::pod::metrics::merge;

/// Hooks make the application do something; probes only ask.
const HOOKS: &str = "/app-lifecycle/";

/// Mounts the pages of the pod's port.
pub(super) fn mount(router: Router, settings: &Settings, admin: &Admin) -> Router {
    let router = metrics(router, settings, admin);
    let router = probes(router, settings);
    let (drain, quit) = (admin.ask.clone(), admin.ask.clone());
    router
        .post(
            "/drain",
            "from the pod itself: not ready from now on, and clients are told to go elsewhere",
            move |request| {
                let answer = from_here(&request, &drain, Request::Drain, "draining\n");
                async move { answer }
            },
        )
        .post(
            "/quitquitquit",
            "from the pod itself: drains and stops, as SIGTERM does",
            move |request| {
                let answer = from_here(&request, &quit, Request::Quit, "stopping\n");
                async move { answer }
            },
        )
}

fn metrics(router: Router, settings: &Settings, admin: &Admin) -> Router {
    let app = settings.pod.metrics.clone();
    if app.is_empty() {
        return admin.prometheus.mount(router, METRICS_PATH);
    }
    let (prometheus, reach) = (admin.prometheus.clone(), settings.reach());
    router.get(
        METRICS_PATH,
        "metrics of the proxy, then those of the application",
        move |request| {
            let (app, prometheus) = (app.clone(), prometheus.clone());
            async move {
                let apps = app.fetch(reach, request.headers()).await;
                let (content_type, page) = merge(prometheus.render(), apps);
                AdminResponse::text(page).with_header(header::CONTENT_TYPE, content_type)
            }
        },
    )
}

fn probes(mut router: Router, settings: &Settings) -> Router {
    let reach = settings.reach();
    for prefix in ["/app-health/", HOOKS] {
        let (probes, kubelet) = (settings.pod.probes.clone(), settings.pod.kubelet.clone());
        router = router.subtree(
            prefix,
            "asks the application beside this proxy",
            move |request| {
                let path = request.path().to_owned();
                let probe = probes.find(&path).cloned();
                let peer = request.peer().ip();
                let allowed = prefix != HOOKS || kubelet.may_ask(peer);
                async move {
                    match probe {
                        _ if !allowed => hook_refused(peer),
                        Some(probe) => probe.ask(reach, request.headers()).await.response(),
                        None => AdminResponse::error(
                            StatusCode::NOT_FOUND,
                            format!(
                                "no probe at {path}: the injector names those there are in \
                                 ISTIO_KUBE_APP_PROBERS"
                            ),
                        ),
                    }
                }
            },
        );
    }
    router
}

fn hook_refused(peer: IpAddr) -> AdminResponse {
    let why = format!(
        "{peer} is no address of this pod's node, and only the kubelet has hooks run; if it calls \
         from there, name the address in MESH_KUBELET_ADDRESSES (proxyMetadata)"
    );
    tracing::warn!(%peer, "{why}");
    AdminResponse::error(StatusCode::FORBIDDEN, why)
}

/// Passes on what only the pod itself may ask.
fn from_here(
    request: &AdminRequest,
    ask: &mpsc::Sender<Request>,
    what: Request,
    done: &str,
) -> AdminResponse {
    if is_the_pod(request.peer().ip()) {
        pass_on(ask, what, done)
    } else {
        AdminResponse::error(
            StatusCode::FORBIDDEN,
            "only the pod itself may ask this, at 127.0.0.1",
        )
    }
}
