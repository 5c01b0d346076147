//! HTTP routes: virtual hosts, ordered rules, and what a rule does.

pub mod filter;
pub mod host;
pub mod matcher;
pub mod path;
pub mod pattern;
pub mod retry;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Serialize, Serializer};

pub use filter::{
    Cors, Fault, FaultAbort, FaultDelay, HeaderEdits, HeaderOps, HeaderText, Mirror, Operator,
    Rewrite, TextPart, UnmatchedPreflights, UriRewrite,
};
pub use host::Domain;
pub use matcher::{
    HeaderMatch, Matched, PathMatch, Pattern, QueryMatch, RequestMatch, RequestView, StringMatch,
    ValueMatch,
};
pub use path::NormalForm;
pub use retry::{Backoff, RetryCondition, RetryConditions, RetryPolicy};

use crate::name::{ClusterName, RoutesName};
use crate::units::NonEmpty;
use crate::workload::ServiceIdentity;

/// The hosts of one table that share rules.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct VirtualHost {
    /// Its name: table and host.
    pub name: RoutesName,
    /// Hosts it answers for. No domain stands in two virtual hosts of one table.
    pub domains: Vec<Domain>,
    /// The service it fronts, for telemetry of requests that reach no cluster.
    pub service: Option<ServiceIdentity>,
    /// Ordered rules; the first that matches wins; none: 404 `NR`.
    pub rules: Vec<Arc<Rule>>,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Rule {
    /// The route's name in access logs (`default` for the route of a service without rules).
    pub name: Arc<str>,
    /// Any of these must match; empty matches all.
    pub matches: Vec<RequestMatch>,
    /// Fault injection, before everything else the rule does.
    pub fault: Option<Fault>,
    /// Cross-origin policy.
    pub cors: Option<Cors>,
    /// Header edits of the route.
    pub headers: HeaderEdits,
    /// What happens to the request.
    pub action: RouteAction,
}

/// What happens to a request that a rule matched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RouteAction {
    /// It goes to a cluster.
    Forward(Box<Forward>),
    /// It is answered with a `Location`.
    Redirect(Redirect),
    /// It is answered by the proxy.
    Respond(DirectResponse),
    /// The rule cannot be carried out; the request is refused and the reason logged.
    Fail(Failure),
}

/// Forwarding to a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Forward {
    /// Where to, by weight.
    pub destinations: Destinations,
    /// Whole request, retries and back-off included; `None`: no limit.
    pub timeout: Option<Duration>,
    /// When to try again.
    pub retry: RetryPolicy,
    /// Path and authority changes.
    pub rewrite: Rewrite,
    /// Copies sent elsewhere.
    pub mirrors: Vec<Mirror>,
}

/// Weighted destinations.
///
/// One destination gets everything whatever its weight; of several, those of weight 0 get
/// nothing, and the sum is never 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destinations {
    list: NonEmpty<Destination>,
    total: u64,
}

impl Destinations {
    /// The destinations, or `None` if there are none or several of total weight 0.
    pub fn new(list: Vec<Destination>) -> Option<Self> {
        let list = NonEmpty::new(list)?;
        let total = list.iter().map(|d| u64::from(d.weight)).sum();
        (list.len() == 1 || total > 0).then_some(Self { list, total })
    }

    /// A single destination.
    pub fn one(target: Target) -> Self {
        let only = Destination {
            target,
            weight: 1,
            headers: HeaderEdits::default(),
        };
        Self {
            list: NonEmpty::one(only),
            total: 1,
        }
    }

    /// All destinations, in the order the user gave.
    pub fn list(&self) -> &[Destination] {
        &self.list
    }

    /// The destination for `draw`, any uniformly distributed number, and its index.
    pub fn pick(&self, draw: u64) -> (usize, &Destination) {
        let first = (0, self.list.first());
        if self.list.len() == 1 {
            return first;
        }
        let mut rest = draw % self.total;
        for (index, destination) in self.list.iter().enumerate() {
            let weight = u64::from(destination.weight);
            if rest < weight {
                return (index, destination);
            }
            rest -= weight;
        }
        first
    }
}

impl Serialize for Destinations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

/// One weighted destination.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Destination {
    /// Where to.
    pub target: Target,
    /// Its share among its siblings.
    pub weight: u32,
    /// Header edits for this destination only.
    pub headers: HeaderEdits,
}

/// Where a destination leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// To a cluster of the snapshot.
    Cluster(ClusterName),
    /// Nowhere: the service or subset does not exist, or cannot be served.
    Fail(Failure),
}

/// A refusal decided when config was compiled.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Failure {
    /// The status of the answer.
    #[serde(serialize_with = "status_as_number")]
    pub status: StatusCode,
    /// The access-log flag.
    pub flag: FailureFlag,
    /// Why, in a sentence for the log (`reason`).
    pub reason: Arc<str>,
}

/// Access-log flags of refusals that config decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum FailureFlag {
    /// The destination does not exist.
    #[serde(rename = "NC")]
    NoCluster,
    /// No route.
    #[serde(rename = "NR")]
    NoRoute,
    /// Asked for something the mesh cannot enforce yet.
    #[serde(rename = "NE")]
    NotEnforceable,
}

/// A redirect (`HTTPRedirect`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    #[serde(serialize_with = "status_as_number")]
    pub status: StatusCode,
    /// `https` or `http`; `None` keeps the request's.
    pub scheme: Option<Arc<str>>,
    /// The authority; `None` keeps the request's.
    pub authority: Option<Arc<str>>,
    /// The port in `Location`.
    pub port: RedirectPort,
    /// What becomes of the path.
    pub path: RedirectPath,
}

/// The port of a redirect's `Location`; a scheme's default port is never printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RedirectPort {
    /// As in the authority used; dropped if the scheme changes.
    #[default]
    Keep,
    /// This one.
    Number(crate::units::Port),
    /// `FROM_PROTOCOL_DEFAULT`.
    ProtocolDefault,
    /// `FROM_REQUEST_PORT`.
    RequestPort,
}

/// The path of a redirect's `Location`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RedirectPath {
    /// Path and query as they are.
    #[default]
    Keep,
    /// Replaces the whole path; the query stays unless this brings its own.
    Full(Arc<str>),
    /// Replaces the matched prefix.
    Prefix {
        /// The prefix the rule matched.
        matched: Arc<str>,
        /// What stands there instead.
        replacement: Arc<str>,
    },
}

/// An answer by the proxy (`HTTPDirectResponse`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct DirectResponse {
    /// The status.
    #[serde(serialize_with = "status_as_number")]
    pub status: StatusCode,
    /// The body; at most 1 MiB.
    #[serde(serialize_with = "body_as_text")]
    pub body: Bytes,
}

impl VirtualHost {
    /// The first rule that matches, or `None` for 404 `NR`.
    pub fn find(&self, request: &RequestView<'_>) -> Option<&Arc<Rule>> {
        self.rules.iter().find(|rule| rule.matches(request))
    }
}

impl Rule {
    /// Whether this rule takes the request.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        self.matches.is_empty() || self.matches.iter().any(|one| one.matches(request))
    }

    /// Whether nothing behind this rule can be reached: no match, or a bare prefix `/` or regex
    /// `.*` (Istio's catch-all, moved to the end when virtual services merge).
    pub fn is_catch_all(&self) -> bool {
        self.matches.is_empty() || self.matches.iter().any(RequestMatch::is_catch_all)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
pub(crate) fn status_as_number<S: Serializer>(
    status: &StatusCode,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

fn body_as_text<S: Serializer>(body: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&String::from_utf8_lossy(body))
}

pub(crate) fn value_as_text<S: Serializer>(
    value: &HeaderValue,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&String::from_utf8_lossy(value.as_bytes()))
}

/// The headers of a request, named so that signatures say what they read.
pub type Headers = HeaderMap<HeaderValue>;
