//! Everything that can keep a request from being answered by its upstream, grouped by the phase
//! in which it happens.
//!
//! One type, and three questions every variant answers: whose fault it was ([`ProxyError::blame`]),
//! what the access log says ([`ProxyError::flag`], [`ProxyError::details`]), and whether another
//! try may help ([`ProxyError::retry_class`]). What the client is told is decided in
//! `http/respond.rs`.

use std::fmt;
use std::io;
use std::sync::Arc;

use mesh_api::route::{DirectResponse, Failure, FailureFlag};

use crate::net::territory::Forbidden;
use crate::telemetry::flags::ResponseFlag;

/// What is refused because nothing here can keep the promise.
const NOT_ENFORCEABLE: &str = "not_enforceable";

/// Why a request was not answered by its upstream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The client sent something that is refused before any route is looked at.
    #[error("the request is refused: {0}")]
    Request(#[from] RequestFault),
    /// No route leads anywhere.
    #[error("the request is not routed: {0}")]
    Routing(#[from] RoutingFault),
    /// A policy keeps the request out.
    #[error("the request is not let in: {0}")]
    Policy(#[from] PolicyFault),
    /// The upstream could not be reached or did not answer.
    #[error("the upstream did not answer: {0}")]
    Upstream(#[from] UpstreamFault),
}

/// Headers of one request, those that proxies of the mesh add aside: the same at every hop.
pub const MAX_HEADERS: usize = 100;

/// What is wrong with a request as the client sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// No Host header and no authority.
    #[error("it names no host")]
    HostMissing,
    /// Several Host headers.
    #[error("it names its host more than once")]
    HostRepeated,
    /// `:authority` and Host differ.
    #[error("its authority and its Host header differ")]
    HostConflict,
    /// The authority is not host and port (user info, spaces, a bad port).
    #[error("its authority is not a host with an optional port")]
    AuthorityMalformed,
    /// The path does not begin with `/`, or climbs above the root, or holds bytes no path may.
    #[error("its path is malformed")]
    PathMalformed,
    /// Content-Length and Transfer-Encoding together, or an encoding that is not `chunked`.
    #[error("the length of its body is ambiguous")]
    FramingAmbiguous,
    /// More headers than are served.
    #[error("it has more than {MAX_HEADERS} headers")]
    TooManyHeaders,
    /// HTTP/1.0 and older.
    #[error(
        "it speaks HTTP/1.0; at least HTTP/1.1 is needed, unless this proxy is started with \
         --http10 (in a pod: ISTIO_META_HTTP10=1)"
    )]
    VersionTooOld,
    /// TRACE.
    #[error("its method is not served here")]
    MethodRefused,
    /// CONNECT.
    #[error("tunnels are not served here")]
    ConnectRefused,
    /// The client stopped sending the body, or sent one that cannot be decoded.
    #[error("its body ended early or is malformed")]
    BodyBroken,
    /// The client sent nothing of the body for too long.
    #[error("nothing of its body came for too long")]
    BodySlow,
}

/// Why no route leads anywhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutingFault {
    /// No virtual host answers for this authority.
    #[error("no virtual host answers for this authority")]
    UnknownHost,
    /// The virtual host has no rule that matches.
    #[error("no rule of the virtual host matches")]
    NoRule,
    /// The mesh does not know the host and passes nothing through (`REGISTRY_ONLY`).
    #[error("the host is not in the registry")]
    NotInRegistry,
    /// The listener is gone from the configuration.
    #[error("the listener is no longer configured")]
    ListenerGone,
    /// The rule or destination was compiled to a refusal.
    #[error("{}", .0.reason)]
    Refused(Failure),
}

/// Why a policy keeps a request out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// The policy asks for something that cannot be enforced yet.
    #[error("{reason}")]
    NotEnforceable {
        /// Why, naming the object.
        reason: Arc<str>,
    },
    /// The policy of this port is missing from the configuration.
    #[error("the policy of this port is missing")]
    Missing,
}

/// Why the upstream did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFault {
    /// The cluster has no endpoint that may be used.
    #[error("no healthy upstream")]
    NoEndpoint,
    /// The cluster is one that refuses everything.
    #[error("the cluster refuses every request")]
    Refused(DirectResponse),
    /// The route names a cluster the configuration does not have.
    #[error("the cluster does not exist")]
    NoCluster,
    /// The cluster asks for protection that cannot be given yet.
    #[error("{0}")]
    NotEnforceable(&'static str),
    /// A circuit breaker is at its limit.
    #[error("{0} limit reached")]
    Overflow(Limit),
    /// No connection.
    #[error("connection failure: {0}")]
    Connect(ConnectFault),
    /// The connection ended before any byte of a response.
    #[error("connection termination")]
    Closed {
        /// Whether nothing of the request had been written.
        unsent: bool,
    },
    /// The upstream reset the stream before the response began.
    #[error("remote reset")]
    Reset {
        /// Whether it said that it did not process the request (`REFUSED_STREAM`).
        refused: bool,
    },
    /// The upstream answered with something that is not HTTP.
    #[error("protocol error")]
    Protocol,
    /// The whole request took too long.
    #[error("the request timed out")]
    Timeout,
    /// One try took too long.
    #[error("one try timed out")]
    TryTimeout,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFault {
    /// It took longer than `connectTimeout`.
    #[error("timed out")]
    Timeout,
    /// The operating system says no.
    #[error("{0}")]
    Io(io::ErrorKind),
    /// The name of the endpoint does not resolve.
    #[error("the name does not resolve")]
    Dns,
    /// The HTTP/2 preface was not answered as HTTP/2.
    #[error("HTTP/2 handshake failed")]
    Handshake,
    /// The address is one this proxy does not connect to.
    #[error("{0}")]
    Forbidden(#[from] Forbidden),
}

/// The limits of `connectionPool`, and of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// `maxConnections`.
    Connections,
    /// `http1MaxPendingRequests`.
    Pending,
    /// `http2MaxRequests`.
    Requests,
    /// `maxRetries` or the retry budget.
    Retries,
    /// The sockets of this process.
    Sockets,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "connection",
            Self::Pending => "pending request",
            Self::Requests => "active request",
            Self::Retries => "retry",
            Self::Sockets => "upstream socket",
        })
    }
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The client's.
    Downstream,
    /// The configuration's or this proxy's.
    Proxy,
    /// The upstream's.
    Upstream,
}

/// What a retry policy has to say about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryClass {
    /// Another try cannot help, or is not allowed to.
    Never,
    /// `connect-failure`: nothing was sent.
    ConnectFailure,
    /// `reset-before-request`: nothing was sent.
    Unsent,
    /// `refused-stream`: the upstream says it did nothing.
    RefusedStream,
    /// `reset`: no answer, whatever was done with the request.
    Reset,
}

impl ProxyError {
    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Request(_) => Blame::Downstream,
            Self::Routing(_) | Self::Policy(_) => Blame::Proxy,
            Self::Upstream(fault) => match fault {
                UpstreamFault::Refused(_)
                | UpstreamFault::NoCluster
                | UpstreamFault::NotEnforceable(_)
                | UpstreamFault::Connect(ConnectFault::Forbidden(_))
                | UpstreamFault::Overflow(_) => Blame::Proxy,
                UpstreamFault::NoEndpoint
                | UpstreamFault::Connect(_)
                | UpstreamFault::Closed { .. }
                | UpstreamFault::Reset { .. }
                | UpstreamFault::Protocol
                | UpstreamFault::Timeout
                | UpstreamFault::TryTimeout => Blame::Upstream,
            },
        }
    }

    /// The access-log flag, if the error has one.
    pub fn flag(&self) -> Option<ResponseFlag> {
        match self {
            Self::Request(RequestFault::BodyBroken) => Some(ResponseFlag::DownstreamDisconnect),
            Self::Request(RequestFault::BodySlow) => Some(ResponseFlag::StreamIdle),
            Self::Request(_) => Some(ResponseFlag::DownstreamProtocolError),
            Self::Routing(fault) => match fault {
                RoutingFault::UnknownHost | RoutingFault::NoRule | RoutingFault::ListenerGone => {
                    Some(ResponseFlag::NoRoute)
                }
                RoutingFault::NotInRegistry => None,
                RoutingFault::Refused(failure) => Some(failure.flag.into()),
            },
            Self::Policy(_) => Some(ResponseFlag::NotEnforceable),
            Self::Upstream(fault) => fault.flag(),
        }
    }

    /// `response_code_details`: what happened, in one word.
    pub fn details(&self) -> &'static str {
        match self {
            Self::Request(fault) => fault.details(),
            Self::Routing(fault) => match fault {
                RoutingFault::UnknownHost
                | RoutingFault::NoRule
                | RoutingFault::NotInRegistry
                | RoutingFault::ListenerGone => "route_not_found",
                RoutingFault::Refused(failure) => match failure.flag {
                    FailureFlag::NoCluster => "cluster_not_found",
                    FailureFlag::NoRoute => "route_not_found",
                    FailureFlag::NotEnforceable => NOT_ENFORCEABLE,
                },
            },
            Self::Policy(PolicyFault::NotEnforceable { .. }) => NOT_ENFORCEABLE,
            Self::Policy(PolicyFault::Missing) => "policy_missing",
            Self::Upstream(fault) => fault.details(),
        }
    }

    /// Why the configuration forbids it, in its own words.
    pub fn reason(&self) -> Option<&Arc<str>> {
        match self {
            Self::Routing(RoutingFault::Refused(failure)) => Some(&failure.reason),
            Self::Policy(PolicyFault::NotEnforceable { reason }) => Some(reason),
            Self::Request(_) | Self::Routing(_) | Self::Policy(_) | Self::Upstream(_) => None,
        }
    }

    /// Whether another try may help.
    pub fn retry_class(&self) -> RetryClass {
        match self {
            Self::Request(_) | Self::Routing(_) | Self::Policy(_) => RetryClass::Never,
            Self::Upstream(fault) => match fault {
                UpstreamFault::NoEndpoint
                | UpstreamFault::Refused(_)
                | UpstreamFault::NoCluster
                | UpstreamFault::NotEnforceable(_)
                | UpstreamFault::Overflow(_)
                | UpstreamFault::Timeout => RetryClass::Never,
                UpstreamFault::Connect(_) => RetryClass::ConnectFailure,
                UpstreamFault::Closed { unsent: true } => RetryClass::Unsent,
                UpstreamFault::Reset { refused: true } => RetryClass::RefusedStream,
                UpstreamFault::Closed { unsent: false }
                | UpstreamFault::Reset { refused: false }
                | UpstreamFault::Protocol
                | UpstreamFault::TryTimeout => RetryClass::Reset,
            },
        }
    }
}

impl RequestFault {
    fn details(self) -> &'static str {
        match self {
            Self::HostMissing => "missing_host",
            Self::HostRepeated => "host_repeated",
            Self::HostConflict => "host_conflict",
            Self::AuthorityMalformed => "authority_malformed",
            Self::PathMalformed => "path_normalization_failed",
            Self::FramingAmbiguous => "framing_ambiguous",
            Self::TooManyHeaders => "too_many_headers",
            Self::VersionTooOld => "low_version",
            Self::MethodRefused | Self::ConnectRefused => "method_refused",
            Self::BodyBroken => "downstream_body_broken",
            Self::BodySlow => "stream_idle_timeout",
        }
    }
}

impl UpstreamFault {
    fn flag(&self) -> Option<ResponseFlag> {
        match self {
            Self::NoEndpoint | Self::Connect(ConnectFault::Forbidden(_)) => {
                Some(ResponseFlag::NoHealthyUpstream)
            }
            Self::Refused(_) => None,
            Self::NoCluster => Some(ResponseFlag::NoCluster),
            Self::NotEnforceable(_) => Some(ResponseFlag::NotEnforceable),
            Self::Overflow(_) => Some(ResponseFlag::Overflow),
            Self::Connect(_) => Some(ResponseFlag::ConnectFailure),
            Self::Closed { .. } | Self::Protocol => Some(ResponseFlag::UpstreamClosed),
            Self::Reset { .. } => Some(ResponseFlag::UpstreamReset),
            Self::Timeout | Self::TryTimeout => Some(ResponseFlag::UpstreamTimeout),
        }
    }

    fn details(&self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_healthy_upstream",
            Self::Refused(_) => "direct_response",
            Self::NoCluster => "cluster_not_found",
            Self::NotEnforceable(_) => NOT_ENFORCEABLE,
            Self::Overflow(_) => "overflow",
            Self::Connect(ConnectFault::Forbidden(_)) => "upstream_address_forbidden",
            Self::Connect(_) => "upstream_reset_before_response_started{connection_failure}",
            Self::Closed { .. } => "upstream_reset_before_response_started{connection_termination}",
            Self::Reset { .. } => "upstream_reset_before_response_started{remote_reset}",
            Self::Protocol => "upstream_reset_before_response_started{protocol_error}",
            Self::Timeout => "upstream_response_timeout",
            Self::TryTimeout => "upstream_per_try_timeout",
        }
    }
}

impl From<&io::Error> for ConnectFault {
    fn from(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::TimedOut {
            Self::Timeout
        } else {
            Self::Io(error.kind())
        }
    }
}
