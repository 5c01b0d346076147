//! The spine of routed bytes: rule, destination, endpoint, copy.
//!
//! The rule was found in the configuration of that moment, and its cluster is the newest one's: if
//! that has none any more, the connection is refused. One that lives long keeps neither.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::route::{Destinations, Target};

use crate::authz::Permit;
use crate::carry::bytes::{choice, copy, limits, refuse, start_of};
use crate::config::WorkerConfig;
use crate::error::{PolicyFault, RoutingFault, UpstreamFault};
use crate::net::Connection;
use crate::telemetry::{ConnectionRecord, Protocol, Service, TcpSeries};
use crate::upstream::connect_tcp;
use crate::worker::Worker;

/// Carries bytes to one of some destinations; of the hello, what was already read and the server
/// name, if it is one of TLS.
pub async fn serve(
    worker: Rc<Worker>,
    mut connection: Connection,
    (prefix, server_name): (Bytes, Option<Arc<str>>),
    destinations: Arc<Destinations>,
    permit: Permit,
) {
    connection.seat.carries(worker.stream_idle_timeout());
    let config = worker.config();
    let mut start = start_of(&connection, server_name);
    let name = match &destinations.pick(rand::random()).1.target {
        Target::Cluster(name) => name,
        Target::Fail(failure) => {
            let fault = RoutingFault::Refused(failure.clone());
            return refuse(
                &worker,
                unrouted(&worker, &config),
                &connection,
                &start,
                &fault.into(),
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
    let upstream =
        match connect_tcp(&worker.upstreams, &cluster, choice(&connection, &cluster)).await {
            Ok(upstream) => upstream,
            Err(unreached) => {
                start.tried = unreached.host();
                let series = if let Some(endpoint) = &unreached.endpoint {
                    Rc::clone(cluster.tcp_series(endpoint, &worker.telemetry))
                } else {
                    let key = config.outbound_key(cluster.service(), Protocol::Tcp);
                    worker.telemetry.tcp_series(&key)
                };
                return refuse(&worker, series, &connection, &start, &unreached.fault);
            }
        };
    let series = Rc::clone(cluster.tcp_series(&upstream.endpoint, &worker.telemetry));
    let record = ConnectionRecord::start(&worker.telemetry, series, &start);
    let limits = limits(&cluster.state().cluster().limits);
    let mut stream = upstream.stream;
    record.set_upstream(upstream.remote, stream.local_addr().ok());
    // A connection may outlive many configurations; it keeps none of them.
    drop((config, cluster, start, destinations));
    let by = (&*worker, permit);
    copy(by, &mut connection, prefix, &mut stream, limits, &record).await;
    drop(upstream.guard);
}

/// Closes a connection that its policy does not let in.
pub(crate) fn keep_out(worker: &Worker, connection: &Connection, fault: PolicyFault) {
    let series = unrouted(worker, &worker.config());
    let start = start_of(connection, None);
    refuse(worker, series, connection, &start, &fault.into());
}

/// Closes a connection that no rule of its port takes.
pub(crate) fn refuse_unrouted(
    worker: &Worker,
    connection: &Connection,
    server_name: Option<Arc<str>>,
) {
    let start = start_of(connection, server_name);
    let series = unrouted(worker, &worker.config());
    refuse(
        worker,
        series,
        connection,
        &start,
        &RoutingFault::NoRule.into(),
    );
}

fn unrouted(worker: &Worker, config: &WorkerConfig) -> Rc<TcpSeries> {
    worker
        .telemetry
        .tcp_series(&config.outbound_key(Service::Unknown, Protocol::Tcp))
}
