//! What the proxy tells about the traffic it carries.
//!
//! | module | what it holds |
//! |---|---|
//! | [`flags`] | why a request ended as it did |
//! | [`labels`] | what a series is about, and how that is spelled |
//! | [`cells`] | counters one worker writes and a scrape reads |
//! | [`series`] | the cells of one key on one worker, and the registry of all |
//! | [`metrics`] | what is counted per request and per connection |
//! | [`render`] | the scrape page |
//! | [`record`] | the facts of one request, finished by its last byte |
//! | [`connection`] | the facts of one connection that is only bytes |
//! | [`messages`] | counting the gRPC messages that go by |
//! | [`access_log`] | one line per request, through a writer that cannot block it |
//! | [`trace`] | request ids and trace context |
//! | [`pair`] | the two series of a place that carries HTTP |
//! | `first_word` | ports whose first word is not what it was said to be |
//! | [`scopes`] | which of our modules log what Envoy's loggers do |
//! | [`peers`] | asking for the workload behind an address |

pub mod access_log;
pub mod cells;
pub mod connection;
mod first_word;
pub mod flags;
pub mod labels;
pub mod messages;
pub mod metrics;
pub mod pair;
pub mod peers;
pub mod record;
pub mod render;
pub mod scopes;
pub mod series;
pub mod trace;

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

pub use access_log::{AccessLog, AccessLogMode};
pub use connection::{ConnectionRecord, ConnectionStart};
pub use flags::{ResponseFlag, ResponseFlags};
pub use labels::{Protocol, Reporter, Security, SeriesKey, Service};
pub use metrics::{Metrics, RequestSample, RequestSeries, TcpSeries};
pub use pair::SeriesPair;
pub use record::{Downstream, RequestRecord};

use access_log::AccessLogger;
use first_word::FirstWord;
use metrics::{Connections, Requests, WorkerSeries};
use peers::{PeerRequests, PeerWants};

/// Telemetry of the process: what every worker is given. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    metrics: Metrics,
    access_log: Option<AccessLog>,
    peers: Option<PeerRequests>,
    first_word: FirstWord,
}

impl Telemetry {
    /// Metrics, and nothing else until it is added.
    pub fn new() -> Self {
        Self::default()
    }

    /// With an access log.
    #[must_use]
    pub fn with_access_log(mut self, log: Option<AccessLog>) -> Self {
        self.access_log = log;
        self
    }

    /// With somebody who finds out about unknown peers.
    #[must_use]
    pub fn with_peer_requests(mut self, peers: PeerRequests) -> Self {
        self.peers = Some(peers);
        self
    }

    /// The series of all workers.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The access log: to switch it, and to flush it at the end.
    pub fn access_log(&self) -> Option<&AccessLog> {
        self.access_log.as_ref()
    }

    /// The part of worker `id`; call it on the worker's thread.
    pub fn worker(&self, id: usize) -> WorkerTelemetry {
        WorkerTelemetry {
            requests: WorkerSeries::new(id, Arc::clone(&self.metrics.requests)),
            connections: WorkerSeries::new(id, Arc::clone(&self.metrics.connections)),
            access_log: self.access_log.as_ref().map(|log| Rc::new(log.logger())),
            peers: self.peers.clone().map(PeerWants::new),
            first_word: self.first_word.clone(),
        }
    }
}

/// Telemetry of one worker.
#[derive(Debug)]
pub struct WorkerTelemetry {
    requests: WorkerSeries<Requests>,
    connections: WorkerSeries<Connections>,
    access_log: Option<Rc<AccessLogger>>,
    peers: Option<PeerWants>,
    first_word: FirstWord,
}

impl WorkerTelemetry {
    /// The series requests of `key` count in. Keep it: finding it hashes the whole key.
    pub fn series(&self, key: &SeriesKey) -> Rc<RequestSeries> {
        self.requests.find(key)
    }

    /// The series connections of `key` count in. Keep it: finding it hashes the whole key.
    pub fn tcp_series(&self, key: &SeriesKey) -> Rc<TcpSeries> {
        self.connections.find(key)
    }

    /// Counts a connection whose client said nothing for the protocol detection timeout; says
    /// so once per port of the process.
    pub fn server_speaks_first(&self, reporter: Reporter, port: u16) {
        self.first_word.server_speaks_first(reporter, port);
    }

    /// Counts a connection at a port of the application that is declared HTTP, whose client
    /// greeted with TLS and was led to it as bytes; says so once per port of the process.
    pub fn client_speaks_tls(&self, port: u16) {
        self.first_word.client_speaks_tls(port);
    }

    /// Asks, once in a while, for the workload behind `address`, which configuration does not
    /// know. Never waits.
    pub fn want_workload(&self, address: IpAddr) {
        if let Some(peers) = &self.peers {
            peers.want(address);
        }
    }

    /// The way into the access log; `None` while nothing is logged.
    pub(crate) fn logger(&self) -> Option<&Rc<AccessLogger>> {
        self.access_log.as_ref().filter(|logger| logger.is_on())
    }
}
