//! The outbound spine: a request from the local application to the mesh, or from outside into a
//! gateway. One function to read, a call per phase.

mod affinity;
mod forward;
mod homeward;
mod mirror;
mod prepare;
mod route;
mod wishes;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use mesh_api::listener::{GatewayProtocol, Listener, ListenerKind, RouteSelection};
use mesh_api::route::{Domain, RouteAction};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::authz::{Permit, Place, admit};
use crate::carry::arrival::Arrival;
use crate::carry::exchange::{Client, record_refused};
use crate::carry::response::ResponseBody;
use crate::carry::server::{self, Stay, Turn};
use crate::config::{ActiveConfig, WorkerConfig};
use crate::error::{PolicyFault, ProxyError, RoutingFault};
use crate::filter::{fault, redirect};
use crate::http::body::ClientBody;
use crate::http::intake::{Intake, Terms};
use crate::http::respond::LocalReply;
use crate::net::Accepted;
use crate::telemetry::ResponseFlag;
use crate::worker::Worker;
use route::Lookup;
use wishes::Wishes;

/// What all requests of one outbound or gateway connection share.
#[derive(Debug)]
struct Entry {
    client: Client,
    selection: RouteSelection,
    listener: Arc<Listener>,
    gateway: bool,
    /// The listener as it was in a version of the configuration, looked up once for each.
    newest: RefCell<(u64, Arc<Listener>)>,
    /// Where the connection came in; `None` if the local application sent it.
    place: Option<Rc<Place>>,
}

impl Entry {
    /// The right to carry a request.
    fn admit(&self, config: &WorkerConfig) -> Result<Permit, PolicyFault> {
        match &self.place {
            Some(place) => admit(&config.active, place),
            None => Ok(Permit::outbound()),
        }
    }

    /// Whether the gateway's port sends a host to https whatever its routes say.
    ///
    /// As the port is set now; as it was set at first once it has left the configuration.
    fn goes_to_https(&self, config: &ActiveConfig, intake: &Intake) -> bool {
        if !self.gateway {
            return false;
        }
        let mut newest = self.newest.borrow_mut();
        if newest.0 != config.sequence() {
            let listener = config.listener(&self.listener.name);
            let listener = listener.unwrap_or(&self.listener);
            *newest = (config.sequence(), Arc::clone(listener));
        }
        let domains = https_redirect(&newest.1);
        if domains.is_empty() {
            return false;
        }
        let (host, _) = intake.host();
        domains.iter().any(|domain| domain.matches(&host))
    }
}

/// The hosts a listener sends to https.
fn https_redirect(listener: &Listener) -> &[Domain] {
    match &listener.kind {
        ListenerKind::Gateway(gateway) => match &gateway.protocol {
            GatewayProtocol::Http { https_redirect, .. } => https_redirect,
            GatewayProtocol::Tcp(_)
            | GatewayProtocol::TlsPassthrough(_)
            | GatewayProtocol::Refuse { .. } => &[],
        },
        ListenerKind::Outbound(_)
        | ListenerKind::OutboundCapture { .. }
        | ListenerKind::Inbound(_)
        | ListenerKind::InboundCapture { .. } => &[],
    }
}

/// Carries the requests of a connection accepted at an outbound or gateway listener.
pub async fn serve<IO>(
    worker: Rc<Worker>,
    connection: Accepted<IO>,
    listener: Arc<Listener>,
    selection: RouteSelection,
    place: Option<Rc<Place>>,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gateway = matches!(listener.kind, ListenerKind::Gateway(_));
    let server = if gateway { "istio-envoy" } else { "envoy" };
    let place_watched = place.as_ref().map(Rc::clone);
    let stay = Stay {
        watch: place_watched.map(|place| worker.sentry.watch(place)),
        refused: false,
    };
    let entry = Rc::new(Entry {
        client: Client::of(&worker, &connection, server),
        selection,
        // No version is number 0 once there is a listener.
        newest: RefCell::new((0, Arc::clone(&listener))),
        listener,
        gateway,
        place,
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
        let series = Rc::clone(worker.config().unrouted(false, &worker.telemetry));
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
    let arrival = Arrival::begin(client, request, turn, |grpc| {
        Rc::clone(config.unrouted(grpc, &client.worker.telemetry))
    });
    handle(entry, config, arrival)
}

/// **The spine.** Every request gets an answer here; the configuration it begins with is the one
/// it ends with.
async fn handle(
    entry: Rc<Entry>,
    config: Rc<WorkerConfig>,
    mut arrival: Box<Arrival>,
) -> Response<ResponseBody> {
    let client = &entry.client;
    // Read before they are taken off with whatever else only proxies may say.
    let own = entry.place.is_none() && arrival.scan.has_internal();
    let wishes = own.then(|| Box::new(Wishes::of(&arrival.parts.headers)));
    let terms = Terms {
        http10: client.worker.settings.http10,
        paths: config.active.paths(),
    };
    let intake = match arrival.admit(terms) {
        Ok(intake) => intake,
        Err(fault) => return arrival.fail(&fault.into()),
    };
    let permit = match entry.admit(&config) {
        Ok(permit) => permit,
        Err(fault) => return arrival.fail(&fault.into()),
    };
    prepare::headers(&entry, &mut arrival);
    if entry.goes_to_https(&config.active, &intake) {
        let elsewhere = redirect::to_https(route::origin(&entry, &intake, &arrival.parts));
        return arrival.answer(elsewhere, |_headers| {});
    }

    let (routes, rule) = match route::find(&entry, &config, &intake, &arrival.parts) {
        Lookup::Rule(routes, rule) => (routes, rule),
        Lookup::Passthrough => {
            let passing = forward::through(&entry, &config, permit, wishes, arrival);
            return Box::pin(passing).await;
        }
        Lookup::Nothing(fault, service) => {
            route::blame(&mut arrival, &entry, &config, service);
            return arrival.fail(&fault.into());
        }
    };
    arrival.exchange.record().set_route(&rule.rule().name);

    if let Err(preflight) = route::cross_origin(rule, &mut arrival) {
        route::blame(&mut arrival, &entry, &config, routes.service());
        return arrival.answer(*preflight, |_headers| {});
    }
    if let Some(fault) = &rule.rule().fault
        && let Some(reply) = Box::pin(inject(fault, &mut arrival)).await
    {
        route::blame(&mut arrival, &entry, &config, routes.service());
        return arrival.answer(reply, |_headers| {});
    }

    let reply = match &rule.rule().action {
        RouteAction::Forward(forward) => {
            let step = (rule, &**forward, wishes);
            return forward::by_rule(&entry, &config, permit, step, arrival).await;
        }
        RouteAction::Redirect(redirect) => {
            let origin = route::origin(&entry, &intake, &arrival.parts);
            match redirect::reply(redirect, origin, terms.paths) {
                Ok(reply) => reply,
                Err(fault) => return arrival.fail(&fault.into()),
            }
        }
        RouteAction::Respond(respond) => LocalReply::new(respond.status, respond.body.clone()),
        RouteAction::Fail(failure) => {
            route::blame(&mut arrival, &entry, &config, routes.service());
            let refused = RoutingFault::Refused(failure.clone());
            return arrival.fail(&ProxyError::Routing(refused));
        }
    };
    arrival.exchange.record().set_details("direct_response");
    route::blame(&mut arrival, &entry, &config, routes.service());
    homeward::answer(arrival, rule, reply, &entry)
}

/// Delays the request, and answers it, if its rule says so.
async fn inject(fault: &mesh_api::route::Fault, arrival: &mut Arrival) -> Option<LocalReply> {
    if let Some(delay) = fault::delay(fault) {
        arrival.exchange.record().flag(ResponseFlag::DelayInjected);
        tokio::time::sleep(delay).await;
    }
    let reply = fault::abort(fault)?;
    let record = arrival.exchange.record();
    record.flag(ResponseFlag::FaultInjected);
    record.set_details("fault_filter_abort");
    Some(reply)
}
