//! A request from its arrival until it is handed to the upstream.
//!
//! It is kept in one box that the phases pass on: a request's head is large, and a future that
//! held it at every level of its calls would be many times as large.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Request, Response};
use hyper::upgrade::OnUpgrade;
use mesh_api::cluster::ConnectionLimits;

use super::exchange::deadline::Clock;
use super::exchange::{Client, Exchange, Onward};
use super::response::ResponseBody;
use super::server::Turn;
use crate::authz::Permit;
use crate::error::{ProxyError, RequestFault};
use crate::filter::cors::CorsAnswers;
use crate::http::body::replay::Replay;
use crate::http::body::{ClientBody, RequestBody, Source};
use crate::http::early::Interim;
use crate::http::headers::Scan;
use crate::http::intake::{self, Intake};
use crate::http::outbox::Buffers;
use crate::http::respond::LocalReply;
use crate::http::translate::{self, Content};
use crate::telemetry::RequestSeries;
use crate::upstream::attempt::Sent;
use crate::worker::Worker;

/// A request that has arrived.
#[derive(Debug)]
pub struct Arrival {
    /// What is recorded about it.
    pub exchange: Exchange,
    /// Its head.
    pub parts: Parts,
    /// What its headers say.
    pub scan: Scan,
    body: Option<Source>,
    incoming: Option<ClientBody>,
    interim: Interim,
    /// The client's end of the WebSocket it asks for.
    websocket: Option<OnUpgrade>,
}

/// How often a request may be sent.
#[derive(Clone, Copy, Debug)]
pub enum Sends<'a> {
    /// Once, unless it comes back unsent.
    Once,
    /// Perhaps again: its body is kept, within this budget.
    Again(&'a Rc<Buffers>),
}

impl Arrival {
    /// Takes a request as it arrived; `series` counts it until a better one is known, and is
    /// told whether the request is gRPC.
    pub fn begin(
        client: &Client,
        mut request: Request<ClientBody>,
        turn: Turn,
        series: impl FnOnce(bool) -> Rc<RequestSeries>,
    ) -> Box<Self> {
        let Turn { in_flight, interim } = turn;
        let scan = Scan::of(request.headers());
        let websocket = scan.has_upgrade().then(|| hyper::upgrade::on(&mut request));
        let (parts, incoming) = request.into_parts();
        let grpc = scan.is_grpc();
        Box::new(Self {
            exchange: Exchange::begin(client, series(grpc), &parts, scan, in_flight),
            parts,
            scan,
            body: None,
            incoming: Some(incoming),
            interim,
            websocket,
        })
    }

    /// Checks the request and brings its head into the form that is routed and forwarded.
    pub fn admit(&mut self, terms: intake::Terms) -> Result<Intake, RequestFault> {
        let (intake, websocket) = intake::admit(&mut self.parts, self.scan, terms)?;
        if !websocket {
            self.websocket = None;
        }
        Ok(intake)
    }

    /// Lets a page of `origin` read the answer, whoever gives it.
    pub fn allow_origin(&mut self, origin: HeaderValue, answers: &Arc<CorsAnswers>) {
        self.exchange.allow_origin(origin, answers);
    }

    /// Answers for an error.
    pub fn fail(self: Box<Self>, error: &ProxyError) -> Response<ResponseBody> {
        self.exchange.fail(error)
    }

    /// Answers without the upstream; `edit` has the last word about the headers.
    pub fn answer(
        self: Box<Self>,
        reply: LocalReply,
        edit: impl FnOnce(&mut HeaderMap),
    ) -> Response<ResponseBody> {
        self.exchange.answer_with(reply, edit)
    }

    /// The request's clock; it starts to run when the body, if there is one, was received.
    pub fn clock(&mut self, limit: Option<Duration>) -> Clock {
        let incoming = self.incoming.take();
        let with_body = incoming.filter(|body| !hyper::body::Body::is_end_stream(body));
        let started = self.exchange.record().started();
        let clock = Clock::new(limit, started, with_body.is_some());
        self.body = with_body.map(|incoming| self.exchange.source(incoming, &clock));
        clock
    }

    /// Who passes interim answers of the upstream on. gRPC knows none.
    pub fn interim(&self) -> Option<Interim> {
        (!self.exchange.grpc).then(|| self.interim.clone())
    }

    /// The client's body, if there is one; once the clock was asked for.
    pub fn source(&mut self) -> Option<&mut Source> {
        self.body.as_mut()
    }

    /// The request as the upstream gets it. The head stays behind empty.
    pub fn request(
        &mut self,
        http2: bool,
        sends: Sends<'_>,
    ) -> Result<Request<RequestBody>, RequestFault> {
        if http2 {
            // There is no 101 in HTTP/2 (RFC 9113 section 8.6).
            self.websocket = None;
        }
        let body = match (self.body.take(), sends) {
            (None, _) => RequestBody::Empty,
            (Some(source), Sends::Again(budget)) => {
                RequestBody::Replay(Replay::new(source, budget))
            }
            (Some(source), Sends::Once) => RequestBody::Stream(Box::new(source)),
        };
        let onward = translate::Onward {
            to: translate::version(http2),
            content: Content::of(&body),
            websocket: self.websocket.is_some(),
        };
        translate::request(&mut self.parts, self.scan, onward)?;
        let mut request = Request::new(body);
        *request.method_mut() = std::mem::take(&mut self.parts.method);
        *request.uri_mut() = std::mem::take(&mut self.parts.uri);
        *request.headers_mut() = std::mem::take(&mut self.parts.headers);
        *request.version_mut() = self.parts.version;
        Ok(request)
    }

    /// Passes the upstream's answer on; `edit` has the last word about the headers.
    pub fn forward(
        self: Box<Self>,
        sent: Sent,
        (clock, took): (&Clock, Duration),
        limits: &ConnectionLimits,
        by: (&Worker, Permit),
        edit: impl FnOnce(&mut HeaderMap, std::net::SocketAddr),
    ) -> Response<ResponseBody> {
        let Self {
            exchange,
            websocket,
            ..
        } = *self;
        let onward = Onward {
            clock,
            took,
            websocket,
            limits,
        };
        exchange.forward(sent, onward, by, edit)
    }
}
