//! Which rule takes a request, and what becomes of one that none takes.

use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderValue;
use http::request::Parts;
use mesh_api::listener::UnmatchedTraffic;
use mesh_api::route::RequestView;
use mesh_api::workload::ServiceIdentity;

use super::Entry;
use crate::carry::arrival::Arrival;
use crate::config::{HostRoutes, RouteRule, WorkerConfig};
use crate::error::RoutingFault;
use crate::filter::cors::Verdict;
use crate::filter::redirect::Origin;
use crate::http::headers::FORWARDED_PROTO;
use crate::http::intake::Intake;
use crate::http::respond::LocalReply;
use crate::telemetry::{Protocol, Service};

/// What was found for a request.
pub(super) enum Lookup<'c> {
    /// A rule, and the virtual host it is in.
    Rule(&'c Arc<HostRoutes>, &'c RouteRule),
    /// Nothing; the mesh lets it go where it was going.
    Passthrough,
    /// Nothing, and why; perhaps the service that was meant.
    Nothing(RoutingFault, Option<&'c Arc<ServiceIdentity>>),
}

/// Finds the virtual host and the first rule that matches.
pub(super) fn find<'c>(
    entry: &Entry,
    config: &'c WorkerConfig,
    intake: &Intake,
    parts: &Parts,
) -> Lookup<'c> {
    let (host, port) = intake.host();
    let active = &config.active;
    let Some(routes) = active.virtual_host(&entry.selection, &host, port) else {
        let redirected = entry.client.original_destination.is_some();
        return match active.unmatched().filter(|_| redirected) {
            Some(UnmatchedTraffic::Passthrough) => Lookup::Passthrough,
            Some(UnmatchedTraffic::Refuse) => Lookup::Nothing(RoutingFault::NotInRegistry, None),
            // Nothing was redirected here, so there is nowhere it was going.
            None => Lookup::Nothing(RoutingFault::UnknownHost, None),
        };
    };
    let view = RequestView {
        path: parts.uri.path(),
        query: parts.uri.query(),
        method: parts.method.as_str(),
        scheme: scheme(parts),
        authority: intake.authority(),
        headers: &parts.headers,
    };
    match routes.find(&view) {
        Some(rule) => Lookup::Rule(routes, rule),
        None => Lookup::Nothing(RoutingFault::NoRule, routes.service()),
    }
}

/// How the client came, as the first proxy it met says.
fn scheme(parts: &Parts) -> &'static str {
    match parts
        .headers
        .get(FORWARDED_PROTO)
        .map(HeaderValue::as_bytes)
    {
        Some(b"https") => "https",
        Some(_) | None => "http",
    }
}

/// What of the request a redirect builds on.
pub(super) fn origin<'r>(entry: &Entry, intake: &'r Intake, parts: &'r Parts) -> Origin<'r> {
    Origin {
        scheme: scheme(parts),
        authority: intake.authority(),
        port: entry.client.downstream.local.port(),
        uri: &parts.uri,
    }
}

/// Counts a request that reaches no endpoint for the service it meant.
pub(super) fn blame(
    arrival: &mut Arrival,
    entry: &Entry,
    config: &Rc<WorkerConfig>,
    service: Option<&Arc<ServiceIdentity>>,
) {
    let Some(service) = service else { return };
    let protocol = if arrival.exchange.grpc {
        Protocol::Grpc
    } else {
        Protocol::Http
    };
    let key = config.outbound_key(Service::Known(Arc::clone(service)), protocol);
    let series = entry.client.worker.telemetry.series(&key);
    arrival.exchange.record().set_series(series);
}

/// Does what the rule's cross-origin policy says: lets the origin read whatever the answer will be;
/// the error is the answer to a preflight.
pub(super) fn cross_origin(rule: &RouteRule, arrival: &mut Arrival) -> Result<(), Box<LocalReply>> {
    let (Some(answers), Some(cors)) = (&rule.cors, &rule.rule().cors) else {
        return Ok(());
    };
    if !arrival.scan.has_origin() {
        return Ok(());
    }
    match answers.judge(cors, &arrival.parts.method, &arrival.parts.headers) {
        Verdict::Pass => {}
        Verdict::Allow(origin) => arrival.allow_origin(origin, answers),
        Verdict::Answer(reply) => return Err(reply),
    }
    Ok(())
}
