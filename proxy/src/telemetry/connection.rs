//! The facts of one connection that is only bytes to this proxy.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::SystemTime;

use mesh_api::name::ClusterName;
use tokio::time::Instant;

use super::access_log::{AccessLogger, Line};
use super::flags::{ResponseFlag, ResponseFlags};
use super::metrics::TcpSeries;
use super::record::Downstream;
use super::{Details, WorkerTelemetry};

/// What is known when a connection's destination has been chosen.
#[derive(Clone, Debug)]
pub struct ConnectionStart {
    /// The connection.
    pub downstream: Downstream,
    /// The cluster it goes to; `None` if it goes nowhere.
    pub cluster: Option<ClusterName>,
}

/// The facts of one connection. Bytes count while they pass; the end is counted, and the line
/// written, when this is finished or dropped.
#[derive(Debug)]
pub struct ConnectionRecord {
    series: Rc<TcpSeries>,
    started: Instant,
    received: Cell<u64>,
    sent: Cell<u64>,
    flags: Cell<ResponseFlags>,
    finished: Cell<bool>,
    log: Option<Box<Facts>>,
}

#[derive(Debug)]
struct Facts {
    logger: Rc<AccessLogger>,
    started: SystemTime,
    start: ConnectionStart,
    upstream: Cell<Option<(SocketAddr, Option<SocketAddr>)>>,
    details: RefCell<Option<Details>>,
    transport_failure: RefCell<Option<Cow<'static, str>>>,
}

impl ConnectionRecord {
    /// Begins a record and counts the connection as opened.
    pub fn start(
        telemetry: &WorkerTelemetry,
        series: Rc<TcpSeries>,
        start: &ConnectionStart,
    ) -> Self {
        series.opened();
        let log = telemetry.logger().map(|logger| {
            Box::new(Facts {
                logger: Rc::clone(logger),
                started: SystemTime::now(),
                start: start.clone(),
                upstream: Cell::new(None),
                details: RefCell::default(),
                transport_failure: RefCell::default(),
            })
        });
        Self {
            series,
            started: Instant::now(),
            received: Cell::new(0),
            sent: Cell::new(0),
            flags: Cell::new(ResponseFlags::NONE),
            finished: Cell::new(false),
            log,
        }
    }

    /// Bytes went from the client to the upstream.
    pub fn received(&self, bytes: u64) {
        self.received.set(self.received.get() + bytes);
        self.series.transferred(bytes, 0);
    }

    /// Bytes went from the upstream to the client.
    pub fn sent(&self, bytes: u64) {
        self.sent.set(self.sent.get() + bytes);
        self.series.transferred(0, bytes);
    }

    /// Adds a flag.
    pub fn flag(&self, flag: ResponseFlag) {
        self.flags.set(self.flags.get().with(flag));
    }

    /// The endpoint it goes to, and the address it is sent from.
    pub fn set_upstream(&self, host: SocketAddr, local: Option<SocketAddr>) {
        if let Some(log) = &self.log {
            log.upstream.set(Some((host, local)));
        }
    }

    /// `CONNECTION_TERMINATION_DETAILS`.
    pub fn set_details(&self, details: impl Into<Details>) {
        if let Some(log) = &self.log {
            *log.details.borrow_mut() = Some(details.into());
        }
    }

    /// `UPSTREAM_TRANSPORT_FAILURE_REASON`; `reason` is called only if it will be logged.
    pub fn set_transport_failure(&self, reason: impl FnOnce() -> Cow<'static, str>) {
        if let Some(log) = &self.log {
            *log.transport_failure.borrow_mut() = Some(reason());
        }
    }

    /// The connection is over. Only the first call does anything.
    pub fn finish(&self) {
        if self.finished.replace(true) {
            return;
        }
        self.series.closed(self.flags.get());
        let Some(log) = &self.log else { return };
        let details = log.details.borrow();
        let failure = log.transport_failure.borrow();
        let (host, local) = match log.upstream.get() {
            None => (None, None),
            Some((host, local)) => (Some(host), local),
        };
        log.logger.write(&Line {
            start_time: log.started,
            method: None,
            path: None,
            protocol: None,
            response_code: 0,
            response_flags: self.flags.get(),
            response_code_details: None,
            connection_termination_details: details.as_ref().map(Details::as_str),
            upstream_transport_failure_reason: failure.as_deref(),
            bytes_received: self.received.get(),
            bytes_sent: self.sent.get(),
            duration: self.started.elapsed(),
            upstream_service_time: None,
            x_forwarded_for: None,
            user_agent: None,
            request_id: None,
            authority: None,
            upstream_host: host,
            upstream_cluster: log.start.cluster.as_ref(),
            upstream_local_address: local,
            downstream_local_address: Some(log.start.downstream.local),
            downstream_remote_address: Some(log.start.downstream.remote),
            requested_server_name: log.start.downstream.server_name.as_deref(),
            route_name: None,
        });
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        self.finish();
    }
}
