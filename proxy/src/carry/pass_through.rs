//! Connections that go on to where they were going anyway.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use mesh_api::cluster::{ClusterEndpoints, ConnectionLimits};
use mesh_api::name::ClusterName;

use super::acquaintance::copy_known;
use super::bytes::{copy, limits, refuse, start_of};
use crate::authz::Permit;
use crate::error::{ConnectFault, UpstreamFault};
use crate::net::{Connection, Way, dial};
use crate::telemetry::{ConnectionRecord, Protocol, Service};
use crate::worker::Worker;

/// Carries bytes to where they were going anyway: a destination the mesh does not know, or a
/// port of the local application that no service declares; `prefix` was already read.
pub async fn pass_through(
    worker: Rc<Worker>,
    mut connection: Connection,
    prefix: Bytes,
    destination: SocketAddr,
    permit: Permit,
) {
    connection.seat.carries(worker.stream_idle_timeout());
    let config = worker.config();
    let mut start = start_of(&connection, None);
    let (cluster, series) = match connection.way {
        Way::Outbound => {
            let key = config.outbound_key(Service::Passthrough, Protocol::Tcp);
            (ClusterName::Passthrough, key)
        }
        Way::Inbound => {
            let peer = connection.peer.ip();
            let (service, telemetry) = (Service::InboundPassthrough, &worker.telemetry);
            let key = config.inbound_key(peer, service, Protocol::Tcp, telemetry);
            (ClusterName::InboundPassthrough, key)
        }
    };
    let source = worker.upstreams.source(&cluster, destination.ip());
    let where_it_went = (&cluster, &ClusterEndpoints::OriginalDestination);
    let allowed = worker.upstreams.check(where_it_went, destination);
    let defaults = ConnectionLimits::default();
    let known = config.active.cluster(&cluster);
    let limits_used = known.map_or(&defaults, |known| &known.cluster().limits);
    let copying = limits(limits_used);
    let patience = limits_used.connect_timeout;
    start.cluster = Some(cluster);
    let series = worker.telemetry.tcp_series(&series);
    drop(config);
    let socket = worker.upstreams.socket(1).await;
    let dialed = match (allowed, &socket) {
        (Ok(()), Ok(_socket)) => dial::dial(destination, source, patience)
            .await
            .map_err(|error| UpstreamFault::Connect(ConnectFault::from(&error))),
        (Err(forbidden), _) => Err(UpstreamFault::Connect(forbidden.into())),
        (Ok(()), Err(limit)) => Err(UpstreamFault::Overflow(*limit)),
    };
    let mut stream = match dialed {
        Ok(stream) => stream,
        Err(fault) => {
            start.tried = Some(destination);
            return refuse(&worker, series, &connection, &start, &fault.into());
        }
    };
    let record = ConnectionRecord::start_uncounted(&worker.telemetry, series, &start);
    record.set_upstream(destination, stream.local_addr().ok());
    drop(start);
    let by = (&*worker, permit);
    match connection.way {
        Way::Outbound => {
            record.count();
            copy(by, &mut connection, prefix, &mut stream, copying, &record).await;
        }
        Way::Inbound => {
            let (way, service) = ((&mut connection, &mut stream), Service::InboundPassthrough);
            copy_known(by, way, prefix, copying, &record, service).await;
        }
    }
    drop(socket);
}
