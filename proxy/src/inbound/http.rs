//! The inbound spine: a request from the mesh to the local application.
//!
//! Nothing reaches the application without a [`Permit`], and a permit is made in one place.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderValue;
use http::{Request, Response};
use mesh_api::listener::{Listener, ListenerKind};
use mesh_api::name::ListenerName;
use mesh_api::route::{RetryCondition, RetryPolicy};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::authz::{Permit, Place, admit};
use crate::carry::arrival::{Arrival, Sends};
use crate::carry::exchange::{Client, record_refused, speaks_http2};
use crate::carry::response::ResponseBody;
use crate::carry::server::{self, Stay, Turn};
use crate::config::{ActiveConfig, WorkerConfig};
use crate::error::{RoutingFault, UpstreamFault};
use crate::http::body::ClientBody;
use crate::http::headers::{FORWARDED_PROTO, remove_peer_metadata};
use crate::http::intake::Terms;
use crate::net::Accepted;
use crate::telemetry::trace::{self, RequestIds};
use crate::telemetry::{RequestSeries, SeriesPair, Service};
use crate::upstream::attempt::Target;
use crate::upstream::balancer::Choice;
use crate::upstream::retry::{AttemptLog, Delivery, deliver};
use crate::upstream::{ClusterId, LocalCluster};
use crate::worker::Worker;

/// What all requests of one inbound connection share.
struct Entry {
    client: Client,
    place: Rc<Place>,
    /// There is one way in, which has the name Envoy's has.
    route: Arc<str>,
    /// `None` at a port no listener is for, where everything is refused.
    listener: Option<Arc<Listener>>,
    /// Tries of what the application provably did not see.
    retry: RetryPolicy,
    memo: RefCell<Option<Rc<Known>>>,
}

/// What one version of the configuration says about the port of a connection: its newest
/// settings, since those it was accepted with say nothing about now.
#[derive(Debug)]
struct Known {
    sequence: u64,
    /// `None` if the port is no longer the application's.
    listener: Option<Arc<Listener>>,
    /// The application.
    cluster: Option<ClusterId>,
    series: SeriesPair,
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
        route: Arc::from("default"),
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
        (connection.io, connection.seat),
        spoken,
        stay,
        move |request, turn| {
            // In a box of its own, so that an idle connection does not hold room for it.
            Box::pin(begin(Rc::clone(&requests), request, turn))
        },
    );
    if let Some(refusal) = ended.await.refusal() {
        let config = worker.config();
        let series = entry.series(&config, &entry.known(&config), false);
        record_refused(&entry.client, series, refusal);
    }
}

/// Takes a request apart before anything waits, so that what waits needs no room for it.
fn begin(
    entry: Rc<Entry>,
    request: Request<ClientBody>,
    turn: Turn,
) -> impl Future<Output = Response<ResponseBody>> {
    let client = &entry.client;
    let config = client.worker.config();
    let known = entry.known(&config);
    let arrival = Arrival::begin(client, request, turn, |grpc| {
        entry.series(&config, &known, grpc)
    });
    handle(entry, config, known, arrival)
}

/// **The spine.** Permit, application, answer.
async fn handle(
    entry: Rc<Entry>,
    config: Rc<WorkerConfig>,
    known: Rc<Known>,
    mut arrival: Box<Arrival>,
) -> Response<ResponseBody> {
    let client = &entry.client;
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
    if known.listener.is_none() {
        return arrival.fail(&RoutingFault::ListenerGone.into());
    }
    prepare(&mut arrival);
    let cluster = known.cluster;
    let cluster = cluster.and_then(|number| config.cluster(number, &client.worker.upstreams));
    let Some(cluster) = cluster else {
        return arrival.fail(&UpstreamFault::NoCluster.into());
    };
    forward(permit, &entry, &cluster, arrival).await
}

/// Headers that every request gets.
fn prepare(arrival: &mut Arrival) {
    let headers = &mut arrival.parts.headers;
    if arrival.scan.has_internal() {
        remove_peer_metadata(headers);
    }
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
    arrival.exchange.record().set_route(&entry.route);
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
            under_way: arrival.exchange.under_way(),
            http2,
            resend_safe: true,
            interim: arrival.interim(),
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
    let delivered = {
        let _noting = arrival.exchange.noting(&log, |_exchange, _log| {});
        deliver(&delivery, &mut slot, &log).await
    };
    match delivered {
        Ok(sent) => {
            let timing = (&clock, sent_at.elapsed());
            let (limits, by) = (&settings.limits, (&*client.worker, permit));
            arrival.forward(sent, timing, limits, by, |_headers, _remote| {})
        }
        Err(error) => arrival.fail(&error),
    }
}

impl Entry {
    /// What the newest configuration says about this port; looked up once per connection and
    /// configuration.
    fn known(&self, config: &WorkerConfig) -> Rc<Known> {
        let sequence = config.active.sequence();
        let mut memo = self.memo.borrow_mut();
        match &*memo {
            Some(known) if known.sequence == sequence => Rc::clone(known),
            Some(_) | None => {
                let found = self.listener.as_ref().map(|listener| &listener.name);
                let known = Rc::new(Known::of(&config.active, found));
                *memo = Some(Rc::clone(&known));
                known
            }
        }
    }

    /// The series of this client's requests.
    fn series(&self, config: &WorkerConfig, known: &Known, grpc: bool) -> Rc<RequestSeries> {
        let telemetry = &self.client.worker.telemetry;
        Rc::clone(known.series.find(grpc, telemetry, |protocol| {
            let peer = self.client.downstream.remote.ip();
            config.inbound_key(peer, known.service(), protocol, telemetry)
        }))
    }
}

impl Known {
    fn of(active: &ActiveConfig, listener: Option<&ListenerName>) -> Self {
        let listener = listener.and_then(|name| active.listener(name));
        let is_inbound =
            |listener: &&Arc<Listener>| matches!(listener.kind, ListenerKind::Inbound(_));
        let listener = listener.filter(is_inbound).map(Arc::clone);
        let cluster = listener
            .as_ref()
            .and_then(|listener| active.inbound_cluster(&listener.name));
        Self {
            sequence: active.sequence(),
            cluster: cluster.map(|state| state.id()),
            listener,
            series: SeriesPair::default(),
        }
    }

    /// The service the port belongs to.
    fn service(&self) -> Service {
        let kind = self.listener.as_ref().map(|listener| &listener.kind);
        match kind {
            Some(ListenerKind::Inbound(inbound)) => {
                let service = inbound.service.clone();
                service.map_or(Service::Unknown, |service| {
                    Service::Known(Arc::new(service))
                })
            }
            Some(_) | None => Service::Unknown,
        }
    }
}
