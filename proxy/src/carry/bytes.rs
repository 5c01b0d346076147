//! Bytes that are only bytes to this proxy: which endpoint, how long, copied, recorded, refused.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::cluster::{Affinity, ConnectionLimits, ConsistentHash, LoadBalancer};
use tokio::net::TcpStream;

use crate::authz::Permit;
use crate::error::{ProxyError, UpstreamFault};
use crate::net::connections::ConnectionWatch;
use crate::net::splice::{Counted, Ended, Limits, splice};
use crate::net::{Connection, accept};
use crate::telemetry::{ConnectionRecord, ConnectionStart, Downstream, ResponseFlag, TcpSeries};
use crate::upstream::balancer::Choice;
use crate::upstream::{LocalCluster, ring};
use crate::worker::Worker;

/// What is told of bytes that go by: the record, and who decides which connection goes when places
/// are scarce.
struct Told<'a> {
    record: &'a ConnectionRecord,
    watch: &'a ConnectionWatch,
}

impl Counted for Told<'_> {
    fn received(&self, bytes: u64) {
        self.watch.moved();
        self.record.received(bytes);
    }

    fn sent(&self, bytes: u64) {
        self.watch.moved();
        self.record.sent(bytes);
    }
}

/// What a record says about a connection from the beginning.
pub(crate) fn start_of(connection: &Connection, server_name: Option<Arc<str>>) -> ConnectionStart {
    ConnectionStart {
        downstream: Downstream {
            remote: connection.peer,
            local: connection.destination(),
            server_name,
        },
        cluster: None,
        tried: None,
    }
}

/// What may decide on the endpoint of a connection: where it was going, and whence it came.
pub(crate) fn choice(connection: &Connection, cluster: &LocalCluster) -> Choice {
    let by_source = matches!(
        &cluster.state().cluster().balancer,
        LoadBalancer::ConsistentHash(ConsistentHash {
            affinity: Affinity::SourceIp,
            ..
        })
    );
    Choice {
        original_destination: connection.original_destination,
        affinity: by_source
            .then(|| ring::hash(connection.peer.ip().to_canonical().to_string().as_bytes())),
    }
}

/// When copying ends by itself.
pub(crate) fn limits(limits: &ConnectionLimits) -> Limits {
    Limits {
        idle: limits.tcp_idle_timeout,
        duration: limits.max_connection_duration,
    }
}

/// Copies until both sides are done, one of them breaks or the permit is revoked, and records how
/// it ended.
pub(crate) async fn copy(
    (worker, permit): (&Worker, Permit),
    connection: &mut Connection,
    prefix: Bytes,
    upstream: &mut TcpStream,
    limits: Limits,
    record: &ConnectionRecord,
) {
    let (client, watch) = (&mut connection.stream, connection.seat.watch());
    let told = Told { record, watch };
    let ended = tokio::select! {
        // Asked first: what changed while the upstream was being connected to counts.
        biased;
        fault = permit.revoked(&worker.sentry) => {
            let fault = ProxyError::from(fault);
            if let Some(flag) = fault.flag() {
                record.flag(flag);
            }
            record.set_details(fault.details());
            record.set_reason(fault.reason());
            record.finish();
            accept::reset(client);
            return accept::reset(upstream);
        }
        () = watch.given_up() => {
            record.flag(ResponseFlag::Overload);
            record.set_details("evicted_for_want_of_places");
            record.finish();
            // Neither end may take it for the end of what the other had to say.
            accept::reset(client);
            return accept::reset(upstream);
        }
        ended = splice(client, prefix, upstream, limits, &told) => ended,
    };
    match ended {
        Ended::Done => {}
        Ended::Idle => record.set_details("idle_timeout"),
        Ended::Duration => {
            record.flag(ResponseFlag::DurationTimeout);
            record.set_details("max_connection_duration");
        }
        // What broke on one side must not look complete on the other.
        Ended::Client(error) => {
            record.flag(ResponseFlag::DownstreamDisconnect);
            tracing::trace!(%error, "downstream connection broke");
            accept::reset(upstream);
        }
        Ended::Upstream(error) => {
            record.flag(ResponseFlag::UpstreamClosed);
            record.set_transport_failure(|| error.kind().to_string().into());
            accept::reset(client);
        }
    }
    record.finish();
}

/// Closes a connection that is carried nowhere, and records why.
pub(crate) fn refuse(
    worker: &Worker,
    series: Rc<TcpSeries>,
    connection: &Connection,
    start: &ConnectionStart,
    fault: &ProxyError,
) {
    let record = ConnectionRecord::start(&worker.telemetry, series, start);
    if let Some(flag) = fault.flag() {
        record.flag(flag);
    }
    record.set_details(fault.details());
    record.set_reason(fault.reason());
    if let ProxyError::Upstream(UpstreamFault::Connect(fault)) = fault {
        record.set_transport_failure(|| fault.to_string().into());
    }
    record.finish();
    accept::reset(&connection.stream);
}
