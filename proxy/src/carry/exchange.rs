//! One request and its answer, as both spines see it: what is recorded, what is answered when
//! something fails, and how an upstream's answer is passed on.

pub mod deadline;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use mesh_api::cluster::{ConnectionLimits, UpstreamProtocol};

use super::response::{ResponseBody, Tail};
use super::upgrade::Tunnel;
use crate::authz::Permit;
use crate::error::{ConnectFault, ProxyError, RequestFault, UpstreamFault};
use crate::filter::cors::CorsAnswers;
use crate::http::body::{ClientBody, Source};
use crate::http::framing::{self, Reuse};
use crate::http::headers::{SERVICE_TIME, Scan};
use crate::http::respond::{Asked, LocalReply, reply};
use crate::http::server_io::refusal::Refusal;
use crate::http::translate::{self, Asker};
use crate::net::connections::InFlight;
use crate::net::{Accepted, HttpVersion, Way};
use crate::telemetry::{Downstream, RequestRecord, RequestSeries, ResponseFlag};
use crate::upstream::attempt::Sent;
use crate::upstream::retry::AttemptLog;
use crate::worker::Worker;
use deadline::Clock;

/// A client's connection.
#[derive(Debug)]
pub struct Client {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// Its addresses.
    pub downstream: Downstream,
    /// Where it was going before it was redirected.
    pub original_destination: Option<SocketAddr>,
    /// What it speaks.
    pub version: HttpVersion,
    /// Which way it goes.
    pub way: Way,
    /// What its responses name as server.
    pub server: HeaderValue,
    /// How long it may send nothing of a body it announced.
    stream_idle: Duration,
    /// How long a stream of messages may have none.
    idle: Duration,
}

impl Client {
    /// The client at the other end of a connection, whose responses name `server`.
    pub fn of<IO>(worker: &Rc<Worker>, connection: &Accepted<IO>, server: &'static str) -> Self {
        Self {
            downstream: Downstream {
                remote: connection.peer,
                local: connection.destination(),
                server_name: None,
            },
            original_destination: connection.original_destination,
            version: connection.version,
            way: connection.way,
            server: HeaderValue::from_static(server),
            stream_idle: worker.stream_idle_timeout(),
            idle: worker.idle_timeout(),
            worker: Rc::clone(worker),
        }
    }

    /// Whether the client speaks HTTP/2.
    pub fn is_http2(&self) -> bool {
        self.version == HttpVersion::Http2
    }
}

/// One request under way.
#[derive(Debug)]
pub struct Exchange {
    /// Whether it is gRPC.
    pub grpc: bool,
    /// Who is to be answered, and how.
    asker: Asker,
    /// What every answer, whoever gives it, tells the browser about the page that asked.
    cross_origin: Option<Box<CrossOrigin>>,
    server: HeaderValue,
    way: Way,
    /// How long the client may send nothing of the request's body.
    patience: Duration,
    /// What goes on into the answer's body.
    tail: Tail,
}

/// A page of another origin that may read the answer.
#[derive(Debug)]
struct CrossOrigin {
    origin: HeaderValue,
    answers: Arc<CorsAnswers>,
}

/// How an answer of the upstream goes on to the client.
#[derive(Debug)]
pub struct Onward<'a> {
    /// When everything must be over.
    pub clock: &'a Clock,
    /// How long the upstream took for the head of its answer.
    pub took: Duration,
    /// The client's end of the WebSocket it asked for.
    pub websocket: Option<OnUpgrade>,
    /// The limits of the connection to the upstream.
    pub limits: &'a ConnectionLimits,
}

impl Exchange {
    /// Begins with a request as it arrived.
    pub fn begin(
        client: &Client,
        series: Rc<RequestSeries>,
        parts: &http::request::Parts,
        scan: Scan,
        in_flight: InFlight,
    ) -> Self {
        let grpc = scan.is_grpc();
        let telemetry = &client.worker.telemetry;
        let record = RequestRecord::start(telemetry, series, &client.downstream, parts);
        let mut tail = Tail::new(record, in_flight);
        tail.grpc_status = grpc && client.is_http2();
        Self {
            grpc,
            asker: Asker {
                version: client.version,
                head: parts.method == Method::HEAD,
                trailers: scan.takes_trailers(),
            },
            cross_origin: None,
            server: client.server.clone(),
            way: client.way,
            // Both ends of a stream of messages may have nothing to say for long.
            patience: if grpc {
                client.idle
            } else {
                client.stream_idle
            },
            tail,
        }
    }

    /// The facts of the request.
    pub fn record(&mut self) -> &mut RequestRecord {
        &mut self.tail.record
    }

    /// Requests under way on the client's connection, this one included.
    pub fn under_way(&self) -> u32 {
        self.tail.connection.as_ref().map_or(1, InFlight::siblings)
    }

    /// Tells the browser in the answer, also in one of the proxy's own, that a page of `origin` may
    /// read it: a page that cannot read an error cannot say what is wrong.
    pub fn allow_origin(&mut self, origin: HeaderValue, answers: &Arc<CorsAnswers>) {
        self.cross_origin = Some(Box::new(CrossOrigin {
            origin,
            answers: Arc::clone(answers),
        }));
    }

    /// Answers for an error.
    pub fn fail(mut self, error: &ProxyError) -> Response<ResponseBody> {
        if let Some(flag) = error.flag() {
            self.record().flag(flag);
        }
        self.record().set_details(error.details());
        self.record().set_reason(error.reason());
        if let ProxyError::Upstream(UpstreamFault::Connect(fault)) = error {
            let fault: ConnectFault = *fault;
            self.record()
                .set_transport_failure(|| fault.to_string().into());
        }
        let http1 = self.asker.version == HttpVersion::Http1;
        let mut response = self.answer(reply(error));
        if matches!(
            error,
            ProxyError::Request(
                RequestFault::FramingAmbiguous | RequestFault::BodyBroken | RequestFault::BodySlow
            )
        ) && http1
        {
            // What follows on this connection cannot be told apart from what was refused; in HTTP/2 it
            // can.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }

    /// Answers without the upstream.
    pub fn answer(self, reply: LocalReply) -> Response<ResponseBody> {
        self.answer_with(reply, |_headers| {})
    }

    /// Answers without the upstream; `edit` has the last word about the headers.
    pub fn answer_with(
        self,
        reply: LocalReply,
        edit: impl FnOnce(&mut HeaderMap),
    ) -> Response<ResponseBody> {
        let Self {
            grpc,
            asker,
            cross_origin,
            server,
            way: _,
            patience: _,
            tail,
        } = self;
        let head = asker.head;
        let response = reply.into_response(Asked { grpc, head });
        let response = response.map(|content| ResponseBody::full(content, tail));
        let (mut parts, mut body) = response.into_parts();
        parts.headers.insert(header::SERVER, server);
        edit(&mut parts.headers);
        CrossOrigin::tell(cross_origin, &mut parts.headers);
        body.begin(&parts);
        Response::from_parts(parts, body)
    }

    /// Passes the upstream's answer on; `edit` has the last word about the headers. The permit of
    /// the connection covers the answer; what outlives that as a tunnel takes its own along.
    pub fn forward(
        mut self,
        sent: Sent,
        onward: Onward<'_>,
        (worker, permit): (&Worker, Permit),
        edit: impl FnOnce(&mut HeaderMap, SocketAddr),
    ) -> Response<ResponseBody> {
        let Sent {
            mut response,
            mut lease,
            remote,
            local,
        } = sent;
        self.record().set_service_time(onward.took);
        self.record().set_upstream(remote, local);
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let upstream = switching.then(|| hyper::upgrade::on(&mut response));
        let (mut parts, incoming) = response.into_parts();
        let scan = Scan::of(&parts.headers);
        let settled = match translate::response(&mut parts, scan, self.asker) {
            Ok(settled) => settled,
            Err(fault) => return self.fail(&fault.into()),
        };
        if settled.reuse == Reuse::No {
            lease.retire();
        }
        let asked = onward.websocket.filter(|_| settled.websocket);
        if switching && asked.is_none() {
            // Nobody asked for it, or for something else: what follows is not for this client.
            return self.fail(&UpstreamFault::Protocol.into());
        }
        self.record().set_details("via_upstream");
        let millis = u64::try_from(onward.took.as_millis()).unwrap_or(u64::MAX);
        parts
            .headers
            .insert(SERVICE_TIME, HeaderValue::from(millis));
        parts.headers.insert(header::SERVER, self.server.clone());
        edit(&mut parts.headers, remote);

        let Self {
            asker,
            cross_origin,
            way,
            mut tail,
            ..
        } = self;
        CrossOrigin::tell(cross_origin, &mut parts.headers);
        if let (Some(upstream), Some(client)) = (upstream, asked) {
            tail.upstream = Some(lease);
            let connection = HeaderValue::from_static("upgrade");
            parts.headers.insert(header::CONNECTION, connection);
            let protocol = HeaderValue::from_static("websocket");
            parts.headers.insert(header::UPGRADE, protocol);
            tail.record.response_head(&parts);
            let tunnel = Tunnel {
                client,
                upstream,
                tail,
                limits: super::bytes::limits(onward.limits),
                permit,
            };
            tunnel.carry(worker.drains.of(way).clone(), worker.sentry.clone());
            return Response::from_parts(parts, ResponseBody::none());
        }
        tail.deadline = onward.clock.sleep();
        if let (Some(left), Some(connection)) = (onward.clock.left(), &tail.connection) {
            connection.answer_within(left);
        }
        tail.record.response_head(&parts);
        let bodyless = framing::is_bodyless(asker.head, parts.status);
        let body = if bodyless && !hyper::body::Body::is_end_stream(&incoming) {
            // Content that must not be there: it is not passed on, and what it came over goes.
            ResponseBody::full(Bytes::new(), tail)
        } else {
            tail.upstream = Some(lease);
            ResponseBody::upstream(incoming, tail)
        };
        Response::from_parts(parts, body)
    }

    /// Notes where the tries of a request went when it is dropped: after they ended, or with the
    /// client that left meanwhile. `and` may say more about the last one.
    pub fn noting<'a, F>(&'a mut self, log: &'a AttemptLog, and: F) -> Noting<'a, F>
    where
        F: FnMut(&mut Self, &AttemptLog),
    {
        Noting {
            exchange: self,
            log,
            and,
        }
    }

    fn note(&mut self, log: &AttemptLog) {
        if let Some(flag) = log.flag.get() {
            self.record().flag(flag);
        }
        if let Some((remote, local)) = log.over.get() {
            self.record().set_upstream(remote, local);
        }
    }

    /// The client's body, counted; the clock is told of its end.
    pub fn source(&mut self, incoming: ClientBody, clock: &Clock) -> Source {
        let (meter, patience) = (self.record().request_meter(), self.patience);
        Source::new(incoming, meter, clock.progress(), patience)
    }
}

/// Notes where tries went.
#[derive(Debug)]
pub struct Noting<'a, F: FnMut(&mut Exchange, &AttemptLog)> {
    exchange: &'a mut Exchange,
    log: &'a AttemptLog,
    and: F,
}

impl<F: FnMut(&mut Exchange, &AttemptLog)> Drop for Noting<'_, F> {
    fn drop(&mut self) {
        self.exchange.note(self.log);
        (self.and)(self.exchange, self.log);
    }
}

impl CrossOrigin {
    fn tell(allowed: Option<Box<Self>>, headers: &mut HeaderMap) {
        if let Some(allowed) = allowed {
            let Self { origin, answers } = *allowed;
            answers.allow(headers, origin);
        }
    }
}

/// Records a connection that sent something which did not become a request.
pub fn record_refused(client: &Client, series: Rc<RequestSeries>, refusal: Refusal) {
    let telemetry = &client.worker.telemetry;
    let mut record = RequestRecord::unparsed(telemetry, series, &client.downstream);
    record.flag(ResponseFlag::DownstreamProtocolError);
    record.set_details(refusal.details());
    let mut response = Response::new(());
    *response.status_mut() = refusal.status();
    record.response_head(&response.into_parts().0);
    record.finish();
}

/// Whether HTTP/2 is spoken to a cluster.
pub fn speaks_http2(protocol: UpstreamProtocol, client: &Client) -> bool {
    match protocol {
        UpstreamProtocol::Http1 => false,
        UpstreamProtocol::Http2 => true,
        UpstreamProtocol::MatchDownstream | UpstreamProtocol::Tcp => client.is_http2(),
    }
}
