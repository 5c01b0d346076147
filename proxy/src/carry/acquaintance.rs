//! Bytes that come in, counted under the name of who sends them, though the name may come later: a
//! pod's first connections are there before the control plane has said whose address that is.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;

use super::bytes::copy;
use crate::authz::Permit;
use crate::net::Connection;
use crate::net::splice::Limits;
use crate::telemetry::{ConnectionRecord, Protocol, Service};
use crate::worker::Worker;

/// When an unknown peer is looked for again, each counted from the one before.
const WAITS: [Duration; 7] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];

/// Copies between both ends, and counts the connection once its peer is known: `record` is one that
/// is not counted yet.
pub(crate) async fn copy_known(
    by: (&Worker, Permit),
    (connection, upstream): (&mut Connection, &mut TcpStream),
    prefix: Bytes,
    limits: Limits,
    record: &ConnectionRecord,
    service: Service,
) {
    let (worker, peer) = (by.0, connection.peer.ip());
    if worker.config().active.peer(peer).is_some() {
        record.count();
        return copy(by, connection, prefix, upstream, limits, record).await;
    }
    let mut copying = std::pin::pin!(copy(by, connection, prefix, upstream, limits, record));
    tokio::select! {
        () = &mut copying => return,
        () = acquaint(worker, peer, service, record) => {}
    }
    copying.await;
}

/// Counts a connection under its peer's name once that is known; under none if it does not come
/// soon.
async fn acquaint(worker: &Worker, peer: IpAddr, service: Service, record: &ConnectionRecord) {
    for wait in WAITS {
        tokio::time::sleep(wait).await;
        let config = worker.config();
        if config.active.peer(peer).is_some() {
            let telemetry = &worker.telemetry;
            let key = config.inbound_key(peer, service, Protocol::Tcp, telemetry);
            return record.count_in(telemetry.tcp_series(&key));
        }
    }
    record.count();
}
