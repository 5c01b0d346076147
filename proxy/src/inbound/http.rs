//! The inbound spine: a request from the mesh to the local application.
//!
//! Nothing reaches the application without a [`Permit`], and a permit is made in one place.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderValue;
use http::{Request, Response};
use hyper::body::Incoming;
use mesh_api::listener::{InboundListener, Listener, ListenerKind};
use mesh_api::route::{RetryCondition, RetryPolicy};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::authz::{Permit, Place, admit};
use crate::carry::arrival::{Arrival, Sends};
use crate::carry::exchange::{Client, record_malformed, speaks_http2};
use crate::carry::response::ResponseBody;
use crate::carry::server::{self, Stay};
use crate::config::WorkerConfig;
use crate::error::{RoutingFault, UpstreamFault};
use crate::http::headers::FORWARDED_PROTO;
use crate::http::idle::InFlight;
use crate::http::intake::Terms;
use crate::net::Accepted;
use crate::telemetry::trace::{self, RequestIds};
use crate::telemetry::{RequestSeries, SeriesPair, Service};
use crate::upstream::LocalCluster;
use crate::upstream::attempt::Target;
use crate::upstream::balancer::Choice;
use crate::upstream::retry::{AttemptLog, Delivery, deliver};
use crate::worker::Worker;

/// What all requests of one inbound connection share.
struct Entry {
    client: Client,
    place: Rc<Place>,
    /// `None` at a port no listener is for, where everything is refused.
    listener: Option<Arc<Listener>>,
    /// Tries of what the application provably did not see.
    retry: RetryPolicy,
    memo: RefCell<Option<(u64, Rc<SeriesPair>)>>,
}

/// Carries the requests of a connection accepted at an inbound listener.
pub async fn serve<IO>(
    worker: Rc<Worker>,
    connection: Accepted<IO>,
    place: Rc<Place>,
    listener: Arc<Listener>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    requests(worker, connection, place, Some(listener)).await;
}

/// Tells a client why it may not come in at a port that no listener is for, and closes.
pub(super) async fn refuse<IO>(worker: Rc<Worker>, connection: Accepted<IO>, place: Rc<Place>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    requests(worker, connection, place, None).await;
}

async fn requests<IO>(
    worker: Rc<Worker>,
    connection: Accepted<IO>,
    place: Rc<Place>,
    listener: Option<Arc<Listener>>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stay = Stay {
        watch: Some(worker.sentry.watch(Rc::clone(&place))),
        refused: listener.is_none(),
    };
    let entry = Rc::new(Entry {
        client: Client::of(&worker, &connection, "istio-envoy"),
        place,
        listener,
        retry: RetryPolicy {
            attempts: 2,
            on: [RetryCondition::ResetBeforeRequest].into_iter().collect(),
            ignore_previous_hosts: false,
            ..RetryPolicy::off()
        },
        memo: RefCell::default(),
    });
    let spoken = (connection.version, connection.way);
    let requests = Rc::clone(&entry);
    let ended = server::serve(
        &worker,
        connection.io,
        spoken,
        stay,
        move |request, scope| {
            // In a box of its own, so that an idle connection does not hold room for it.
            Box::pin(handle(Rc::clone(&requests), request, scope.begin()))
        },
    );
    if let Some(code) = ended.await.refusal() {
        let series = entry.series(&worker.config(), None, false);
        record_malformed(&entry.client, series, code);
    }
}

/// **The spine.** Permit, application, answer.
async fn handle(
    entry: Rc<Entry>,
    request: Request<Incoming>,
    in_flight: InFlight,
) -> Response<ResponseBody> {
    let client = &entry.client;
    let config = client.worker.config();
    // The newest settings of this port; those it was accepted with say nothing about now.
    let listener = entry.listener.as_ref();
    let listener = listener.and_then(|listener| config.active.listener(&listener.name));
    let inbound = listener.and_then(|listener| inbound_of(listener));
    let mut arrival = Arrival::begin(client, request, in_flight, |grpc| {
        entry.series(&config, inbound, grpc)
    });
    let terms = Terms {
        http10: client.worker.settings.http10,
        paths: config.active.paths(),
    };
    if let Err(fault) = arrival.admit(terms) {
        return arrival.fail(&fault.into());
    }
    let permit = match admit(&config.active, &entry.place) {
        Ok(permit) => permit,
        Err(fault) => return arrival.fail(&fault.into()),
    };
    let Some(listener) = listener.filter(|_| inbound.is_some()) else {
        return arrival.fail(&RoutingFault::ListenerGone.into());
    };
    prepare(&mut arrival);
    let cluster = config
        .active
        .inbound_cluster(&listener.name)
        .and_then(|state| config.cluster_of(state, &client.worker.upstreams));
    let Some(cluster) = cluster else {
        return arrival.fail(&UpstreamFault::NoCluster.into());
    };
    forward(permit, &entry, &cluster, arrival).await
}

/// Headers that every request gets.
fn prepare(arrival: &mut Arrival) {
    let headers = &mut arrival.parts.headers;
    trace::ensure_request_id(headers, RequestIds::Keep);
    if !arrival.scan.has_forwarded_proto() {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    arrival.exchange.record().set_forwarded(headers);
}

/// Forwards to the application; nobody without a permit can call this.
async fn forward(
    permit: Permit,
    entry: &Entry,
    cluster: &Rc<LocalCluster>,
    mut arrival: Box<Arrival>,
) -> Response<ResponseBody> {
    let client = &entry.client;
    let settings = cluster.state().cluster();
    arrival.exchange.record().set_cluster(&settings.name);
    let http2 = speaks_http2(settings.protocol, client);
    let clock = arrival.clock(None);
    let mut slot = match arrival.request(http2, Sends::Once) {
        Ok(request) => Some(request),
        Err(fault) => return arrival.fail(&fault.into()),
    };
    let delivery = Delivery {
        target: Target {
            upstreams: &client.worker.upstreams,
            cluster,
            http2,
            resend_safe: true,
        },
        choice: Choice {
            original_destination: client.original_destination,
            affinity: None,
        },
        policy: &entry.retry,
        keep: false,
        grpc: arrival.exchange.grpc,
        count: false,
    };
    let log = AttemptLog::default();
    let sent_at = Instant::now();
    let delivered = deliver(&delivery, &mut slot, &log).await;
    arrival.exchange.note(&log);
    match delivered {
        Ok(sent) => {
            let timing = (&clock, sent_at.elapsed());
            let (limits, by) = (&settings.limits, (&*client.worker, permit));
            arrival.forward(sent, timing, limits, by, |_headers, _remote| {})
        }
        Err(error) => arrival.fail(&error),
    }
}

fn inbound_of(listener: &Listener) -> Option<&InboundListener> {
    match &listener.kind {
        ListenerKind::Inbound(inbound) => Some(inbound),
        ListenerKind::Outbound(_)
        | ListenerKind::OutboundCapture { .. }
        | ListenerKind::InboundCapture { .. }
        | ListenerKind::Gateway(_) => None,
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
            let service = inbound.and_then(|inbound| inbound.service.clone());
            let service = service.map_or(Service::Unknown, |service| {
                Service::Known(Arc::new(service))
            });
            let peer = self.client.downstream.remote.ip();
            config.inbound_key(peer, service, protocol, telemetry)
        }))
    }
}
