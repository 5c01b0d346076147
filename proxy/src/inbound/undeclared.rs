//! Ports of the application that no listener is for, where the policy lets nothing in: a client
//! that speaks HTTP is told why, any other is closed.

use std::rc::Rc;

use super::http;
use crate::authz::Place;
use crate::carry::bytes::{refuse as refuse_bytes, start_of};
use crate::carry::patience::refusal;
use crate::error::PolicyFault;
use crate::net::Connection;
use crate::net::detect::{Spoken, read_start};
use crate::telemetry::{Protocol, Service};
use crate::worker::Worker;

/// Refuses a connection to such a port.
pub(super) async fn refuse(
    worker: Rc<Worker>,
    connection: Connection,
    place: Rc<Place>,
    fault: PolicyFault,
) {
    let start = match read_start(&connection.stream, refusal(&worker, connection.way)).await {
        Ok(start) => start,
        Err(error) => return tracing::trace!(%error, "gone before it was refused"),
    };
    if let Some(Spoken::Http(version)) = start.spoken {
        let accepted = connection.after(start.bytes, version);
        return Box::pin(http::refuse(worker, accepted, place)).await;
    }
    let key = worker.config().inbound_key(
        connection.peer.ip(),
        Service::InboundPassthrough,
        Protocol::Tcp,
        &worker.telemetry,
    );
    let series = worker.telemetry.tcp_series(&key);
    let told = start_of(&connection, None);
    refuse_bytes(&worker, series, &connection, &told, &fault.into());
}
