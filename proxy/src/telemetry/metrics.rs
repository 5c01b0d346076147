//! The standard metrics: what is counted per request and per connection, with Istio's names.
//!
//! A worker asks for the series of a key once and keeps it; recording is then a handful of
//! additions to cells of its own. See [`super::series`] for how a scrape sees them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;

use super::cells::{Counter, DURATION_BOUNDS, Histogram, SIZE_BOUNDS};
use super::flags::ResponseFlags;
use super::labels::SeriesKey;
use super::series::{Family, Registry, Series};

/// gRPC defines statuses 0 to 16; an upstream's invention counts as 2, `UNKNOWN`.
const MAX_GRPC_STATUS: u16 = 16;

/// Requests: `istio_requests_total` and its histograms.
#[derive(Debug)]
pub struct Requests;

/// Connections: `istio_tcp_*`.
#[derive(Debug)]
pub struct Connections;

/// Requests of one key on one worker.
pub type RequestSeries = Series<Requests>;
/// Connections of one key on one worker.
pub type TcpSeries = Series<Connections>;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestOutcome {
    /// The status sent to the client; 0 if none was.
    pub code: u16,
    /// The gRPC status, of gRPC requests.
    pub grpc_status: Option<u16>,
    /// Why, if not well.
    pub flags: ResponseFlags,
}

/// What one request adds.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestSample {
    /// The status sent to the client; 0 if none was.
    pub code: u16,
    /// The gRPC status, of gRPC requests.
    pub grpc_status: Option<u16>,
    /// Why it ended so, if not well.
    pub flags: ResponseFlags,
    /// First byte in to last byte out.
    pub duration: Duration,
    /// Head and body of the request.
    pub request_bytes: u64,
    /// Head and body of the response.
    pub response_bytes: u64,
    /// gRPC messages of the request.
    pub request_messages: u64,
    /// gRPC messages of the response.
    pub response_messages: u64,
}

/// What is counted per outcome of requests.
#[derive(Debug, Default)]
pub struct RequestCells {
    pub(super) requests: Counter,
    pub(super) duration: Histogram,
    pub(super) request_bytes: Histogram,
    pub(super) response_bytes: Histogram,
    pub(super) request_messages: Counter,
    pub(super) response_messages: Counter,
}

/// What is counted per outcome of connections.
#[derive(Debug, Default)]
pub struct ConnectionCells {
    pub(super) opened: Counter,
    pub(super) closed: Counter,
    pub(super) received: Counter,
    pub(super) sent: Counter,
}

impl Family for Requests {
    type Outcome = RequestOutcome;
    type Cells = RequestCells;

    fn coarse(outcome: RequestOutcome) -> RequestOutcome {
        RequestOutcome {
            code: (outcome.code / 100).min(9) * 100,
            grpc_status: None,
            flags: ResponseFlags::NONE,
        }
    }

    fn activity(cells: &RequestCells) -> (u64, i64) {
        (cells.requests.value(), 0)
    }
}

impl Family for Connections {
    type Outcome = ResponseFlags;
    type Cells = ConnectionCells;

    fn coarse(_flags: ResponseFlags) -> ResponseFlags {
        ResponseFlags::NONE
    }

    fn activity(cells: &ConnectionCells) -> (u64, i64) {
        let ConnectionCells {
            opened,
            closed,
            received,
            sent,
        } = cells;
        let (opened, closed) = (opened.value(), closed.value());
        let activity = [closed, received.value(), sent.value()]
            .into_iter()
            .fold(opened, u64::wrapping_add);
        (activity, opened.wrapping_sub(closed).cast_signed())
    }
}

impl RequestSeries {
    /// Counts one finished request.
    pub fn record(&self, sample: &RequestSample) {
        let outcome = RequestOutcome {
            code: sample.code,
            grpc_status: sample
                .grpc_status
                .map(|status| if status > MAX_GRPC_STATUS { 2 } else { status }),
            flags: sample.flags,
        };
        let micros = u64::try_from(sample.duration.as_micros()).unwrap_or(u64::MAX);
        self.update(outcome, |cells| {
            cells.requests.add(1);
            cells.duration.record(&DURATION_BOUNDS, micros);
            cells
                .request_bytes
                .record(&SIZE_BOUNDS, sample.request_bytes);
            cells
                .response_bytes
                .record(&SIZE_BOUNDS, sample.response_bytes);
            cells.request_messages.add(sample.request_messages);
            cells.response_messages.add(sample.response_messages);
        });
    }
}

impl TcpSeries {
    /// Counts a connection that began.
    pub fn opened(&self) {
        self.update(ResponseFlags::NONE, |cells| cells.opened.add(1));
    }

    /// Counts bytes that went from the client to the server (`received`) and back (`sent`).
    pub fn transferred(&self, received: u64, sent: u64) {
        self.update(ResponseFlags::NONE, |cells| {
            cells.received.add(received);
            cells.sent.add(sent);
        });
    }

    /// Counts a connection that ended.
    pub fn closed(&self, flags: ResponseFlags) {
        self.update(flags, |cells| cells.closed.add(1));
    }
}

/// The series of all workers.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) requests: Arc<Registry<Requests>>,
    pub(super) connections: Arc<Registry<Connections>>,
}

/// One worker's series by key.
pub(super) struct WorkerSeries<F: Family> {
    worker: usize,
    registry: Arc<Registry<F>>,
    series: RefCell<HashMap<SeriesKey, Rc<Series<F>>, foldhash::fast::RandomState>>,
    prune_at: Cell<usize>,
}

/// Below this many series none is let go.
const PRUNE_FLOOR: usize = 256;

impl<F: Family> WorkerSeries<F> {
    pub(super) fn new(worker: usize, registry: Arc<Registry<F>>) -> Self {
        Self {
            worker,
            registry,
            series: RefCell::default(),
            prune_at: Cell::new(PRUNE_FLOOR),
        }
    }

    pub(super) fn find(&self, key: &SeriesKey) -> Rc<Series<F>> {
        if let Some(series) = self.series.borrow().get(key) {
            return Rc::clone(series);
        }
        if self.registry.admits(key) {
            return self.create(key);
        }
        let folded = key.folded();
        let known = self.series.borrow().get(&folded).map(Rc::clone);
        known.unwrap_or_else(|| self.create(&folded))
    }

    fn create(&self, key: &SeriesKey) -> Rc<Series<F>> {
        let created = Rc::new(self.registry.series(key, self.worker));
        let mut all = self.series.borrow_mut();
        if all.len() >= self.prune_at.get() {
            // What only this table holds; its cells stay with the registry.
            all.retain(|_, series| Rc::strong_count(series) > 1);
            self.prune_at.set(PRUNE_FLOOR.max(all.len() * 2));
        }
        all.insert(key.clone(), Rc::clone(&created));
        created
    }
}

impl<F: Family> fmt::Debug for WorkerSeries<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerSeries")
            .field("worker", &self.worker)
            .field("series", &self.series.borrow().len())
            .finish_non_exhaustive()
    }
}
