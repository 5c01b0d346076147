//! What to send, to whom, how much of it, and what to look at in the answers.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, response};

/// The HTTP version spoken, both without TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with keep-alive; one request at a time on a connection.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge; several streams on a connection.
    Http2,
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// After so many requests.
    Requests(u64),
    /// After this time.
    For(Duration),
    /// When its stop signal is triggered.
    UntilStopped,
}

/// Where in an answer the value is that shares are counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareBy {
    /// A response header.
    Header(HeaderName),
    /// A JSON pointer into the body, as `/next/version`.
    JsonField(String),
}

/// Judges one answer whose status was expected; an error is a failure with that reason.
pub type Check = Arc<dyn Fn(&response::Parts, &Bytes) -> Result<(), String> + Send + Sync>;

/// A whole run.
#[derive(Clone)]
pub struct Plan {
    /// Where to connect.
    pub address: SocketAddr,
    /// The Host header, or `:authority`.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// The method.
    pub method: Method,
    /// Further headers of every request.
    pub headers: HeaderMap,
    /// The body of every request.
    pub body: Bytes,
    /// A header that gets the request's own number, for at-most-once checks.
    pub number_header: Option<HeaderName>,
    /// The HTTP version.
    pub protocol: Protocol,
    /// Connections at once.
    pub connections: usize,
    /// Streams at once on each HTTP/2 connection.
    pub streams: usize,
    /// When to stop.
    pub amount: Amount,
    /// Requests per second over all connections (open loop); as fast as answers come if
    /// left out (closed loop).
    pub rate: Option<f64>,
    /// What to count shares by.
    pub share_by: Option<ShareBy>,
    /// How long one request may take, connecting included.
    pub timeout: Duration,
    /// The only status that counts as success; any below 400 if left out.
    pub expect_status: Option<u16>,
    /// A judgement of each answer.
    pub check: Option<Check>,
}

impl Plan {
    /// GET requests over one HTTP/1.1 connection.
    pub fn new(address: SocketAddr, authority: impl Into<String>, path: impl Into<String>) -> Self {
        Self {
            address,
            authority: authority.into(),
            path: path.into(),
            method: Method::GET,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            number_header: None,
            protocol: Protocol::Http1,
            connections: 1,
            streams: 1,
            amount: Amount::Requests(1),
            rate: None,
            share_by: None,
            timeout: Duration::from_secs(10),
            expect_status: None,
            check: None,
        }
    }

    /// So many requests.
    #[must_use]
    pub fn requests(mut self, count: u64) -> Self {
        self.amount = Amount::Requests(count);
        self
    }

    /// So many connections.
    #[must_use]
    pub fn connections(mut self, count: usize) -> Self {
        self.connections = count;
        self
    }

    /// HTTP/2, with so many streams on each connection.
    #[must_use]
    pub fn http2(mut self, streams: usize) -> Self {
        self.protocol = Protocol::Http2;
        self.streams = streams;
        self
    }

    /// One more header on every request.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        self
    }

    /// Shares by a response header.
    #[must_use]
    pub fn share_by_header(mut self, name: &'static str) -> Self {
        self.share_by = Some(ShareBy::Header(HeaderName::from_static(name)));
        self
    }

    /// A judgement of each answer.
    #[must_use]
    pub fn check(
        mut self,
        check: impl Fn(&response::Parts, &Bytes) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.check = Some(Arc::new(check));
        self
    }

    /// What goes into the request line or `:path`.
    pub(super) fn uri(&self) -> Result<Uri, String> {
        let text = match self.protocol {
            Protocol::Http1 => self.path.clone(),
            Protocol::Http2 => format!("http://{}{}", self.authority, self.path),
        };
        text.parse()
            .map_err(|error| format!("{text:?} is not a request target: {error}"))
    }

    /// Whether the body has to be kept to judge an answer.
    pub(super) fn needs_body(&self) -> bool {
        self.check.is_some() || matches!(self.share_by, Some(ShareBy::JsonField(_)))
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Plan")
            .field("address", &self.address)
            .field("authority", &self.authority)
            .field("path", &self.path)
            .field("protocol", &self.protocol)
            .field("connections", &self.connections)
            .field("streams", &self.streams)
            .field("amount", &self.amount)
            .finish_non_exhaustive()
    }
}
