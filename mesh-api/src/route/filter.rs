//! What a route does to a request besides forwarding it: as values.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::matcher::{Pattern, StringMatch};
use super::{Target, status_as_number, value_as_text};
use crate::header::EditableHeader;
use crate::units::PartsPerMillion;

/// Header edits of a route or destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct HeaderEdits {
    /// On the request.
    pub request: HeaderOps,
    /// On the response.
    pub response: HeaderOps,
}

/// Edits of one direction: removals first, then `set` (overwrite), then `add` (append).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct HeaderOps {
    /// Headers that go.
    pub remove: Vec<EditableHeader>,
    /// Headers that get exactly this value, in name order.
    pub set: Vec<HeaderEdit>,
    /// Headers that get one more value, in name order.
    pub add: Vec<HeaderEdit>,
}

impl HeaderOps {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// One header to write.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct HeaderEdit {
    /// Which.
    pub name: EditableHeader,
    /// What.
    pub value: HeaderText,
}

/// A header value, perhaps with parts taken from the request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HeaderText {
    /// Fixed text, ready to use.
    Literal(#[serde(serialize_with = "value_as_text")] HeaderValue),
    /// Text with `%…%` operators.
    Template(Vec<TextPart>),
}

/// A part of a header value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TextPart {
    /// Fixed text.
    Literal(Arc<str>),
    /// A fact of the request; `-` where it is not known.
    Operator(Operator),
}

/// `%…%` operators in header values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Operator {
    /// `DOWNSTREAM_REMOTE_ADDRESS`: the client's address and port.
    DownstreamRemoteAddress,
    /// `DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT`.
    DownstreamRemoteIp,
    /// `DOWNSTREAM_LOCAL_ADDRESS`: where the client connected to.
    DownstreamLocalAddress,
    /// `REQ(X)`: a request header (`:path`, `:method` and `:authority` included).
    RequestHeader(Arc<str>),
    /// `PROTOCOL`: `HTTP/1.1` or `HTTP/2`.
    Protocol,
    /// `UPSTREAM_HOST`: the endpoint's address (responses only).
    UpstreamHost,
    /// `UPSTREAM_CLUSTER`.
    UpstreamCluster,
    /// `ROUTE_NAME`.
    RouteName,
}

/// Path and authority changes before forwarding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Rewrite {
    /// What becomes of the path.
    pub uri: UriRewrite,
    /// The Host the upstream sees, a host with or without a port; `None` keeps it.
    pub authority: Option<Arc<str>>,
}

/// What becomes of the path; the query stays, so that none of these texts has a `?` or a `#`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum UriRewrite {
    /// Nothing.
    #[default]
    Keep,
    /// The matched prefix is replaced (per match block, since blocks have different prefixes:
    /// the longest of `prefixes` the path begins with).
    Prefix {
        /// The prefixes the rule's blocks match, longest first.
        prefixes: Vec<Arc<str>>,
        /// What stands there instead.
        replacement: Arc<str>,
    },
    /// The whole path is replaced (exact and regex matches).
    Full(Arc<str>),
    /// Every match of the expression is substituted (`\1` is the first group).
    Regex {
        /// What to look for.
        pattern: Pattern,
        /// What stands there instead.
        substitution: Arc<str>,
    },
}

/// A fault, injected at the calling proxy before routing acts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Fault {
    /// Drawn first.
    pub delay: Option<FaultDelay>,
    /// Drawn independently, acts after the delay.
    pub abort: Option<FaultAbort>,
}

/// A delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct FaultDelay {
    /// How long.
    pub duration: Duration,
    /// For which share of requests.
    pub share: PartsPerMillion,
}

/// An abort.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct FaultAbort {
    /// The answer.
    pub answer: AbortAnswer,
    /// For which share of requests.
    pub share: PartsPerMillion,
}

/// What an aborted request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AbortAnswer {
    /// An HTTP status.
    Http(#[serde(serialize_with = "status_as_number")] StatusCode),
    /// HTTP 200 with this `grpc-status`.
    Grpc(u8),
}

/// A copy of the request sent elsewhere; its answer is discarded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Mirror {
    /// Where to.
    pub target: Target,
    /// For which share of requests.
    pub share: PartsPerMillion,
}

/// `CorsPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Cors {
    /// Origins, any of which matches.
    pub allow_origins: Vec<StringMatch>,
    /// `Access-Control-Allow-Methods`.
    pub allow_methods: Vec<Arc<str>>,
    /// `Access-Control-Allow-Headers`.
    pub allow_headers: Vec<Arc<str>>,
    /// `Access-Control-Expose-Headers`.
    pub expose_headers: Vec<Arc<str>>,
    /// `Access-Control-Max-Age`, whole seconds.
    pub max_age: Option<Duration>,
    /// `Access-Control-Allow-Credentials`.
    pub allow_credentials: bool,
    /// What happens to a preflight from another origin.
    pub unmatched_preflights: UnmatchedPreflights,
}

/// What happens to a preflight whose origin does not match.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum UnmatchedPreflights {
    /// It goes to the application.
    #[default]
    Forward,
    /// It is answered without CORS headers.
    Ignore,
}
