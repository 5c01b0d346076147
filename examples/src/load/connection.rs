//! One stream of requests, over a connection of its own (HTTP/1.1) or a shared one (HTTP/2).

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, header, response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::report::Tally;
use super::{Pace, Plan, Protocol, ShareBy};

type Body = Full<Bytes>;

/// The connection that the streams of one HTTP/2 connection share.
#[derive(Clone, Default)]
pub(super) struct SharedHttp2 {
    sender: Arc<Mutex<Option<http2::SendRequest<Body>>>>,
}

/// Runs one HTTP/1.1 connection, opened anew whenever it has ended.
pub(super) async fn http1(plan: Arc<Plan>, pace: Arc<Pace>, tally: Tally) {
    let mut idle = None;
    while let Some((number, clock)) = pace.turn().await {
        let exchange = exchange_http1(&plan, number, &mut idle, &tally);
        let outcome = tokio::time::timeout(plan.timeout, exchange).await;
        if outcome.is_err() {
            // An answer may still be on its way: this connection cannot be used again.
            idle = None;
        }
        count(&plan, clock, outcome, &tally);
    }
}

/// Runs one stream at a time on a shared HTTP/2 connection.
pub(super) async fn http2(plan: Arc<Plan>, pace: Arc<Pace>, tally: Tally, shared: SharedHttp2) {
    while let Some((number, clock)) = pace.turn().await {
        let exchange = exchange_http2(&plan, number, &shared, &tally);
        let outcome = tokio::time::timeout(plan.timeout, exchange).await;
        count(&plan, clock, outcome, &tally);
    }
}

type Outcome = Result<Result<(response::Parts, Bytes), String>, tokio::time::error::Elapsed>;

fn count(plan: &Plan, clock: Instant, outcome: Outcome, tally: &Tally) {
    match outcome {
        Ok(Ok((parts, body))) => {
            let judged = judge(plan, &parts, &body);
            let judged = judged.as_ref().map(String::as_str).map_err(String::as_str);
            tally.answered(parts.status.as_u16(), clock.elapsed(), judged);
        }
        Ok(Err(reason)) => tally.failed(&reason),
        Err(_elapsed) => tally.failed(&format!("no answer in {:?}", plan.timeout)),
    }
}

/// The value to count the share of, or why the answer counts as a failure.
fn judge(plan: &Plan, parts: &response::Parts, body: &Bytes) -> Result<String, String> {
    let status = parts.status.as_u16();
    let expected = plan
        .expect_status
        .map_or(status < 400, |expected| status == expected);
    if !expected {
        let who = parts
            .headers
            .get("x-shop-name")
            .and_then(|name| name.to_str().ok());
        return Err(format!(
            "status {status} from {}: {}",
            who.unwrap_or("the mesh"),
            end_of(body)
        ));
    }
    if let Some(check) = &plan.check {
        check(parts, body)?;
    }
    Ok(match &plan.share_by {
        None => String::new(),
        Some(ShareBy::Header(name)) => match parts.headers.get(name) {
            Some(value) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            None => "-".to_owned(),
        },
        Some(ShareBy::JsonField(pointer)) => {
            let value = serde_json::from_slice::<serde_json::Value>(body).ok();
            match value.as_ref().and_then(|value| value.pointer(pointer)) {
                Some(serde_json::Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => "-".to_owned(),
            }
        }
    })
}

/// The end of a body: what went wrong further down a chain of tiers is told last.
fn end_of(body: &Bytes) -> String {
    const SHOWN: usize = 160;
    let text = String::from_utf8_lossy(body);
    let skipped = text.trim_end().chars().count().saturating_sub(SHOWN);
    let end: String = text.trim_end().chars().skip(skipped).collect();
    if skipped > 0 {
        format!("…{end}")
    } else {
        end
    }
}

async fn exchange_http1(
    plan: &Plan,
    number: u64,
    idle: &mut Option<http1::SendRequest<Body>>,
    tally: &Tally,
) -> Result<(response::Parts, Bytes), String> {
    let mut request = request(plan, number)?;
    loop {
        let (mut sender, reused) = match idle.take() {
            Some(sender) => (sender, true),
            None => (
                connect_http1(plan)
                    .await
                    .map_err(|e| cannot_connect(plan, &e))?,
                false,
            ),
        };
        if sender.ready().await.is_err() && reused {
            tally.reconnected();
            continue;
        }
        match sender.try_send_request(request).await {
            Ok(response) => {
                let answer = read(plan, response).await?;
                *idle = Some(sender);
                return Ok(answer);
            }
            Err(error) => request = unsent(error, reused, tally)?,
        }
    }
}

async fn exchange_http2(
    plan: &Plan,
    number: u64,
    shared: &SharedHttp2,
    tally: &Tally,
) -> Result<(response::Parts, Bytes), String> {
    let mut request = request(plan, number)?;
    loop {
        let (mut sender, reused) = shared.sender(plan).await?;
        if sender.ready().await.is_err() && reused {
            tally.reconnected();
            continue;
        }
        match sender.try_send_request(request).await {
            Ok(response) => return read(plan, response).await,
            Err(error) => request = unsent(error, reused, tally)?,
        }
    }
}

/// The request again if it provably never left on a connection used before.
fn unsent(
    mut error: TrySendError<Request<Body>>,
    reused: bool,
    tally: &Tally,
) -> Result<Request<Body>, String> {
    match error.take_message() {
        Some(request) if reused => {
            tally.reconnected();
            Ok(request)
        }
        _ => Err(format!("no answer: {}", chain(error.error()))),
    }
}

async fn read(
    plan: &Plan,
    response: http::Response<Incoming>,
) -> Result<(response::Parts, Bytes), String> {
    let (parts, mut body) = response.into_parts();
    let keep = plan.needs_body() || parts.status.as_u16() >= 400;
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            format!(
                "status {}, but the body broke off: {}",
                parts.status.as_u16(),
                chain(&error)
            )
        })?;
        if let (true, Some(data)) = (keep, frame.data_ref()) {
            kept.extend_from_slice(data);
        }
    }
    Ok((parts, kept.freeze()))
}

fn request(plan: &Plan, number: u64) -> Result<Request<Body>, String> {
    let mut request = Request::new(Full::new(plan.body.clone()));
    *request.method_mut() = plan.method.clone();
    *request.uri_mut() = plan.uri()?;
    *request.headers_mut() = plan.headers.clone();
    if plan.protocol == Protocol::Http1 {
        let host = HeaderValue::from_str(&plan.authority)
            .map_err(|error| format!("{:?} cannot be a Host header: {error}", plan.authority))?;
        request.headers_mut().insert(header::HOST, host);
    }
    if let Some(name) = &plan.number_header {
        request.headers_mut().insert(name.clone(), number.into());
    }
    Ok(request)
}

async fn connect(plan: &Plan) -> io::Result<TokioIo<TcpStream>> {
    let stream = TcpStream::connect(plan.address).await?;
    stream.set_nodelay(true)?;
    Ok(TokioIo::new(stream))
}

async fn connect_http1(plan: &Plan) -> io::Result<http1::SendRequest<Body>> {
    let (sender, connection) = http1::handshake(connect(plan).await?)
        .await
        .map_err(io::Error::other)?;
    // Its error reaches whoever waits for an answer on it.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

impl SharedHttp2 {
    async fn sender(&self, plan: &Plan) -> Result<(http2::SendRequest<Body>, bool), String> {
        let mut shared = self.sender.lock().await;
        if let Some(sender) = shared.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok((sender.clone(), true));
        }
        let io = connect(plan)
            .await
            .map_err(|error| cannot_connect(plan, &error))?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .handshake(io)
            .await
            .map_err(|error| cannot_connect(plan, &io::Error::other(error)))?;
        tokio::spawn(async move { drop(connection.await) });
        *shared = Some(sender.clone());
        Ok((sender, false))
    }
}

fn cannot_connect(plan: &Plan, error: &io::Error) -> String {
    format!("cannot connect to {}: {error}", plan.address)
}

/// An error with its causes, which is where hyper keeps the reason.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
