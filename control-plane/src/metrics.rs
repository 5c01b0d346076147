//! Every metric of the control plane, with what it means. Names follow istiod's where it has one.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

use crate::compile::diagnostics::{Code, Diagnostic, codes};
use crate::model::World;

/// Bounds of all histograms here, in seconds.
pub const BUCKETS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Tells the exporter what the metrics mean.
pub fn describe() {
    crate::admission::describe();
    describe_gauge!("pilot_xds", "Proxies connected.");
    describe_gauge!("pilot_services", "Services known.");
    describe_gauge!("pilot_virt_services", "VirtualServices known.");
    describe_status();
    describe_gauge!("mesh_diagnostics", "Findings about the input, by severity.");
    describe_gauge!(
        crate::keep::UNSTORED,
        "Whether something is kept that could not be stored (1), so that a restart would lose it."
    );
    describe_counter!(
        "pilot_k8s_cfg_events",
        "Objects of the mesh that were applied, removed or refused, by kind."
    );
    describe_counter!(
        "pilot_k8s_reg_events",
        "Objects of Kubernetes that were applied, removed or refused, by kind."
    );
    describe_counter!(
        "mesh_kubernetes_watch_errors_total",
        "Failed lists and watches of the API server, by kind and reason."
    );
    describe_counter!(
        "pilot_xds_pushes",
        "New desired states handed to sessions, by cause."
    );
    describe_counter!("pilot_total_xds_rejects", "Resources refused by proxies.");
    describe_counter!("mesh_push_resources_total", "Resources sent to proxies.");
    describe_counter!("mesh_push_removals_total", "Removals sent to proxies.");
    describe_counter!(
        "mesh_stream_errors_total",
        "Streams ended by a breach of the protocol."
    );
    describe_counter!(
        "mesh_stream_refused_total",
        "Streams and connections refused or ended because of their peer, by reason."
    );
    describe_counter!(
        "mesh_stream_rejections_dropped_total",
        "Rejections of proxies that were about nothing they had been sent, or came after enough others."
    );
    describe_gauge!(
        "mesh_stream_connections",
        "Connections to the stream's socket: all, and those without a stream."
    );
    describe_gauge!(
        "mesh_stream_connections_limit",
        "How many connections there may be, from the memory and the files the process has."
    );
    describe_counter!(
        "mesh_root_publications_total",
        "Writes of the roots to a namespace, by result."
    );
    describe_gauge!(
        "citadel_server_root_cert_expiry_timestamp",
        Unit::Seconds,
        "When the root that signs expires."
    );
    describe_gauge!(
        "mesh_root_bundle_expiry_timestamp",
        Unit::Seconds,
        "When the first of the trusted roots expires."
    );
    describe_histogram!(
        "pilot_proxy_convergence_time",
        Unit::Seconds,
        "Time from a change being seen to its acknowledgement by a proxy."
    );
    describe_histogram!(
        "pilot_xds_push_time",
        Unit::Seconds,
        "Time to compile for all proxies."
    );
    describe_histogram!(
        "pilot_debounce_time",
        Unit::Seconds,
        "Time a change waited for quiet."
    );
}

/// Of what users are told about their objects.
fn describe_status() {
    for (name, meaning, _) in CONFLICTS {
        describe_gauge!(*name, *meaning);
    }
    describe_gauge!(
        "mesh_status_leader",
        "Whether this replica writes the status of objects (1) or another does (0)."
    );
    describe_counter!(
        "mesh_status_writes_total",
        "Attempts to write the status of an object, by result."
    );
    describe_counter!(
        "mesh_status_events_total",
        "Events about objects that are not accepted, by result."
    );
    describe_gauge!(
        "mesh_status_backlog",
        "Objects whose status waits to be written."
    );
}

/// A metric's name and meaning, and which findings it counts.
type Conflict = (&'static str, &'static str, fn(&Diagnostic) -> bool);

/// Which findings count as which of istiod's conflicts.
const CONFLICTS: &[Conflict] = &[
    (
        "pilot_conflict_inbound_listener",
        "Listeners of workloads that lost their port to another.",
        |finding| is(finding, codes::LISTENER_CONFLICT) && !finding.field.is_empty(),
    ),
    (
        "pilot_conflict_outbound_listener_tcp_over_current_tcp",
        "Service ports without an outbound listener, because another has the port.",
        |finding| is(finding, codes::LISTENER_CONFLICT) && finding.field.is_empty(),
    ),
    (
        "pilot_vservice_dup_domain",
        "Hosts claimed by two services or virtual services, of which one counts.",
        |finding| is(finding, codes::DOMAIN_CONFLICT) || is(finding, codes::SHADOWED),
    ),
    (
        "pilot_destrule_subsets",
        "Subsets defined twice, of which the older counts.",
        |finding| is(finding, codes::DUPLICATE_SUBSET),
    ),
    (
        "pilot_conflict_gateway_server",
        "Gateway servers that lost their port or server name to an older one.",
        |finding| is(finding, codes::GATEWAY_CONFLICT) || is(finding, codes::DUPLICATE_SNI),
    ),
];

fn is(finding: &Diagnostic, code: Code) -> bool {
    finding.code == code
}

/// Counts what the mesh was told.
pub fn inputs(world: &World) {
    set("pilot_services", world.hosts().count());
    set("pilot_virt_services", world.virtual_services.iter().count());
}

/// Counts what objects lost to others.
pub fn conflicts(findings: &[Diagnostic]) {
    for (name, _, counts) in CONFLICTS {
        set(name, findings.iter().filter(|one| counts(one)).count());
    }
}

fn set(name: &'static str, count: usize) {
    metrics::gauge!(name).set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
}

#[cfg(test)]
mod tests;
