//! `connectionPool` into limits.

use std::time::Duration;

use mesh_api::cluster::{ConnectionLimits, Http2Keepalive, TcpKeepalive};

use super::unless_zero;
use crate::compile::destination_rules::Block;
use crate::crd::destination_rule::ConnectionPoolSettings;
use crate::model::MeshSettings;

/// The limits a `connectionPool` block sets; without one the defaults of the mesh.
pub(crate) fn limits(
    settings: &MeshSettings,
    block: Option<&Block<'_, ConnectionPoolSettings>>,
) -> ConnectionLimits {
    let mut limits = ConnectionLimits {
        keepalive: settings.tcp_keepalive,
        ..ConnectionLimits::default()
    };
    if let Some(timeout) = settings.connect_timeout {
        limits.connect_timeout = timeout;
    }
    let Some(block) = block else {
        return limits;
    };
    if let Some(tcp) = &block.value.tcp {
        limits.max_connections = tcp.max_connections;
        if let Some(timeout) = tcp.connect_timeout {
            limits.connect_timeout = timeout.into();
        }
        if let Some(keepalive) = &tcp.tcp_keepalive {
            limits.keepalive = Some(TcpKeepalive {
                probes: keepalive.probes,
                time: keepalive.time.map(Duration::from),
                interval: keepalive.interval.map(Duration::from),
            });
        }
        limits.max_connection_duration = tcp.max_connection_duration.map(Duration::from);
        if let Some(idle) = tcp.idle_timeout {
            limits.tcp_idle_timeout = unless_zero(idle);
            // Holds for HTTP too unless that says otherwise.
            limits.http_idle_timeout = unless_zero(idle);
        }
    }
    if let Some(http) = &block.value.http {
        limits.max_pending_requests = http.http1_max_pending_requests;
        limits.max_requests = http.http2_max_requests;
        limits.max_requests_per_connection = http.max_requests_per_connection;
        limits.max_retries = http.max_retries;
        limits.max_concurrent_streams = http.max_concurrent_streams;
        if let Some(idle) = http.idle_timeout {
            limits.http_idle_timeout = unless_zero(idle);
        }
        limits.http2_keepalive = http.http2_keep_alive.as_ref().and_then(|keepalive| {
            Some(Http2Keepalive {
                interval: keepalive.interval?.into(),
                timeout: keepalive.timeout?.into(),
            })
        });
    }
    limits
}
