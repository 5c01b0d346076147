//! The facts of one connection that is only bytes to this proxy.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use mesh_api::name::ClusterName;
use tokio::time::Instant;

use super::WorkerTelemetry;
use super::access_log::{AccessLogger, Line};
use super::flags::{ResponseFlag, ResponseFlags};
use super::metrics::TcpSeries;
use super::record::Downstream;

/// What is known when a connection's destination has been chosen.
#[derive(Clone, Debug)]
pub struct ConnectionStart {
    /// The connection.
    pub downstream: Downstream,
    /// The cluster it goes to; `None` if it goes nowhere.
    pub cluster: Option<ClusterName>,
    /// The endpoint that was tried in vain.
    pub tried: Option<SocketAddr>,
}

/// The facts of one connection. Bytes count while they pass; the end is counted, and the line
/// written, when this is finished or dropped.
#[derive(Debug)]
pub struct ConnectionRecord {
    series: RefCell<Rc<TcpSeries>>,
    /// Whether it is counted there yet, as what has passed so far is.
    counted: Cell<bool>,
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
    details: Cell<Option<&'static str>>,
    reason: RefCell<Option<Arc<str>>>,
    transport_failure: RefCell<Option<Cow<'static, str>>>,
}

impl ConnectionRecord {
    /// Begins a record and counts the connection as opened.
    pub fn start(
        telemetry: &WorkerTelemetry,
        series: Rc<TcpSeries>,
        start: &ConnectionStart,
    ) -> Self {
        let record = Self::start_uncounted(telemetry, series, start);
        record.count();
        record
    }

    /// Begins a record that is counted in `series` unless a better one becomes known soon: in that
    /// one by [`ConnectionRecord::count_in`].
    pub fn start_uncounted(
        telemetry: &WorkerTelemetry,
        series: Rc<TcpSeries>,
        start: &ConnectionStart,
    ) -> Self {
        let log = telemetry.logger().map(|logger| {
            Box::new(Facts {
                logger: Rc::clone(logger),
                started: SystemTime::now(),
                start: start.clone(),
                upstream: Cell::new(start.tried.map(|host| (host, None))),
                details: Cell::new(None),
                reason: RefCell::default(),
                transport_failure: RefCell::default(),
            })
        });
        Self {
            series: RefCell::new(series),
            counted: Cell::new(false),
            started: Instant::now(),
            received: Cell::new(0),
            sent: Cell::new(0),
            flags: Cell::new(ResponseFlags::NONE),
            finished: Cell::new(false),
            log,
        }
    }

    /// Counts it from now on where it was going to be counted.
    pub fn count(&self) {
        if self.counted.replace(true) {
            return;
        }
        let series = self.series.borrow();
        series.opened();
        series.transferred(self.received.get(), self.sent.get());
    }

    /// Counts it in `series`, unless it is counted already.
    pub fn count_in(&self, series: Rc<TcpSeries>) {
        if !self.counted.get() {
            *self.series.borrow_mut() = series;
            self.count();
        }
    }

    /// Bytes went from the client to the upstream.
    pub fn received(&self, bytes: u64) {
        self.received.set(self.received.get() + bytes);
        if self.counted.get() {
            self.series.borrow().transferred(bytes, 0);
        }
    }

    /// Bytes went from the upstream to the client.
    pub fn sent(&self, bytes: u64) {
        self.sent.set(self.sent.get() + bytes);
        if self.counted.get() {
            self.series.borrow().transferred(0, bytes);
        }
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
    pub fn set_details(&self, details: &'static str) {
        if let Some(log) = &self.log {
            log.details.set(Some(details));
        }
    }

    /// Why it was refused, in the words of the configuration.
    pub fn set_reason(&self, reason: Option<&Arc<str>>) {
        if let (Some(log), Some(reason)) = (&self.log, reason) {
            *log.reason.borrow_mut() = Some(Arc::clone(reason));
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
        self.count();
        self.series.borrow().closed(self.flags.get());
        let Some(log) = &self.log else { return };
        let (failure, reason) = (log.transport_failure.borrow(), log.reason.borrow());
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
            connection_termination_details: log.details.get(),
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
            reason: reason.as_deref(),
        });
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        self.finish();
    }
}
