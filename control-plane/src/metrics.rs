//! Every metric of the control plane, with what it means. Names follow istiod's where it has one.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Bounds of all histograms here, in seconds.
pub const BUCKETS: &[f64] = &[
    0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Tells the exporter what the metrics mean.
pub fn describe() {
    describe_gauge!("pilot_xds", "Proxies connected.");
    describe_gauge!("pilot_services", "Services known.");
    describe_gauge!("pilot_virt_services", "VirtualServices known.");
    describe_gauge!("mesh_diagnostics", "Findings about the input, by severity.");
    describe_counter!(
        "pilot_k8s_cfg_events",
        "Objects that were applied or removed."
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
