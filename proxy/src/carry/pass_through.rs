//! Connections that go on to where they were going anyway.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use mesh_api::cluster::ConnectionLimits;
use mesh_api::name::ClusterName;

use super::bytes::{copy, limits, refuse, start_of};
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
) {
    let config = worker.config();
    let mut start = start_of(&connection, None);
    let (cluster, source, series) = match connection.way {
        Way::Outbound => {
            let key = config.outbound_key(Service::Passthrough, Protocol::Tcp);
            (
                ClusterName::Passthrough,
                worker.settings.upstream_source(),
                key,
            )
        }
        Way::Inbound => {
            let peer = connection.peer.ip();
            let (service, telemetry) = (Service::InboundPassthrough, &worker.telemetry);
            let key = config.inbound_key(peer, service, Protocol::Tcp, telemetry);
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
    copy(&mut connection, prefix, &mut stream, copying, &record).await;
}
