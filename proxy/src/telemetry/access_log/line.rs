//! The facts a line is made of, borrowed from whoever finished.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use mesh_api::name::ClusterName;

use crate::telemetry::flags::ResponseFlags;

/// One line; the order of the fields is the order of the text format.
#[derive(Debug)]
pub(in crate::telemetry) struct Line<'a> {
    pub(in crate::telemetry) start_time: SystemTime,
    pub(in crate::telemetry) method: Option<&'a str>,
    pub(in crate::telemetry) path: Option<&'a [u8]>,
    pub(in crate::telemetry) protocol: Option<&'static str>,
    pub(in crate::telemetry) response_code: u16,
    pub(in crate::telemetry) response_flags: ResponseFlags,
    pub(in crate::telemetry) response_code_details: Option<&'a str>,
    pub(in crate::telemetry) connection_termination_details: Option<&'a str>,
    pub(in crate::telemetry) upstream_transport_failure_reason: Option<&'a str>,
    pub(in crate::telemetry) bytes_received: u64,
    pub(in crate::telemetry) bytes_sent: u64,
    pub(in crate::telemetry) duration: Duration,
    pub(in crate::telemetry) upstream_service_time: Option<Duration>,
    pub(in crate::telemetry) x_forwarded_for: Option<&'a [u8]>,
    pub(in crate::telemetry) user_agent: Option<&'a [u8]>,
    pub(in crate::telemetry) request_id: Option<&'a [u8]>,
    pub(in crate::telemetry) authority: Option<&'a [u8]>,
    pub(in crate::telemetry) upstream_host: Option<SocketAddr>,
    pub(in crate::telemetry) upstream_cluster: Option<&'a ClusterName>,
    pub(in crate::telemetry) upstream_local_address: Option<SocketAddr>,
    pub(in crate::telemetry) downstream_local_address: Option<SocketAddr>,
    pub(in crate::telemetry) downstream_remote_address: Option<SocketAddr>,
    pub(in crate::telemetry) requested_server_name: Option<&'a str>,
    pub(in crate::telemetry) route_name: Option<&'a str>,
    /// Why the configuration refuses, in its own words; at the end, where it is nobody's column.
    pub(in crate::telemetry) reason: Option<&'a str>,
}

/// Longer texts of clients are cut: a line has a bound.
pub(super) const MAX_TEXT: usize = 8 * 1024;

/// The part of a client's text that is printed.
pub(super) fn bounded(text: &[u8]) -> &[u8] {
    text.get(..MAX_TEXT).unwrap_or(text)
}
