//! Forwarding: destination, header edits, rewrite, mirrors, deadline, delivery, answer.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::request::Parts;
use http::{Request, Response};
use mesh_api::name::ClusterName;
use mesh_api::route::{Forward, HeaderEdits, RetryPolicy, Target as RouteTarget};
use tokio::time::Instant;

use super::homeward::Homeward;
use super::wishes::Wishes;
use super::{Entry, affinity, mirror};
use crate::authz::Permit;
use crate::carry::arrival::{Arrival, Sends};
use crate::carry::exchange::deadline;
use crate::carry::exchange::speaks_http2;
use crate::carry::response::ResponseBody;
use crate::config::rules::{CopyFor, ForwardStep};
use crate::config::{RouteRule, WorkerConfig};
use crate::error::{ProxyError, RoutingFault, UpstreamFault};
use crate::filter::headers::{self as edits, Facts, RequestFacts};
use crate::filter::{fault, rewrite};
use crate::http::body::RequestBody;
use crate::http::translate::{self, Content};
use crate::telemetry::{Protocol, RequestSeries};
use crate::upstream::attempt::Target;
use crate::upstream::balancer::Choice;
use crate::upstream::retry::{AttemptLog, Delivery, deliver};
use crate::upstream::{LocalCluster, LocalEndpoint};

/// The terms a request is delivered on.
struct Terms<'a> {
    cluster: Rc<LocalCluster>,
    retry: Cow<'a, RetryPolicy>,
    copy: CopyFor,
    timeout: Option<Duration>,
    affinity: Option<u64>,
    mirrors: Option<(&'a Forward, &'a ForwardStep)>,
}

/// Forwards by a rule.
pub(super) async fn by_rule(
    entry: &Entry,
    config: &Rc<WorkerConfig>,
    permit: Permit,
    (rule, forward, wishes): (&RouteRule, &Forward, Option<Box<Wishes>>),
    mut arrival: Box<Arrival>,
) -> Response<ResponseBody> {
    let (mut terms, homeward) = match plan(entry, config, (rule, forward), &mut arrival) {
        Ok(planned) => planned,
        Err(error) => return arrival.fail(&error),
    };
    if let Some(wishes) = wishes {
        terms.timeout = wishes.timeout(terms.timeout);
        terms.retry = wishes.retry(&forward.retry);
        terms.copy = CopyFor::new(&terms.retry);
    }
    let mut homeward = Some(homeward);
    carry(entry, config, permit, &terms, &mut homeward, arrival).await
}

/// Lets a request go where it was going before it was redirected.
pub(super) async fn through(
    entry: &Entry,
    config: &Rc<WorkerConfig>,
    permit: Permit,
    wishes: Option<Box<Wishes>>,
    mut arrival: Box<Arrival>,
) -> Response<ResponseBody> {
    let name = ClusterName::Passthrough;
    let Some(cluster) = config.cluster_by_name(&name, &entry.client.worker.upstreams) else {
        return arrival.fail(&UpstreamFault::NoCluster.into());
    };
    arrival.exchange.record().set_cluster(&name);
    let never = RetryPolicy::off();
    let terms = Terms {
        cluster,
        copy: CopyFor::new(&never),
        retry: Cow::Owned(never),
        // Nothing is known of what is there: a try of it is not repeated, whoever asks.
        timeout: wishes.and_then(|wishes| wishes.timeout(None)),
        affinity: None,
        mirrors: None,
    };
    carry(entry, config, permit, &terms, &mut None, arrival).await
}

/// Chooses the destination and edits the request for it.
fn plan<'a>(
    entry: &Entry,
    config: &Rc<WorkerConfig>,
    (rule, forward): (&'a RouteRule, &'a Forward),
    arrival: &mut Arrival,
) -> Result<(Terms<'a>, Homeward<'a>), ProxyError> {
    let step = rule.forward.as_ref().ok_or(UpstreamFault::NoCluster)?;
    let list = forward.destinations.list();
    let draw = if list.len() > 1 { rand::random() } else { 0 };
    let (index, destination) = forward.destinations.pick(draw);
    if let RouteTarget::Fail(failure) = &destination.target {
        return Err(RoutingFault::Refused(failure.clone()).into());
    }
    let number = step.clusters.get(index).copied().flatten();
    let cluster = number
        .and_then(|number| config.cluster(number, &entry.client.worker.upstreams))
        .ok_or(UpstreamFault::NoCluster)?;
    let name = &cluster.state().cluster().name;
    arrival.exchange.record().set_cluster(name);

    let affine = affinity::of(cluster.state(), entry, &arrival.parts);
    let order = edits::in_order(&rule.rule().headers, &destination.headers, list.len());
    let reads = |edits: &&HeaderEdits| edits::reads_request(&edits.response);
    let homeward = Homeward {
        rule,
        destination: Some(&destination.headers),
        destinations: list.len(),
        request: order
            .iter()
            .any(reads)
            .then(|| RequestFacts::of(&arrival.parts)),
        cookie: affine.cookie,
    };
    edit_request(entry, order, rule, &cluster, &mut arrival.parts);
    let Parts { uri, headers, .. } = &mut arrival.parts;
    let paths = config.active.paths();
    rewrite::apply(
        &forward.rewrite,
        step.authority.as_ref(),
        paths,
        uri,
        headers,
    )?;
    let terms = Terms {
        cluster,
        retry: Cow::Borrowed(&forward.retry),
        copy: step.copy,
        timeout: forward.timeout,
        affinity: affine.key,
        mirrors: (!forward.mirrors.is_empty()).then_some((forward, step)),
    };
    Ok((terms, homeward))
}

fn edit_request(
    entry: &Entry,
    order: [&HeaderEdits; 2],
    rule: &RouteRule,
    cluster: &LocalCluster,
    parts: &mut Parts,
) {
    if order.iter().all(|edits| edits.request.is_empty()) {
        return;
    }
    let reads = order
        .iter()
        .any(|edits| edits::reads_request(&edits.request));
    let request = reads.then(|| RequestFacts::of(parts));
    let downstream = &entry.client.downstream;
    let facts = Facts {
        remote: downstream.remote,
        local: downstream.local,
        http2: entry.client.is_http2(),
        route: &rule.rule().name,
        cluster: Some(cluster.state().name()),
        upstream: None,
        request: request.as_ref(),
    };
    for edits in order {
        edits::apply(&edits.request, &mut parts.headers, &facts);
    }
}

/// Sends the request, waits for the answer, passes it on.
async fn carry(
    entry: &Entry,
    config: &Rc<WorkerConfig>,
    permit: Permit,
    terms: &Terms<'_>,
    homeward: &mut Option<Homeward<'_>>,
    mut arrival: Box<Arrival>,
) -> Response<ResponseBody> {
    let client = &entry.client;
    let worker = &client.worker;
    let cluster = &terms.cluster;
    let grpc = arrival.exchange.grpc;
    let http2 = speaks_http2(cluster.state().cluster().protocol, client);
    let choice = Choice {
        original_destination: client.original_destination,
        affinity: terms.affinity,
    };
    let unreached = Rc::clone(cluster.unreached(grpc, &worker.telemetry));
    arrival.exchange.record().set_series(unreached);
    let asked = arrival.scan.has_grpc_timeout();
    let asked = asked.then(|| arrival.parts.headers.get("grpc-timeout"));
    let limit = deadline::limit(terms.timeout, asked.flatten());
    let clock = arrival.clock(limit);
    if let Some(mirrors) = terms.mirrors {
        mirror(entry, config, &permit, mirrors, &mut arrival, choice);
    }
    let keep = terms.copy.every || (grpc && terms.copy.grpc) || (http2 && terms.copy.http2);
    let sends = if keep {
        Sends::Again(&worker.buffers)
    } else {
        Sends::Once
    };
    let mut slot = match arrival.request(http2, sends) {
        Ok(request) => Some(request),
        Err(fault) => return arrival.fail(&fault.into()),
    };
    let delivery = Delivery {
        target: Target {
            upstreams: &worker.upstreams,
            cluster,
            under_way: arrival.exchange.under_way(),
            http2,
            resend_safe: false,
            interim: arrival.interim(),
        },
        choice,
        policy: &terms.retry,
        keep,
        grpc,
        count: true,
    };
    let log = AttemptLog::default();
    let sent_at = Instant::now();
    let delivered = {
        let _noting = arrival.exchange.noting(&log, |exchange, log| {
            if let Some(endpoint) = log.endpoint.borrow().as_deref() {
                let series = series(entry, config, cluster, endpoint, grpc);
                exchange.record().set_series(series);
            }
        });
        let delivering = std::pin::pin!(deliver(&delivery, &mut slot, &log));
        clock.within(delivering).await
    };
    match delivered {
        Some(Ok(sent)) => {
            let timing = (&clock, sent_at.elapsed());
            let limits = &cluster.state().cluster().limits;
            arrival.forward(sent, timing, limits, (worker, permit), |headers, remote| {
                if let Some(homeward) = homeward.take() {
                    let cluster = Some(cluster.state().name());
                    homeward.edit(entry, cluster, Some(remote), headers);
                }
            })
        }
        Some(Err(error)) => arrival.fail(&error),
        None => {
            let events = &cluster.state().shared().events;
            events.timeouts.fetch_add(1, Ordering::Relaxed);
            arrival.fail(&UpstreamFault::Timeout.into())
        }
    }
}

/// What the request is counted in, now that its endpoint is known.
fn series(
    entry: &Entry,
    config: &WorkerConfig,
    cluster: &LocalCluster,
    endpoint: &LocalEndpoint,
    grpc: bool,
) -> Rc<RequestSeries> {
    let telemetry = &entry.client.worker.telemetry;
    // Where a connection was going anyway may be a workload of the mesh.
    let original = entry.client.original_destination;
    let original = original.filter(|_| cluster.is_original_destination());
    let Some(peer) = original.and_then(|address| config.active.peer(address.ip())) else {
        return Rc::clone(cluster.series(endpoint, grpc, telemetry));
    };
    let protocol = if grpc { Protocol::Grpc } else { Protocol::Http };
    let mut key = config.outbound_key(cluster.service(), protocol);
    key.destination = Arc::clone(peer);
    telemetry.series(&key)
}

/// Sends copies of the request to the route's mirrors.
fn mirror(
    entry: &Entry,
    config: &Rc<WorkerConfig>,
    permit: &Permit,
    (forward, step): (&Forward, &ForwardStep),
    arrival: &mut Arrival,
    choice: Choice,
) {
    let client = &entry.client;
    for (mirror, cluster) in forward.mirrors.iter().zip(&step.mirrors) {
        let drawn = cluster.filter(|_| fault::draw(mirror.share));
        let cluster = drawn.and_then(|number| config.cluster(number, &client.worker.upstreams));
        let Some(cluster) = cluster else {
            continue;
        };
        let http2 = speaks_http2(cluster.state().cluster().protocol, client);
        let body = arrival.source().map_or(RequestBody::Empty, |source| {
            RequestBody::Tap(source.tap(&client.worker.buffers))
        });
        let (mut copy, ()) = Request::new(()).into_parts();
        copy.method = arrival.parts.method.clone();
        copy.uri = arrival.parts.uri.clone();
        copy.headers = arrival.parts.headers.clone();
        let onward = translate::Onward {
            to: translate::version(http2),
            content: Content::of(&body),
            websocket: false,
        };
        if translate::request(&mut copy, arrival.scan, onward).is_ok() {
            let options = mirror::MirrorOptions {
                http2,
                grpc: arrival.exchange.grpc,
                under_way: arrival.exchange.under_way(),
                choice,
            };
            let request = Request::from_parts(copy, body);
            let by = (&client.worker, permit.for_mirror());
            mirror::send(by, config, cluster, request, options);
        }
    }
}
