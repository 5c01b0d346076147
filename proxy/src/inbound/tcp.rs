//! The inbound spine for bytes: permit, application, copy.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use mesh_api::listener::{InboundListener, Listener, ListenerKind};

use crate::authz::{Place, admit};
use crate::carry::acquaintance::copy_known;
use crate::carry::bytes::{choice, limits, refuse, start_of};
use crate::error::UpstreamFault;
use crate::net::Connection;
use crate::telemetry::{ConnectionRecord, Protocol, Service};
use crate::upstream::connect_tcp;
use crate::worker::Worker;

/// Carries bytes to the local application; `prefix` was already read.
pub async fn serve(
    worker: Rc<Worker>,
    mut connection: Connection,
    prefix: Bytes,
    place: Rc<Place>,
    listener: Arc<Listener>,
) {
    let ListenerKind::Inbound(inbound) = &listener.kind else {
        return;
    };
    connection.seat.carries(worker.stream_idle_timeout());
    let config = worker.config();
    let service = service(inbound);
    let key = config.inbound_key(
        connection.peer.ip(),
        service,
        Protocol::Tcp,
        &worker.telemetry,
    );
    let series = worker.telemetry.tcp_series(&key);
    let mut start = start_of(&connection, None);
    let permit = match admit(&config.active, &place) {
        Ok(permit) => permit,
        Err(fault) => return refuse(&worker, series, &connection, &start, &fault.into()),
    };
    let cluster = config
        .active
        .inbound_cluster(&listener.name)
        .and_then(|state| config.cluster_of(state, &worker.upstreams));
    let Some(cluster) = cluster else {
        let fault = UpstreamFault::NoCluster.into();
        return refuse(&worker, series, &connection, &start, &fault);
    };
    start.cluster = Some(cluster.state().cluster().name.clone());
    let upstream =
        match connect_tcp(&worker.upstreams, &cluster, choice(&connection, &cluster)).await {
            Ok(upstream) => upstream,
            Err(unreached) => {
                start.tried = unreached.host();
                return refuse(&worker, series, &connection, &start, &unreached.fault);
            }
        };
    let record = ConnectionRecord::start_uncounted(&worker.telemetry, series, &start);
    let limits = limits(&cluster.state().cluster().limits);
    let mut stream = upstream.stream;
    record.set_upstream(upstream.remote, stream.local_addr().ok());
    drop((config, cluster, start, listener));
    let by = (&*worker, permit);
    let way = (&mut connection, &mut stream);
    copy_known(by, way, prefix, limits, &record, key.service).await;
}

fn service(inbound: &InboundListener) -> Service {
    match &inbound.service {
        Some(service) => Service::Known(Arc::new(service.clone())),
        None => Service::Unknown,
    }
}
