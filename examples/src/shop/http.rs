//! The HTTP side of a tier: which path answers what, and what goes wrong on request.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::{HeaderMap, Method, Request, Response, StatusCode, Version, header, request::Parts};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tonic::codegen::Service as _;

use super::control::{self, Fault, Outcome};
use super::grpc::GrpcShop;
use super::next_tier::NextAnswer;
use super::proto::shop_server::ShopServer;
use super::reply::{self, Description, ReplyBody, TIER_PREFIX};
use super::{App, Tier};

/// The most bytes `/bytes/N` and `/cut/N` send.
const LARGEST_BODY: usize = 64 * 1024 * 1024;

/// Bytes and pauses of `/stream/N`.
const CHUNK: &[u8] = b"a line of the stream\n";
const CHUNK_PAUSE: Duration = Duration::from_millis(10);

/// How long a stalled request is held: longer than anybody waits.
const STALL: Duration = Duration::from_hours(1);

/// Answers one request. An error ends the connection (HTTP/1.1) or the stream (HTTP/2)
/// without an answer; on HTTP/1.1 `reset` says that it should end with a reset.
pub(crate) async fn respond(
    app: &Arc<App>,
    request: Request<Incoming>,
    reset: &AtomicBool,
) -> Result<Response<ReplyBody>, io::Error> {
    let (parts, body) = request.into_parts();
    if parts.uri.path().starts_with("/control") {
        return Ok(control_page(app, &parts, body).await);
    }
    let fault = match decide(app, &parts) {
        Ok(fault) => fault,
        Err(reason) => return Ok(reply::text(app, StatusCode::BAD_REQUEST, reason)),
    };
    if !fault.delay.is_zero() {
        tokio::time::sleep(fault.delay).await;
    }
    match fault.outcome {
        None => {}
        Some(Outcome::Status(status)) => return Ok(failure(app, &parts, status)),
        Some(Outcome::Stall) => tokio::time::sleep(STALL).await,
        Some(Outcome::Reset) => {
            reset.store(parts.version != Version::HTTP_2, Ordering::Relaxed);
            return Err(io::Error::other("reset as asked"));
        }
    }
    if is_grpc(&parts.headers) {
        let mut service = ShopServer::new(GrpcShop {
            app: Arc::clone(app),
        });
        let answer = service.call(Request::from_parts(parts, body)).await;
        let Ok(response) = answer;
        return Ok(response.map(|body| body.map_err(io::Error::other).boxed_unsync()));
    }
    let path = parts.uri.path().trim_start_matches('/');
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    match first {
        // With status and delay the work is done: the fault was read from the path.
        "echo" | "status" | "delay" => Ok(described(app, &parts)),
        "bytes" => Ok(bytes(app, rest)),
        "stream" => Ok(chunks(app, rest)),
        "cut" => Ok(cut(app, rest)),
        "hash" => Ok(hash(app, body).await),
        _ => Ok(chain(app, &parts).await),
    }
}

/// Counts the request and gathers what should go wrong with it: by standing orders, by its
/// own headers, by its path.
fn decide(app: &App, parts: &Parts) -> Result<Fault, String> {
    let path = parts.uri.path();
    let id = parts
        .headers
        .get(control::ID_HEADER)
        .and_then(|id| id.to_str().ok());
    let standing = app.control.admit(path, id, rand::random::<f64>() * 100.0);
    let own = control::requested_fault(&parts.headers, app.tier.as_str(), &app.name)?;
    let by_path = if let Some(status) = path.strip_prefix("/status/") {
        Fault {
            outcome: Some(Outcome::Status(control::parse_status(status)?)),
            ..Fault::default()
        }
    } else if let Some(delay) = path.strip_prefix("/delay/") {
        Fault {
            delay: control::parse_delay(delay)?,
            outcome: None,
        }
    } else {
        let outcome = match path {
            "/reset" => Some(Outcome::Reset),
            "/stall" => Some(Outcome::Stall),
            _ => None,
        };
        Fault {
            outcome,
            ..Fault::default()
        }
    };
    Ok(Fault {
        delay: standing.delay + own.delay + by_path.delay,
        outcome: standing.outcome.or(own.outcome).or(by_path.outcome),
    })
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

fn failure(app: &App, parts: &Parts, status: StatusCode) -> Response<ReplyBody> {
    if is_grpc(&parts.headers) {
        let refused = tonic::Status::unavailable(format!("{status} as asked"));
        return refused
            .into_http::<tonic::body::Body>()
            .map(|body| body.map_err(io::Error::other).boxed_unsync());
    }
    reply::describe(app, status, &Description::new(app, parts))
}

fn described(app: &App, parts: &Parts) -> Response<ReplyBody> {
    reply::describe(app, StatusCode::OK, &Description::new(app, parts))
}

/// Calls the next tier with the same method and path and answers with what it said.
async fn chain(app: &App, parts: &Parts) -> Response<ReplyBody> {
    let mut description = Description::new(app, parts);
    let Some(next) = &app.next else {
        return reply::describe(app, StatusCode::OK, &description);
    };
    match next.call(parts).await {
        Ok(answer) => {
            // What the next tier could not do, this one cannot do either.
            let status = if answer.status.is_success() {
                StatusCode::OK
            } else {
                answer.status
            };
            description.next = Some(embedded(&answer));
            let mut response = reply::describe(app, status, &description);
            pass_on(&answer.headers, response.headers_mut());
            response
        }
        Err(error) => {
            let said = serde_json::json!({ "error": error });
            description.next = serde_json::value::to_raw_value(&said).ok();
            reply::describe(app, StatusCode::BAD_GATEWAY, &description)
        }
    }
}

/// The next tier's JSON as it came, or its status and text if it is none.
fn embedded(answer: &NextAnswer) -> Box<RawValue> {
    if let Ok(raw) = serde_json::from_slice::<Box<RawValue>>(&answer.body) {
        return raw;
    }
    let text = String::from_utf8_lossy(&answer.body);
    let said = serde_json::json!({ "status": answer.status.as_u16(), "text": text });
    serde_json::value::to_raw_value(&said).unwrap_or_else(|_error| RawValue::NULL.to_owned())
}

/// Whoever asks the first tier also wants to know which versions answered further down, and
/// what the routes between added.
fn pass_on(from: &HeaderMap, to: &mut HeaderMap) {
    for (name, value) in from {
        let name_text = name.as_str();
        let own = matches!(name_text, "x-shop-name" | "x-shop-version");
        if name_text.starts_with("x-shop-") && !own && !to.contains_key(name) {
            to.append(name.clone(), value.clone());
        }
    }
    debug_assert!(to.keys().any(|name| name.as_str().starts_with(TIER_PREFIX)));
}

fn size(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(size) if size <= LARGEST_BODY => Ok(size),
        _ => Err(format!(
            "{text:?} is not a number of bytes up to {LARGEST_BODY}"
        )),
    }
}

fn bytes(app: &App, wanted: &str) -> Response<ReplyBody> {
    match size(wanted) {
        Ok(size) => reply::answer(app, StatusCode::OK, reply::full(vec![b'x'; size])),
        Err(reason) => reply::text(app, StatusCode::BAD_REQUEST, reason),
    }
}

/// A body without a length, sent line by line: ten lines, or as many as the path says.
fn chunks(app: &App, wanted: &str) -> Response<ReplyBody> {
    let count = match wanted {
        "" => 10,
        text => {
            let Ok(count @ 0..=10_000) = text.parse::<u32>() else {
                let reason = format!("{text:?} is not a number of lines up to 10000");
                return reply::text(app, StatusCode::BAD_REQUEST, reason);
            };
            count
        }
    };
    let lines = stream::unfold(0, move |sent| async move {
        if sent == count {
            return None;
        }
        if sent > 0 {
            tokio::time::sleep(CHUNK_PAUSE).await;
        }
        Some((Ok(Frame::data(Bytes::from_static(CHUNK))), sent + 1))
    });
    reply::answer(app, StatusCode::OK, StreamBody::new(lines).boxed_unsync())
}

/// Promises twice as many bytes as it sends, then breaks off.
fn cut(app: &App, wanted: &str) -> Response<ReplyBody> {
    let size = match size(wanted) {
        Ok(size) => size,
        Err(reason) => return reply::text(app, StatusCode::BAD_REQUEST, reason),
    };
    let parts = [
        Ok(Frame::data(Bytes::from(vec![b'x'; size]))),
        Err(io::Error::other("cut off as asked")),
    ];
    let body = StreamBody::new(stream::iter(parts)).boxed_unsync();
    let mut response = reply::answer(app, StatusCode::OK, body);
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, (size * 2 + 1).into());
    response
}

/// The length and SHA-256 of an upload, read as it comes.
async fn hash(app: &App, mut body: Incoming) -> Response<ReplyBody> {
    let mut hasher = Sha256::new();
    let mut length = 0_u64;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Some(data) = frame.data_ref() {
                    hasher.update(data);
                    length += data.len() as u64;
                }
            }
            Err(error) => return reply::text(app, StatusCode::BAD_REQUEST, error.to_string()),
        }
    }
    let mut hex = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a String cannot fail.
        let _written = write!(hex, "{byte:02x}");
    }
    reply::json(
        app,
        StatusCode::OK,
        &serde_json::json!({ "bytes": length, "sha256": hex }),
    )
}

async fn control_page(app: &App, parts: &Parts, body: Incoming) -> Response<ReplyBody> {
    match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/control") => reply::json(app, StatusCode::OK, &app.control.orders()),
        (&Method::GET, "/control/counters") => {
            reply::json(app, StatusCode::OK, &app.control.counters())
        }
        (&Method::POST, "/control/counters/reset") => {
            app.control.reset_counters();
            reply::json(app, StatusCode::OK, &app.control.counters())
        }
        (&Method::POST, "/control") => {
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => return reply::text(app, StatusCode::BAD_REQUEST, error.to_string()),
            };
            match app.control.order(&body) {
                Ok(orders) => reply::json(app, StatusCode::OK, &orders),
                Err(reason) => reply::text(app, StatusCode::BAD_REQUEST, reason),
            }
        }
        _ => reply::text(
            app,
            StatusCode::NOT_FOUND,
            "there are GET and POST /control, GET /control/counters and \
             POST /control/counters/reset"
                .to_owned(),
        ),
    }
}

impl Tier {
    /// Every tier, front to back.
    pub const ALL: [Self; 3] = [Self::Frontend, Self::Backend, Self::Store];
}
