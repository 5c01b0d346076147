//! The outbound spine for bytes: rule, destination, endpoint, copy.
//!
//! One load of the configuration per connection; a connection that lives long does not keep it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh_api::cluster::{Affinity, ConnectionLimits, ConsistentHash, LoadBalancer};
use mesh_api::listener::{TcpRoutes, TlsRoutes};
use mesh_api::name::ClusterName;
use mesh_api::route::{Destinations, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::lookup::Way;
use super::{tcp_rule, tls_rule};
use crate::config::{LocalCluster, WorkerConfig};
use crate::error::{ConnectFault, ProxyError, RoutingFault, UpstreamFault};
use crate::net::splice::{Counted, Ended, Limits, splice};
use crate::net::{Connection, HttpVersion, accept, dial};
use crate::telemetry::{
    ConnectionRecord, ConnectionStart, Downstream, Protocol, RequestSample, ResponseFlag,
    ResponseFlags, SeriesKey, Service, TcpSeries,
};
use crate::upstream::balancer::Choice;
use crate::upstream::{connect_tcp, ring};
use crate::worker::Worker;

/// How long a refused client may take to read that it is.
const LINGER: Duration = Duration::from_secs(1);

/// Carries bytes by the routes of a TCP port; `prefix` was already read.
pub async fn serve(worker: Rc<Worker>, connection: Connection, prefix: Bytes, routes: &TcpRoutes) {
    let rule = tcp_rule(routes, connection.destination().ip());
    let destinations = rule.map(|rule| &rule.destinations);
    carry(worker, connection, prefix, destinations, None).await;
}

/// Carries unterminated TLS by the routes of its port.
pub async fn serve_tls(
    worker: Rc<Worker>,
    connection: Connection,
    prefix: Bytes,
    routes: &TlsRoutes,
    server_name: Option<Arc<str>>,
) {
    let rule = tls_rule(
        routes,
        server_name.as_deref(),
        connection.destination().ip(),
    );
    let destinations = rule.map(|rule| &rule.destinations);
    carry(worker, connection, prefix, destinations, server_name).await;
}

async fn carry(
    worker: Rc<Worker>,
    mut connection: Connection,
    prefix: Bytes,
    destinations: Option<&Destinations>,
    server_name: Option<Arc<str>>,
) {
    let config = worker.config();
    let mut start = start_of(&connection, server_name);
    let target = destinations.map(|destinations| &destinations.pick(rand::random()).1.target);
    let name = match target {
        Some(Target::Cluster(name)) => name,
        Some(Target::Fail(failure)) => {
            let fault = RoutingFault::Refused(failure.clone());
            return refuse(
                &worker,
                unrouted(&worker, &config),
                &connection,
                &start,
                &fault.into(),
            );
        }
        None => {
            let fault = RoutingFault::NoRule.into();
            return refuse(
                &worker,
                unrouted(&worker, &config),
                &connection,
                &start,
                &fault,
            );
        }
    };
    start.cluster = Some(name.clone());
    let Some(cluster) = config.cluster_by_name(name, &worker.upstreams) else {
        let fault = UpstreamFault::NoCluster.into();
        return refuse(
            &worker,
            unrouted(&worker, &config),
            &connection,
            &start,
            &fault,
        );
    };
    let upstream = match connect_tcp(&worker, &cluster, choice(&connection, &cluster)).await {
        Ok(upstream) => upstream,
        Err(fault) => {
            let key = config.outbound_key(cluster.service(), Protocol::Tcp);
            let series = worker.telemetry.tcp_series(&key);
            return refuse(&worker, series, &connection, &start, &fault);
        }
    };
    let series = Rc::clone(cluster.tcp_series(&upstream.endpoint, &worker.telemetry));
    let record = ConnectionRecord::start(&worker.telemetry, series, &start);
    let limits = limits(&cluster.state().cluster().limits);
    let mut stream = upstream.stream;
    record.set_upstream(upstream.remote, stream.local_addr().ok());
    // A connection may outlive many configurations; it keeps none of them.
    drop((config, cluster, start));
    copy(&mut connection, prefix, &mut stream, limits, &record).await;
    drop(upstream.guard);
}

/// Carries bytes to where they were going anyway: a destination the mesh does not know, or a
/// port of the local application that no service declares.
pub async fn pass_through(
    worker: Rc<Worker>,
    mut connection: Connection,
    destination: SocketAddr,
    way: Way,
) {
    let config = worker.config();
    let mut start = start_of(&connection, None);
    let (cluster, source, series) = match way {
        Way::Outbound => {
            let key = config.outbound_key(Service::Passthrough, Protocol::Tcp);
            (
                ClusterName::Passthrough,
                worker.settings.upstream_source(),
                key,
            )
        }
        Way::Inbound => {
            let key = crate::inbound::tcp::series_key(
                &worker,
                &config,
                &connection,
                Service::InboundPassthrough,
            );
            let source = worker.settings.application_source(destination.ip());
            (ClusterName::InboundPassthrough, source, key)
        }
    };
    let defaults = ConnectionLimits::default();
    let known = config.active.cluster(&cluster);
    let limits_used = known.map_or(&defaults, |known| &known.cluster().limits);
    let copying = limits(limits_used);
    let patience = limits_used.connect_timeout;
    start.cluster = Some(cluster);
    let series = worker.telemetry.tcp_series(&series);
    drop(config);
    let mut stream = match dial::dial(destination, source, patience).await {
        Ok(stream) => stream,
        Err(error) => {
            let fault = UpstreamFault::Connect(ConnectFault::from(&error)).into();
            return refuse(&worker, series, &connection, &start, &fault);
        }
    };
    let record = ConnectionRecord::start(&worker.telemetry, series, &start);
    record.set_upstream(destination, stream.local_addr().ok());
    drop(start);
    copy(&mut connection, Bytes::new(), &mut stream, copying, &record).await;
}

impl Counted for ConnectionRecord {
    fn received(&self, bytes: u64) {
        Self::received(self, bytes);
    }

    fn sent(&self, bytes: u64) {
        Self::sent(self, bytes);
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

/// Copies until both sides are done or one of them breaks, and records how it ended.
pub(crate) async fn copy(
    connection: &mut Connection,
    prefix: Bytes,
    upstream: &mut TcpStream,
    limits: Limits,
    record: &ConnectionRecord,
) {
    let client = &mut connection.stream;
    match splice(client, prefix, upstream, limits, record).await {
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
    record.set_details(fault.details().to_owned());
    if let ProxyError::Upstream(UpstreamFault::Connect(fault)) = fault {
        record.set_transport_failure(|| fault.to_string().into());
    }
    record.finish();
    accept::reset(&connection.stream);
}

fn unrouted(worker: &Worker, config: &WorkerConfig) -> Rc<TcpSeries> {
    worker
        .telemetry
        .tcp_series(&config.outbound_key(Service::Unknown, Protocol::Tcp))
}

fn black_hole(config: &WorkerConfig, protocol: Protocol) -> SeriesKey {
    config.outbound_key(Service::BlackHole, protocol)
}

/// Closes a connection to a destination the mesh does not know (`REGISTRY_ONLY`).
pub(super) fn close_unknown(worker: &Worker, connection: &Connection, received: usize) {
    let config = worker.config();
    let series = worker
        .telemetry
        .tcp_series(&black_hole(&config, Protocol::Tcp));
    let mut start = start_of(connection, None);
    start.cluster = Some(ClusterName::BlackHole);
    let record = ConnectionRecord::start(&worker.telemetry, series, &start);
    record.received(received as u64);
    record.set_details("not in the registry");
    record.finish();
    accept::reset(&connection.stream);
}

/// Answers 502 to HTTP for a destination the mesh does not know (`REGISTRY_ONLY`); HTTP/2 is
/// closed, since its client would have to be spoken to first.
pub(super) async fn answer_unknown(
    worker: &Worker,
    mut connection: Connection,
    version: HttpVersion,
) {
    if version == HttpVersion::Http2 {
        return close_unknown(worker, &connection, 0);
    }
    let config = worker.config();
    let series = worker
        .telemetry
        .series(&black_hole(&config, Protocol::Http));
    drop(config);
    let answer = b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let stream = &mut connection.stream;
    let told = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        // Unread bytes would turn the close into a reset that overtakes the answer.
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    if !matches!(tokio::time::timeout(LINGER, told).await, Ok(Ok(()))) {
        tracing::trace!(peer = %connection.peer, "did not wait for its refusal");
    }
    series.record(&RequestSample {
        code: 502,
        grpc_status: None,
        flags: ResponseFlags::NONE,
        duration: Duration::ZERO,
        request_bytes: 0,
        response_bytes: 0,
        request_messages: 0,
        response_messages: 0,
    });
}
