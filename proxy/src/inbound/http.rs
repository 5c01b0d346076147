//! The inbound spine: a request from the mesh to the local application.
//!
//! Nothing reaches the application without a [`Permit`], and a permit is made in one place.

mod permit;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderValue;
use http::{HeaderName, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use mesh_api::listener::{InboundListener, Listener, ListenerKind};
use mesh_api::route::{RetryCondition, RetryPolicy};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::config::{LocalCluster, SeriesPair, WorkerConfig};
use crate::error::{RoutingFault, UpstreamFault};
use crate::http::body::{RequestBody, ResponseBody};
use crate::http::exchange::deadline::Clock;
use crate::http::exchange::{Client, Exchange, Onward, for_wire, record_malformed, speaks_http2};
use crate::http::headers::{FORWARDED_PROTO, Scan};
use crate::http::idle::InFlight;
use crate::http::intake::{Intake, admit};
use crate::http::server;
use crate::net::Accepted;
use crate::telemetry::trace::{self, RequestIds};
use crate::telemetry::{
    Downstream, Protocol, Reporter, RequestSeries, Security, SeriesKey, Service,
};
use crate::upstream::attempt::Target;
use crate::upstream::balancer::Choice;
use crate::upstream::retry::{AttemptLog, Delivery, deliver};
use crate::worker::Worker;
use permit::{Permit, authorize};

/// Who a client is, as a certificate-checking proxy told it; nobody checks one yet, so nobody
/// may say.
const CLIENT_CERTIFICATE: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// What all requests of one inbound connection share.
struct Entry {
    client: Client,
    listener: Arc<Listener>,
    /// Tries of what the application provably did not see.
    retry: RetryPolicy,
    memo: RefCell<Option<(u64, Rc<SeriesPair>)>>,
}

/// Carries the requests of a connection accepted at an inbound listener.
pub async fn serve<IO>(worker: Rc<Worker>, connection: Accepted<IO>, listener: Arc<Listener>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let entry = Rc::new(Entry {
        client: Client {
            downstream: Downstream {
                remote: connection.peer,
                local: connection.destination(),
                server_name: None,
            },
            original_destination: connection.original_destination,
            version: connection.version,
            server: HeaderValue::from_static("istio-envoy"),
            worker: Rc::clone(&worker),
        },
        listener,
        retry: RetryPolicy {
            attempts: 2,
            on: [RetryCondition::ResetBeforeRequest].into_iter().collect(),
            ignore_previous_hosts: false,
            ..RetryPolicy::off()
        },
        memo: RefCell::default(),
    });
    let version = connection.version;
    let requests = Rc::clone(&entry);
    let ended = server::serve(&worker, connection.io, version, move |request, scope| {
        // In a box of its own, so that an idle connection does not hold room for it.
        Box::pin(handle(Rc::clone(&requests), request, scope.begin()))
    });
    if let Some(code) = ended.await.refusal() {
        let series = entry.series(&worker.config(), None, false);
        record_malformed(&entry.client, series, code);
    }
}

/// **The spine.** Permit, application, answer.
async fn handle(
    entry: Rc<Entry>,
    mut request: Request<Incoming>,
    in_flight: InFlight,
) -> Response<ResponseBody> {
    let client = &entry.client;
    let config = client.worker.config();
    let scan = Scan::of(request.headers());
    let upgrade = scan.has_upgrade().then(|| hyper::upgrade::on(&mut request));
    let (mut parts, incoming) = request.into_parts();
    // The newest settings of this port; those it was accepted with say nothing about now.
    let listener = config.active.listener(&entry.listener.name);
    let inbound = listener.and_then(|listener| inbound_of(listener));
    let series = entry.series(&config, inbound, scan.is_grpc());
    let mut exchange = Exchange::begin(client, series, &parts, scan.is_grpc(), in_flight);
    let intake = match admit(&mut parts, scan) {
        Ok(intake) => intake,
        Err(fault) => return exchange.fail(&fault.into()),
    };
    let Some(inbound) = inbound else {
        return exchange.fail(&RoutingFault::ListenerGone.into());
    };
    let permit = match authorize(&config.active, inbound.policy.as_ref()) {
        Ok(permit) => permit,
        Err(fault) => return exchange.fail(&fault.into()),
    };
    trace::ensure_request_id(&mut parts.headers, RequestIds::Keep);
    if !scan.has_forwarded_proto() {
        let http = HeaderValue::from_static("http");
        parts.headers.insert(FORWARDED_PROTO, http);
    }
    parts.headers.remove(CLIENT_CERTIFICATE);
    exchange.record.set_forwarded(&parts.headers);
    let cluster = config
        .active
        .inbound_cluster(&entry.listener.name)
        .and_then(|state| config.cluster_of(state, &client.worker.upstreams));
    let Some(cluster) = cluster else {
        return exchange.fail(&UpstreamFault::NoCluster.into());
    };
    exchange.record.set_cluster(&cluster.state().cluster().name);
    let visit = Visit {
        entry: &entry,
        cluster: &cluster,
        intake,
        upgrade,
    };
    visit.forward(permit, exchange, parts, incoming).await
}

fn inbound_of(listener: &Listener) -> Option<&InboundListener> {
    match &listener.kind {
        ListenerKind::Inbound(inbound) => Some(inbound),
        ListenerKind::Outbound(_)
        | ListenerKind::OutboundCapture { .. }
        | ListenerKind::InboundCapture
        | ListenerKind::Gateway(_) => None,
    }
}

/// A request that may go to the application.
struct Visit<'a> {
    entry: &'a Entry,
    cluster: &'a Rc<LocalCluster>,
    intake: Intake,
    upgrade: Option<OnUpgrade>,
}

impl Visit<'_> {
    /// Forwards to the application; nobody without a permit can call this.
    async fn forward(
        self,
        permit: Permit,
        mut exchange: Exchange,
        mut parts: http::request::Parts,
        incoming: Incoming,
    ) -> Response<ResponseBody> {
        permit.spend();
        let client = &self.entry.client;
        let http2 = speaks_http2(self.cluster.state().cluster().protocol, client);
        let clock = Clock::Off;
        let body = match exchange.source(incoming, &clock) {
            None => RequestBody::Empty,
            Some(source) => RequestBody::Stream(Box::new(source)),
        };
        if let Some(protocol) = self.intake.upgrade.as_ref().filter(|_| !http2) {
            let connection = HeaderValue::from_static("upgrade");
            parts.headers.insert(http::header::CONNECTION, connection);
            parts
                .headers
                .insert(http::header::UPGRADE, protocol.clone());
        }
        if let Err(fault) = for_wire(&mut parts, http2) {
            return exchange.fail(&fault.into());
        }
        let delivery = Delivery {
            target: Target {
                worker: &client.worker,
                cluster: self.cluster,
                http2,
                resend_safe: true,
            },
            choice: Choice {
                original_destination: client.original_destination,
                affinity: None,
            },
            policy: &self.entry.retry,
            keep: false,
            grpc: exchange.grpc,
            count: false,
        };
        let log = AttemptLog::default();
        let sent_at = Instant::now();
        let delivered = deliver(&delivery, Request::from_parts(parts, body), &log).await;
        exchange.note(&log);
        match delivered {
            Ok(sent) => {
                let onward = Onward {
                    clock,
                    took: sent_at.elapsed(),
                    upgrade: self.upgrade.filter(|_| self.intake.upgrade.is_some()),
                };
                exchange.forward(sent, onward, &client.worker, |_headers, _remote| {})
            }
            Err(error) => exchange.fail(&error),
        }
    }
}

impl Entry {
    /// The series of this client's requests; looked up once per connection and configuration.
    fn series(
        &self,
        config: &WorkerConfig,
        inbound: Option<&InboundListener>,
        grpc: bool,
    ) -> Rc<RequestSeries> {
        let sequence = config.active.sequence();
        let mut memo = self.memo.borrow_mut();
        let pair = match &*memo {
            Some((known, pair)) if *known == sequence => Rc::clone(pair),
            Some(_) | None => {
                let pair = Rc::<SeriesPair>::default();
                *memo = Some((sequence, Rc::clone(&pair)));
                pair
            }
        };
        let telemetry = &self.client.worker.telemetry;
        Rc::clone(pair.find(grpc, telemetry, |protocol| {
            self.series_key(config, inbound, protocol)
        }))
    }

    fn series_key(
        &self,
        config: &WorkerConfig,
        inbound: Option<&InboundListener>,
        protocol: Protocol,
    ) -> SeriesKey {
        let address = self.client.downstream.remote.ip();
        let known = config.active.peer(address);
        if known.is_none() {
            self.client.worker.telemetry.want_workload(address);
        }
        let service = inbound.and_then(|inbound| inbound.service.clone());
        SeriesKey {
            reporter: Reporter::Destination,
            source: known.map(Arc::clone).unwrap_or_default(),
            destination: Arc::clone(config.active.own()),
            service: service.map_or(Service::Unknown, |service| {
                Service::Known(Arc::new(service))
            }),
            protocol,
            security: Security::Plaintext,
        }
    }
}
