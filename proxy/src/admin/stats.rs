//! Counts that belong to no standard metric, by the names operators search for.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mesh_api::endpoint::Health;
use mesh_runtime::admin::{AdminRequest, AdminResponse, Router};

use crate::config::ActiveConfig;
use crate::config::live::LiveConfig;
use crate::upstream::ClusterState;

/// Mounts the pages that show counts.
pub(super) fn mount(router: Router, live: &Arc<LiveConfig>) -> Router {
    let (all, clusters) = (Arc::clone(live), Arc::clone(live));
    router
        .get(
            "/stats",
            "counts of every cluster, one a line; ?filter=TEXT for lines that contain it",
            move |request| {
                let answer = AdminResponse::text(stats(&all.load(), &request));
                async move { answer }
            },
        )
        .get(
            "/clusters",
            "every cluster and its endpoints",
            move |_request| {
                let answer = AdminResponse::text(clusters_page(&clusters.load()));
                async move { answer }
            },
        )
}

fn stats(active: &ActiveConfig, request: &AdminRequest) -> String {
    let filter = request.query("filter").unwrap_or_default();
    let mut lines: Vec<String> = active
        .clusters()
        .flat_map(|cluster| cluster_lines(cluster))
        .filter(|line| line.contains(filter))
        .collect();
    lines.push(format!(
        "listener_manager.applied_versions: {}",
        active.sequence()
    ));
    lines.retain(|line| line.contains(filter));
    lines.sort_unstable();
    let mut page = lines.join("\n");
    page.push('\n');
    page
}

fn cluster_lines(cluster: &ClusterState) -> Vec<String> {
    let shared = cluster.shared();
    let events = &shared.events;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counts = [
        ("upstream_cx_active", u64::from(shared.connections())),
        ("upstream_cx_total", count(&events.connections)),
        ("upstream_cx_connect_fail", count(&events.connect_failures)),
        ("upstream_cx_overflow", count(&events.connection_overflow)),
        ("upstream_rq_active", u64::from(shared.active())),
        ("upstream_rq_pending_active", u64::from(shared.waiting())),
        (
            "upstream_rq_pending_overflow",
            count(&events.pending_overflow),
        ),
        ("upstream_rq_overflow", count(&events.request_overflow)),
        ("upstream_rq_retry", count(&events.retries)),
        ("upstream_rq_retry_overflow", count(&events.retry_overflow)),
        ("upstream_rq_timeout", count(&events.timeouts)),
        ("membership_total", cluster.endpoints().len() as u64),
        (
            "membership_healthy",
            cluster.candidates().places.len() as u64,
        ),
    ];
    let name = cluster.name();
    counts
        .iter()
        .map(|(what, value)| format!("cluster.{name}.{what}: {value}"))
        .collect()
}

fn clusters_page(active: &ActiveConfig) -> String {
    let mut clusters: Vec<&Arc<ClusterState>> = active.clusters().collect();
    clusters.sort_by(|one, other| one.name().cmp(other.name()));
    let mut page = String::new();
    for cluster in clusters {
        let name = cluster.name();
        let mut line = |what: std::fmt::Arguments<'_>| {
            // Writing to a String cannot fail.
            let _written = writeln!(page, "{name}::{what}");
        };
        line(format_args!("protocol::{:?}", cluster.cluster().protocol));
        for endpoint in cluster.endpoints() {
            let (address, facts) = (endpoint.text(), endpoint.endpoint());
            let shared = endpoint.shared();
            let health = match facts.health {
                Health::Healthy => "healthy",
                Health::Draining => "draining",
            };
            line(format_args!("{address}::health::{health}"));
            line(format_args!("{address}::weight::{}", facts.weight));
            line(format_args!(
                "{address}::cx_active::{}",
                shared.connections.load(Ordering::Relaxed)
            ));
            line(format_args!(
                "{address}::cx_connect_fail::{}",
                shared.connect_failures.load(Ordering::Relaxed)
            ));
        }
    }
    page
}
