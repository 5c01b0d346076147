//! A virtual host in its running form: clusters found, header values built, so that a request
//! only compares and copies.

use std::sync::Arc;

use http::HeaderValue;
use mesh_api::name::ClusterName;
use mesh_api::route::{
    Forward, Mirror, RequestView, RetryCondition, RetryPolicy, RouteAction, Rule, Target,
    VirtualHost,
};
use mesh_api::workload::ServiceIdentity;

use crate::filter::cors::CorsAnswers;
use crate::upstream::ClusterId;

/// A virtual host in its running form.
#[derive(Debug)]
pub struct HostRoutes {
    host: Arc<VirtualHost>,
    service: Option<Arc<ServiceIdentity>>,
    rules: Vec<RouteRule>,
}

/// A rule in its running form.
#[derive(Debug)]
pub struct RouteRule {
    rule: Arc<Rule>,
    /// What the rule's cross-origin policy answers, if it has one.
    pub cors: Option<Arc<CorsAnswers>>,
    /// Forwarding, ready to run; only if the rule forwards.
    pub forward: Option<ForwardStep>,
}

/// Forwarding, ready to run.
#[derive(Debug)]
pub struct ForwardStep {
    /// The cluster of each destination, in the destinations' order; `None` where it fails.
    pub clusters: Vec<Option<ClusterId>>,
    /// The cluster of each mirror; `None` where it fails.
    pub mirrors: Vec<Option<ClusterId>>,
    /// The Host header the upstream sees instead of the client's.
    pub authority: Option<HeaderValue>,
    /// When a copy of the request must be kept for another try.
    pub copy: CopyFor,
}

/// Which requests a retry policy needs a copy of. What was never sent comes back by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyFor {
    /// Any request: an answer, or the lack of one, may ask for another try.
    pub every: bool,
    /// gRPC requests: a status may.
    pub grpc: bool,
    /// Requests sent over HTTP/2: the upstream may refuse the stream.
    pub http2: bool,
}

impl CopyFor {
    /// What `policy` may need.
    pub fn new(policy: &RetryPolicy) -> Self {
        let on = |conditions: &[RetryCondition]| policy.attempts > 0 && policy.on.any(conditions);
        Self {
            every: on(&[
                RetryCondition::ServerError,
                RetryCondition::GatewayError,
                RetryCondition::Reset,
                RetryCondition::Retriable4xx,
                RetryCondition::RateLimited,
            ]) || (on(&[RetryCondition::RetriableStatusCodes])
                && !policy.statuses.is_empty())
                || (on(&[RetryCondition::RetriableHeaders]) && !policy.headers.is_empty()),
            grpc: on(&[
                RetryCondition::Cancelled,
                RetryCondition::DeadlineExceeded,
                RetryCondition::Internal,
                RetryCondition::ResourceExhausted,
                RetryCondition::Unavailable,
            ]),
            http2: on(&[RetryCondition::RefusedStream]),
        }
    }
}

impl HostRoutes {
    /// Builds the running form; `number` finds clusters.
    pub(super) fn new(
        host: Arc<VirtualHost>,
        number: &dyn Fn(&ClusterName) -> Option<ClusterId>,
    ) -> Self {
        let rules = host
            .rules
            .iter()
            .map(|rule| RouteRule::new(Arc::clone(rule), number))
            .collect();
        let service = host.service.clone().map(Arc::new);
        Self {
            host,
            service,
            rules,
        }
    }

    /// The resource.
    pub fn host(&self) -> &Arc<VirtualHost> {
        &self.host
    }

    /// The service it fronts.
    pub fn service(&self) -> Option<&Arc<ServiceIdentity>> {
        self.service.as_ref()
    }

    /// The first rule that matches.
    pub fn find(&self, request: &RequestView<'_>) -> Option<&RouteRule> {
        self.rules.iter().find(|rule| rule.rule.matches(request))
    }
}

impl RouteRule {
    fn new(rule: Arc<Rule>, number: &dyn Fn(&ClusterName) -> Option<ClusterId>) -> Self {
        let forward = match &rule.action {
            RouteAction::Forward(forward) => Some(ForwardStep::new(forward, number)),
            RouteAction::Redirect(_) | RouteAction::Respond(_) | RouteAction::Fail(_) => None,
        };
        let cors = rule
            .cors
            .as_ref()
            .map(|cors| Arc::new(CorsAnswers::new(cors)));
        Self {
            rule,
            cors,
            forward,
        }
    }

    /// The rule.
    pub fn rule(&self) -> &Arc<Rule> {
        &self.rule
    }
}

impl ForwardStep {
    fn new(forward: &Forward, number: &dyn Fn(&ClusterName) -> Option<ClusterId>) -> Self {
        let of = |target: &Target| match target {
            Target::Cluster(name) => number(name),
            Target::Fail(_) => None,
        };
        let destinations = forward.destinations.list().iter();
        let mirrors = forward.mirrors.iter();
        Self {
            clusters: destinations.map(|one| of(&one.target)).collect(),
            mirrors: mirrors.map(|Mirror { target, .. }| of(target)).collect(),
            authority: forward
                .rewrite
                .authority
                .as_deref()
                .and_then(|authority| HeaderValue::from_str(authority).ok()),
            copy: CopyFor::new(&forward.retry),
        }
    }
}
