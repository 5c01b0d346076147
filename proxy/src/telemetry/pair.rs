//! The two series a place that carries HTTP needs, looked up when first needed.

use std::cell::OnceCell;
use std::rc::Rc;

use super::{Protocol, RequestSeries, SeriesKey, WorkerTelemetry};

/// The metric series of HTTP and of gRPC requests, looked up when first needed.
#[derive(Debug, Default)]
pub struct SeriesPair {
    http: OnceCell<Rc<RequestSeries>>,
    grpc: OnceCell<Rc<RequestSeries>>,
}

impl SeriesPair {
    /// The series for one of the two; `key` is asked once.
    pub fn find(
        &self,
        grpc: bool,
        telemetry: &WorkerTelemetry,
        key: impl FnOnce(Protocol) -> SeriesKey,
    ) -> &Rc<RequestSeries> {
        let (cell, protocol) = if grpc {
            (&self.grpc, Protocol::Grpc)
        } else {
            (&self.http, Protocol::Http)
        };
        cell.get_or_init(|| telemetry.series(&key(protocol)))
    }
}
