//! How long a connection may take to show what it speaks.

use std::time::Duration;

use bytes::Bytes;
use mesh_api::proxy::ProxyRole;

use crate::net::detect::{Patience, read_http_start};
use crate::net::{Connection, HttpVersion, Way};
use crate::worker::Worker;

/// How long a connection between workloads may stay silent before its first request: clients
/// open connections ahead of need.
const SILENT_BETWEEN_WORKLOADS: Duration = Duration::from_hours(1);

/// How long a connection that is refused anyway may take to say whether it is HTTP.
const REFUSAL: Duration = Duration::from_secs(5);

/// Patience with a connection that is refused once it is known how.
pub(crate) fn refusal(worker: &Worker, way: Way) -> Patience<'_> {
    Patience {
        first_byte: Some(REFUSAL),
        verdict: REFUSAL,
        drain: worker.drains.of(way),
    }
}

/// Patience with a port whose protocol is declared.
pub(crate) fn declared(worker: &Worker, way: Way) -> Patience<'_> {
    let settings = &worker.settings;
    Patience {
        first_byte: Some(match settings.role {
            ProxyRole::Gateway => settings.header_read_timeout,
            ProxyRole::Sidecar => SILENT_BETWEEN_WORKLOADS,
        }),
        verdict: settings.header_read_timeout,
        drain: worker.drains.of(way),
    }
}

/// Patience with a port whose protocol is to be found out.
pub(crate) fn detection(worker: &Worker, way: Way) -> Patience<'_> {
    let settings = &worker.settings;
    let first_byte = match worker.config().active.detection_timeout() {
        Some(timeout) => (!timeout.is_zero()).then_some(timeout),
        None => settings.detect_timeout,
    };
    Patience {
        first_byte,
        verdict: settings.header_read_timeout,
        drain: worker.drains.of(way),
    }
}

/// The first bytes at a port declared to be HTTP; nothing of a client that closed or stayed silent,
/// which is owed nothing.
pub(crate) async fn http_start(
    worker: &Worker,
    connection: &Connection,
) -> Option<(Bytes, HttpVersion)> {
    let patience = declared(worker, connection.way);
    let start = read_http_start(&connection.stream, patience).await.ok()?;
    let version = start.spoken?;
    (!start.bytes.is_empty()).then_some((start.bytes, version))
}
