//! Connections that go on to where they were going anyway.

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use mesh_api::cluster::ConnectionLimits;
use mesh_api::name::ClusterName;

use super::bytes::{copy, limits, refuse, start_of};
use crate::authz::Permit;
use crate::error::{ConnectFault, UpstreamFault};
use crate::net::territory::{Purpose, Territory};
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
    let config = worker.config();
    let mut start = start_of(&connection, None);
    let purpose = match connection.way {
        Way::Outbound => Purpose::OriginalDestination,
        Way::Inbound => Purpose::Application,
    };
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
    let allowed = Territory::of(worker.settings.address).check(destination, purpose);
    let dialed = match allowed {
        Ok(()) => dial::dial(destination, source, patience)
            .await
            .map_err(|error| ConnectFault::from(&error)),
        Err(forbidden) => Err(forbidden.into()),
    };
    let mut stream = match dialed {
        Ok(stream) => stream,
        Err(fault) => {
            let fault = UpstreamFault::Connect(fault).into();
            return refuse(&worker, series, &connection, &start, &fault);
        }
    };
    let record = ConnectionRecord::start(&worker.telemetry, series, &start);
    record.set_upstream(destination, stream.local_addr().ok());
    drop(start);
    let by = (&*worker, permit);
    copy(by, &mut connection, prefix, &mut stream, copying, &record).await;
}
