//! The facts of one request, from its first byte to its last.
//!
//! A record is made when a request arrives and travels with it; finishing it counts it and, if
//! the access log is on, writes its line. A record that is dropped unfinished was left by its
//! client: it counts as `DC`, with code 0 if no response head had been sent.
//!
//! What only the log needs is kept in a box that exists only when the log is on.

mod facts;

use std::borrow::Cow;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Uri};
use mesh_api::name::ClusterName;
use tokio::time::Instant;

use super::WorkerTelemetry;
use super::access_log::Line;
use super::flags::{ResponseFlag, ResponseFlags};
use super::labels::Protocol;
use super::messages::MessageCounter;
use super::metrics::{RequestSample, RequestSeries};
use facts::Facts;

const FORWARDED_FOR: &str = "x-forwarded-for";
const REQUEST_ID: &str = "x-request-id";
/// What else HTTP/1.1 sends around method, path and headers: two spaces, the version, and the ends
/// of the first line and of the head.
const LINES: u64 = "  HTTP/1.1\r\n\r\n".len() as u64;

/// The connection a request came by.
#[derive(Clone, Debug)]
pub struct Downstream {
    /// The client.
    pub remote: SocketAddr,
    /// Where it connected to.
    pub local: SocketAddr,
    /// The name it asked for in TLS.
    pub server_name: Option<Arc<str>>,
}

/// The facts of one request.
#[derive(Debug)]
pub struct RequestRecord {
    series: Rc<RequestSeries>,
    started: Instant,
    code: u16,
    grpc_status: Option<u16>,
    flags: ResponseFlags,
    finished: bool,
    request_head: u64,
    response_head: u64,
    request: Option<Rc<BodyMeter>>,
    response_bytes: u64,
    response_messages: MessageCounter,
    log: Option<Box<Facts>>,
}

/// Counts a body; shared by the record and whoever moves the body.
#[derive(Debug, Default)]
pub struct BodyMeter {
    bytes: Cell<u64>,
    messages: Cell<MessageCounter>,
    grpc: bool,
}

impl BodyMeter {
    /// Takes the next chunk into account.
    pub fn chunk(&self, data: &[u8]) {
        self.bytes.set(self.bytes.get() + data.len() as u64);
        if self.grpc {
            let mut messages = self.messages.get();
            messages.observe(data);
            self.messages.set(messages);
        }
    }

    /// Takes bytes into account that are no content of HTTP.
    fn add(&self, bytes: u64) {
        self.bytes.set(self.bytes.get() + bytes);
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }
}

impl RequestRecord {
    /// Begins a record, of a request as it arrived and before anything about it is changed.
    ///
    /// `series` counts it unless a better one is set, so pass the one of "no route".
    pub fn start(
        telemetry: &WorkerTelemetry,
        series: Rc<RequestSeries>,
        downstream: &Downstream,
        request: &http::request::Parts,
    ) -> Self {
        let mut record = Self::unparsed(telemetry, series, downstream);
        record.request_head = head_size(&request.headers)
            + LINES
            + request.method.as_str().len() as u64
            + request
                .uri
                .path_and_query()
                .map_or(1, |path| path.as_str().len()) as u64;
        if let Some(log) = &mut record.log {
            log.note(request);
        }
        record
    }

    /// Begins a record of bytes that did not become a request: nothing is known but whose they are.
    pub fn unparsed(
        telemetry: &WorkerTelemetry,
        series: Rc<RequestSeries>,
        downstream: &Downstream,
    ) -> Self {
        let log = telemetry
            .logger()
            .map(|logger| Box::new(Facts::new(Rc::clone(logger), downstream)));
        Self {
            series,
            started: Instant::now(),
            code: 0,
            grpc_status: None,
            flags: ResponseFlags::NONE,
            finished: false,
            request_head: 0,
            response_head: 0,
            request: None,
            response_bytes: 0,
            response_messages: MessageCounter::default(),
            log,
        }
    }

    /// When the request arrived.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The series it will be counted in.
    pub fn series(&self) -> &Rc<RequestSeries> {
        &self.series
    }

    /// Counts it in `series`: call it once the endpoint is known, again on a retry.
    pub fn set_series(&mut self, series: Rc<RequestSeries>) {
        self.series = series;
    }

    /// Adds a flag.
    pub fn flag(&mut self, flag: ResponseFlag) {
        self.flags.insert(flag);
    }

    /// The flags so far.
    pub fn flags(&self) -> ResponseFlags {
        self.flags
    }

    /// `RESPONSE_CODE_DETAILS`: `via_upstream`, `route_not_found`, …
    pub fn set_details(&mut self, details: &'static str) {
        if let Some(log) = &mut self.log {
            log.details = Some(details);
        }
    }

    /// Why it was refused, in the words of the configuration.
    pub fn set_reason(&mut self, reason: Option<&Arc<str>>) {
        if let Some(log) = &mut self.log {
            log.reason = reason.map(Arc::clone);
        }
    }

    /// `UPSTREAM_TRANSPORT_FAILURE_REASON`; `reason` is called only if it will be logged.
    pub fn set_transport_failure(&mut self, reason: impl FnOnce() -> Cow<'static, str>) {
        if let Some(log) = &mut self.log {
            log.transport_failure = Some(reason());
        }
    }

    /// The time the upstream took until its response head.
    pub fn set_service_time(&mut self, time: Duration) {
        if let Some(log) = &mut self.log {
            log.service_time = Some(time);
        }
    }

    /// The name of the route that was found.
    pub fn set_route(&mut self, name: &Arc<str>) {
        if let Some(log) = &mut self.log {
            log.route = Some(Arc::clone(name));
        }
    }

    /// The cluster that was chosen.
    pub fn set_cluster(&mut self, name: &ClusterName) {
        if let Some(log) = &mut self.log {
            log.cluster = Some(name.clone());
        }
    }

    /// The endpoint an attempt went to, and the address it was sent from.
    pub fn set_upstream(&mut self, host: SocketAddr, local: Option<SocketAddr>) {
        if let Some(log) = &mut self.log {
            log.upstream_host = Some(host);
            log.upstream_local = local;
        }
    }

    /// `x-request-id` and `x-forwarded-for` as they go to the upstream.
    pub fn set_forwarded(&mut self, headers: &HeaderMap) {
        if let Some(log) = &mut self.log {
            log.request_id = headers.get(REQUEST_ID).cloned();
            log.forwarded_for = headers.get(FORWARDED_FOR).cloned();
        }
    }

    /// A meter for the request's body; ask for it only if there is a body.
    pub fn request_meter(&mut self) -> Rc<BodyMeter> {
        let grpc = self.is_grpc();
        Rc::clone(self.request.get_or_insert_with(|| {
            Rc::new(BodyMeter {
                grpc,
                ..BodyMeter::default()
            })
        }))
    }

    /// The response's head goes to the client.
    pub fn response_head(&mut self, head: &http::response::Parts) {
        self.code = head.status.as_u16();
        self.response_head = head_size(&head.headers);
        if self.is_grpc() {
            // A response of trailers only has its status here.
            self.trailers(&head.headers);
        }
    }

    /// A chunk of the response's body goes to the client.
    pub fn response_chunk(&mut self, data: &[u8]) {
        self.response_bytes += data.len() as u64;
        if self.is_grpc() {
            self.response_messages.observe(data);
        }
    }

    /// So many bytes went by after the connection changed its protocol.
    pub fn carried(&mut self, received: u64, sent: u64) {
        self.request_meter().add(received);
        self.response_bytes += sent;
    }

    /// The trailers go to the client.
    pub fn trailers(&mut self, trailers: &HeaderMap) {
        let status = trailers
            .get("grpc-status")
            .and_then(|value| value.to_str().ok());
        if let Some(status) = status {
            // A number that is none is the protocol's UNKNOWN.
            self.grpc_status = Some(status.trim().parse().unwrap_or(2));
        }
    }

    /// The status sent to the client; 0 if none was.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The request is over: counts it and writes its line. Only the first call does anything.
    pub fn finish(&mut self) {
        if self.finished {
            return;
        }
        self.finished = true;
        let (received, request_messages) = self.request.as_deref().map_or((0, 0), |meter| {
            (meter.bytes.get(), meter.messages.get().messages())
        });
        let duration = self.started.elapsed();
        let is_grpc = self.is_grpc();
        self.series.record(&RequestSample {
            code: self.code,
            grpc_status: self.grpc_status.filter(|_| is_grpc),
            flags: self.flags,
            duration,
            request_bytes: self.request_head + received,
            response_bytes: self.response_head + self.response_bytes,
            request_messages,
            response_messages: self.response_messages.messages(),
        });
        if let Some(log) = &self.log {
            log.logger.write(&self.line(log, duration, received));
        }
    }

    fn is_grpc(&self) -> bool {
        self.series.key().protocol == Protocol::Grpc
    }

    fn line<'a>(&self, log: &'a Facts, duration: Duration, received: u64) -> Line<'a> {
        let uri = log.uri.as_ref();
        let path = uri.and_then(Uri::path_and_query);
        let authority = || Some(uri?.authority()?.as_str().as_bytes());
        Line {
            start_time: log.started,
            method: log.method.as_ref().map(Method::as_str),
            path: path.map(|path| path.as_str().as_bytes()),
            protocol: log.protocol,
            response_code: self.code,
            response_flags: self.flags,
            response_code_details: log.details,
            // Said of connections, whose records are their own.
            connection_termination_details: None,
            upstream_transport_failure_reason: log.transport_failure.as_deref(),
            bytes_received: received,
            bytes_sent: self.response_bytes,
            duration,
            upstream_service_time: log.service_time,
            x_forwarded_for: log.forwarded_for.as_ref().map(HeaderValue::as_bytes),
            user_agent: log.user_agent.as_ref().map(HeaderValue::as_bytes),
            request_id: log.request_id.as_ref().map(HeaderValue::as_bytes),
            authority: authority().or_else(|| log.authority.as_ref().map(HeaderValue::as_bytes)),
            upstream_host: log.upstream_host,
            upstream_cluster: log.cluster.as_ref(),
            upstream_local_address: log.upstream_local,
            downstream_local_address: Some(log.downstream.local),
            downstream_remote_address: Some(log.downstream.remote),
            requested_server_name: log.downstream.server_name.as_deref(),
            route_name: log.route.as_deref(),
            reason: log.reason.as_deref(),
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.flags.insert(ResponseFlag::DownstreamDisconnect);
        self.set_details("downstream_remote_disconnect");
        self.finish();
    }
}

/// The bytes of a head as HTTP/1.1 would print it: the names, the values, `: ` and line ends.
fn head_size(headers: &HeaderMap) -> u64 {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().len() + value.len() + 4) as u64)
        .sum()
}

#[cfg(test)]
mod tests;
