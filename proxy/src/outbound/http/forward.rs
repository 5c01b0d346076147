//! Forwarding: destination, header edits, rewrite, mirrors, deadline, delivery, answer.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use mesh_api::name::ClusterName;
use mesh_api::route::{Forward, HeaderEdits, RetryPolicy, Target as RouteTarget};
use tokio::time::Instant;

use super::homeward::Homeward;
use super::{Entry, affinity};
use crate::config::rules::{CopyFor, ForwardStep};
use crate::config::{LocalCluster, LocalEndpoint, RouteRule, WorkerConfig};
use crate::error::{ProxyError, RoutingFault, UpstreamFault};
use crate::filter::headers::{self as edits, Facts, RequestFacts};
use crate::filter::{fault, mirror, rewrite};
use crate::http::body::{RequestBody, ResponseBody, Source};
use crate::http::exchange::deadline::{self, Clock};
use crate::http::exchange::{Exchange, Onward, for_wire, speaks_http2};
use crate::http::intake::Intake;
use crate::telemetry::{Protocol, RequestSeries};
use crate::upstream::attempt::{Sent, Target};
use crate::upstream::balancer::Choice;
use crate::upstream::replay::Replay;
use crate::upstream::retry::{AttemptLog, Delivery, deliver};

/// A request that is being forwarded.
pub(super) struct Passage<'a> {
    entry: &'a Entry,
    config: &'a Rc<WorkerConfig>,
    intake: Intake,
    upgrade: Option<OnUpgrade>,
}

impl<'a> Passage<'a> {
    pub(super) fn new(
        entry: &'a Entry,
        config: &'a Rc<WorkerConfig>,
        intake: Intake,
        upgrade: Option<OnUpgrade>,
    ) -> Self {
        Self {
            entry,
            config,
            intake,
            upgrade,
        }
    }

    /// Forwards by a rule.
    pub(super) async fn forward(
        self,
        rule: &RouteRule,
        forward: &Forward,
        origin: Option<HeaderValue>,
        mut exchange: Exchange,
        (mut parts, incoming): (Parts, Incoming),
    ) -> Response<ResponseBody> {
        let Some(step) = &rule.forward else {
            return exchange.fail(&UpstreamFault::NoCluster.into());
        };
        let worker = &self.entry.client.worker;
        let list = forward.destinations.list();
        let draw = if list.len() > 1 { rand::random() } else { 0 };
        let (index, destination) = forward.destinations.pick(draw);
        if let RouteTarget::Fail(failure) = &destination.target {
            let refused = RoutingFault::Refused(failure.clone());
            return exchange.fail(&ProxyError::Routing(refused));
        }
        let cluster = step.clusters.get(index).copied().flatten();
        let Some(cluster) = cluster.and_then(|id| self.config.cluster(id, &worker.upstreams))
        else {
            return exchange.fail(&UpstreamFault::NoCluster.into());
        };
        exchange.record.set_cluster(&cluster.state().cluster().name);

        let affine = affinity::of(cluster.state(), self.entry, &parts);
        let order = edits::in_order(&rule.rule().headers, &destination.headers, list.len());
        let homeward = Homeward {
            rule,
            destination: Some(&destination.headers),
            destinations: list.len(),
            request: order
                .iter()
                .any(|edits| edits::reads_request(&edits.response))
                .then(|| RequestFacts::of(&parts)),
            origin,
            cookie: affine.cookie,
        };
        self.edit_request(order, rule, &cluster, &mut parts);
        let rewritten = rewrite::apply(&forward.rewrite, step, &mut parts.uri, &mut parts.headers);
        if let Err(fault) = rewritten {
            return exchange.fail(&fault.into());
        }
        let terms = Terms {
            retry: &forward.retry,
            copy: step.copy,
            timeout: forward.timeout,
            affinity: affine.key,
            mirrors: Some((forward, step)),
        };
        self.carry(&cluster, terms, Some(homeward), exchange, (parts, incoming))
            .await
    }

    /// Lets a request go where it was going before it was redirected.
    pub(super) async fn through(
        self,
        mut exchange: Exchange,
        parts: Parts,
        incoming: Incoming,
    ) -> Response<ResponseBody> {
        let worker = &self.entry.client.worker;
        let name = ClusterName::Passthrough;
        let Some(cluster) = self.config.cluster_by_name(&name, &worker.upstreams) else {
            return exchange.fail(&UpstreamFault::NoCluster.into());
        };
        exchange.record.set_cluster(&name);
        let never = RetryPolicy::off();
        let terms = Terms {
            copy: CopyFor::new(&never),
            retry: &never,
            timeout: None,
            affinity: None,
            mirrors: None,
        };
        self.carry(&cluster, terms, None, exchange, (parts, incoming))
            .await
    }

    fn edit_request(
        &self,
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
        let downstream = &self.entry.client.downstream;
        let facts = Facts {
            remote: downstream.remote,
            local: downstream.local,
            http2: self.entry.client.is_http2(),
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
        self,
        cluster: &Rc<LocalCluster>,
        terms: Terms<'_>,
        homeward: Option<Homeward<'_>>,
        mut exchange: Exchange,
        (mut parts, incoming): (Parts, Incoming),
    ) -> Response<ResponseBody> {
        let client = &self.entry.client;
        let worker = &client.worker;
        let grpc = exchange.grpc;
        let http2 = speaks_http2(cluster.state().cluster().protocol, client);
        let choice = Choice {
            original_destination: client.original_destination,
            affinity: terms.affinity,
        };
        exchange
            .record
            .set_series(Rc::clone(cluster.unreached(grpc, &worker.telemetry)));
        let asked = self
            .intake
            .scan
            .has_grpc_timeout()
            .then(|| parts.headers.get("grpc-timeout"));
        let limit = deadline::limit(terms.timeout, asked.flatten());
        let has_body = !hyper::body::Body::is_end_stream(&incoming);
        let clock = Clock::new(limit, exchange.record.started(), has_body);
        let mut source = exchange.source(incoming, &clock);
        if let Some((forward, step)) = terms.mirrors
            && !forward.mirrors.is_empty()
        {
            self.mirror((forward, step), &parts, source.as_mut(), choice, grpc);
        }
        let keep = terms.copy.every || (grpc && terms.copy.grpc) || (http2 && terms.copy.http2);
        let body = match source {
            None => RequestBody::Empty,
            Some(source) if keep => RequestBody::Replay(Replay::new(source)),
            Some(source) => RequestBody::Stream(Box::new(source)),
        };
        if let Some(protocol) = self.intake.upgrade.as_ref().filter(|_| !http2) {
            let connection = HeaderValue::from_static("upgrade");
            parts.headers.insert(header::CONNECTION, connection);
            parts.headers.insert(header::UPGRADE, protocol.clone());
        }
        if let Err(fault) = for_wire(&mut parts, http2) {
            return exchange.fail(&fault.into());
        }
        let delivery = Delivery {
            target: Target {
                worker,
                cluster,
                http2,
                resend_safe: false,
            },
            choice,
            policy: terms.retry,
            keep,
            grpc,
            count: true,
        };
        let log = AttemptLog::default();
        let request = Request::from_parts(parts, body);
        let sent_at = Instant::now();
        let delivered = clock.within(deliver(&delivery, request, &log)).await;
        exchange.note(&log);
        if let Some(endpoint) = log.endpoint.borrow().as_deref() {
            let series = self.series(cluster, endpoint, grpc);
            exchange.record.set_series(series);
        }
        match delivered {
            Some(Ok(sent)) => {
                let took = sent_at.elapsed();
                self.come_back(homeward, cluster, exchange, sent, (clock, took))
            }
            Some(Err(error)) => exchange.fail(&error),
            None => {
                let events = &cluster.state().shared().events;
                events
                    .timeouts
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                exchange.fail(&UpstreamFault::Timeout.into())
            }
        }
    }

    fn come_back(
        self,
        homeward: Option<Homeward<'_>>,
        cluster: &LocalCluster,
        exchange: Exchange,
        sent: Sent,
        (clock, took): (Clock, Duration),
    ) -> Response<ResponseBody> {
        let client = &self.entry.client;
        let onward = Onward {
            clock,
            took,
            upgrade: self.upgrade.filter(|_| self.intake.upgrade.is_some()),
        };
        exchange.forward(sent, onward, &client.worker, |headers, remote| {
            if let Some(homeward) = homeward {
                homeward.edit(
                    self.entry,
                    Some(cluster.state().name()),
                    Some(remote),
                    headers,
                );
            }
        })
    }

    /// What the request is counted in, now that its endpoint is known.
    fn series(
        &self,
        cluster: &LocalCluster,
        endpoint: &LocalEndpoint,
        grpc: bool,
    ) -> Rc<RequestSeries> {
        let telemetry = &self.entry.client.worker.telemetry;
        // Where a connection was going anyway may be a workload of the mesh.
        let peer = match (
            cluster.is_original_destination(),
            self.entry.client.original_destination,
        ) {
            (true, Some(address)) => self.config.active.peer(address.ip()),
            (_, _) => None,
        };
        let Some(peer) = peer else {
            return Rc::clone(cluster.series(endpoint, grpc, telemetry));
        };
        let protocol = if grpc { Protocol::Grpc } else { Protocol::Http };
        let mut key = self.config.outbound_key(cluster.service(), protocol);
        key.destination = Arc::clone(peer);
        telemetry.series(&key)
    }

    /// Sends copies of the request to the route's mirrors.
    fn mirror(
        &self,
        (forward, step): (&Forward, &ForwardStep),
        parts: &Parts,
        mut source: Option<&mut Source>,
        choice: Choice,
        grpc: bool,
    ) {
        let client = &self.entry.client;
        for (mirror, cluster) in forward.mirrors.iter().zip(&step.mirrors) {
            let Some(cluster) = cluster.filter(|_| fault::draw(mirror.share)) else {
                continue;
            };
            let Some(cluster) = self.config.cluster(cluster, &client.worker.upstreams) else {
                continue;
            };
            let http2 = speaks_http2(cluster.state().cluster().protocol, client);
            let body = match &mut source {
                None => RequestBody::Empty,
                Some(source) => RequestBody::Tap(source.tap()),
            };
            let mut copy = Request::new(()).into_parts().0;
            copy.method = parts.method.clone();
            copy.uri = parts.uri.clone();
            copy.headers = parts.headers.clone();
            if for_wire(&mut copy, http2).is_ok() {
                let options = mirror::MirrorOptions {
                    http2,
                    grpc,
                    choice,
                };
                let request = Request::from_parts(copy, body);
                mirror::send(&client.worker, self.config, cluster, request, options);
            }
        }
    }
}

/// The terms a request is delivered on.
struct Terms<'a> {
    retry: &'a RetryPolicy,
    copy: CopyFor,
    timeout: Option<Duration>,
    affinity: Option<u64>,
    mirrors: Option<(&'a Forward, &'a ForwardStep)>,
}
