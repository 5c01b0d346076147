//! `REGISTRY_ONLY`: what a connection to a destination the mesh does not know is told.

use std::rc::Rc;
use std::time::Duration;

use mesh_api::name::ClusterName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::carry::bytes::start_of;
use crate::carry::patience::refusal;
use crate::config::WorkerConfig;
use crate::net::detect::{Spoken, Start, read_start};
use crate::net::{Connection, HttpVersion, accept};
use crate::telemetry::{
    ConnectionRecord, Protocol, RequestSample, ResponseFlags, SeriesKey, Service,
};
use crate::worker::Worker;

/// How long a refused client may take to read that it is.
const LINGER: Duration = Duration::from_secs(1);

/// Refuses a connection to a destination the mesh does not know; `start` is what was read of it
/// so far.
pub(super) async fn refuse(worker: Rc<Worker>, connection: Connection, start: Start<Spoken>) {
    let start = if start.bytes.is_empty() && !start.timed_out {
        read_start(&connection.stream, refusal(&worker, connection.way)).await
    } else {
        Ok(start)
    };
    match start {
        Ok(Start {
            spoken: Some(Spoken::Http(version)),
            ..
        }) => {
            answer(&worker, connection, version).await;
        }
        Ok(start) => close(&worker, &connection, start.bytes.len()),
        Err(error) => tracing::trace!(%error, "gone before it was refused"),
    }
}

fn black_hole(config: &WorkerConfig, protocol: Protocol) -> SeriesKey {
    config.outbound_key(Service::BlackHole, protocol)
}

/// Closes a connection to a destination the mesh does not know (`REGISTRY_ONLY`).
fn close(worker: &Worker, connection: &Connection, received: usize) {
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
async fn answer(worker: &Worker, mut connection: Connection, version: HttpVersion) {
    if version == HttpVersion::Http2 {
        return close(worker, &connection, 0);
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
