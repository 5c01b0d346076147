//! May we try again? The policy of the route, the budget of the cluster, and whether the request
//! can be sent a second time at all.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use mesh_api::route::{RetryCondition, RetryPolicy};
use smallvec::SmallVec;

use super::attempt::{Failed, Sent, Target, attempt, copy_head};
use super::balancer::{self, Choice};
use super::{Grant, LocalEndpoint};
use crate::error::{ProxyError, RetryClass, UpstreamFault};
use crate::http::body::RequestBody;
use crate::http::body::replay::ReplayKeeper;
use crate::telemetry::ResponseFlag;

const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");

/// How a request is to be delivered.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// Where to.
    pub target: Target<'a>,
    /// What may decide on the endpoint.
    pub choice: Choice,
    /// When to try again.
    pub policy: &'a RetryPolicy,
    /// Whether a copy of the request is kept for that.
    pub keep: bool,
    /// Whether the request is gRPC.
    pub grpc: bool,
    /// Whether the upstream is told which attempt it sees.
    pub count: bool,
}

/// What the tries of a request left behind; readable even if they were cut short.
#[derive(Debug, Default)]
pub struct AttemptLog {
    /// The endpoint tried last.
    pub endpoint: RefCell<Option<Rc<LocalEndpoint>>>,
    /// The connection used last.
    pub over: Cell<Option<(SocketAddr, Option<SocketAddr>)>>,
    /// A flag that only retries give.
    pub flag: Cell<Option<ResponseFlag>>,
}

/// A copy of a request for another try.
struct Kept {
    head: Request<RequestBody>,
    body: Option<ReplayKeeper>,
}

impl Kept {
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        let body = match request.body() {
            RequestBody::Empty => None,
            RequestBody::Replay(replay) => Some(replay.keeper()),
            RequestBody::Stream(_) | RequestBody::Tap(_) => return None,
        };
        Some(Self {
            head: copy_head(request, RequestBody::Empty),
            body,
        })
    }

    fn again(&self) -> Option<Request<RequestBody>> {
        let body = match &self.body {
            None => RequestBody::Empty,
            Some(keeper) => RequestBody::Replay(keeper.again()?),
        };
        Some(copy_head(&self.head, body))
    }
}

/// Delivers the request in `slot`: one try, and more if the policy says so.
pub async fn deliver(
    delivery: &Delivery<'_>,
    slot: &mut Option<Request<RequestBody>>,
    log: &AttemptLog,
) -> Result<Sent, ProxyError> {
    let policy = delivery.policy;
    let kept = slot
        .as_ref()
        .filter(|_| delivery.keep)
        .and_then(Kept::of)
        .map(Box::new);
    let mut tried: SmallVec<[Rc<LocalEndpoint>; 2]> = SmallVec::new();
    let mut grant: Option<Grant> = None;
    for retry in 0_u32.. {
        let avoid = if policy.ignore_previous_hosts {
            tried.as_slice()
        } else {
            &[]
        };
        let endpoint = balancer::pick(delivery.target.cluster, delivery.choice, avoid)?;
        // Before anything is tried: it may be cut short, or get no connection.
        log.over
            .set(endpoint.state().socket().map(|host| (host, None)));
        *log.endpoint.borrow_mut() = Some(Rc::clone(&endpoint));
        if let Some(request) = slot.as_mut().filter(|_| delivery.count) {
            let number = attempt_number(retry + 1);
            request.headers_mut().insert(ATTEMPT_COUNT, number);
        }
        let result = one_try(delivery, &endpoint, slot).await;
        let over = match &result {
            Ok(sent) => Some((sent.remote, sent.local)),
            Err(failed) => failed.over,
        };
        if over.is_some() {
            log.over.set(over);
        }
        // The former retry is over when the next one is decided on.
        drop(grant.take());
        match next_try(delivery, retry, slot, kept.as_deref(), log, &result) {
            Next::Stop => return result.map_err(|failed| failed.error),
            Next::Again(granted) => grant = granted,
        }
        // Closes the stream of an answer that nobody will read.
        drop(result);
        tried.push(endpoint);
        wait(policy, retry + 1).await;
    }
    Err(UpstreamFault::NoEndpoint.into())
}

type Try = Result<Sent, Failed>;

/// What follows a try.
enum Next {
    /// Its result is the last word.
    Stop,
    /// Another one, with the request for it in the slot.
    Again(Option<Grant>),
}

/// Whether there is another try.
fn next_try(
    delivery: &Delivery<'_>,
    retry: u32,
    slot: &mut Option<Request<RequestBody>>,
    kept: Option<&Kept>,
    log: &AttemptLog,
    result: &Try,
) -> Next {
    if !wants_retry(delivery, result) {
        return Next::Stop;
    }
    if retry >= delivery.policy.attempts {
        log.flag.set(Some(ResponseFlag::RetriesExhausted));
        return Next::Stop;
    }
    if slot.is_none() {
        let Some(again) = kept.and_then(Kept::again) else {
            return Next::Stop;
        };
        *slot = Some(again);
    }
    let state = delivery.target.cluster.state();
    let Ok(grant) = state.shared().retry(state.cluster(), is_unsent(result)) else {
        log.flag.set(Some(ResponseFlag::Overflow));
        return Next::Stop;
    };
    Next::Again(grant)
}

/// Whether no application can have seen the request.
fn is_unsent(result: &Try) -> bool {
    result
        .as_ref()
        .is_err_and(|failed| match failed.error.retry_class() {
            RetryClass::ConnectFailure | RetryClass::Unsent | RetryClass::RefusedStream => true,
            RetryClass::Never | RetryClass::Reset => false,
        })
}

async fn one_try(
    delivery: &Delivery<'_>,
    endpoint: &LocalEndpoint,
    slot: &mut Option<Request<RequestBody>>,
) -> Try {
    let Some(limit) = delivery.policy.per_try_timeout else {
        return attempt(&delivery.target, endpoint, slot).await;
    };
    // Rare enough for a box of its own.
    let sending = Box::pin(attempt(&delivery.target, endpoint, slot));
    match tokio::time::timeout(limit, sending).await {
        Ok(result) => result,
        Err(_elapsed) => {
            let events = &delivery.target.cluster.state().shared().events;
            events.timeouts.fetch_add(1, Ordering::Relaxed);
            Err(Failed::before(UpstreamFault::TryTimeout))
        }
    }
}

/// Full jitter: try n waits between 0 and `(2^n - 1)` times the base, at most the cap.
async fn wait(policy: &RetryPolicy, retry: u32) {
    let steps = 1_u32.checked_shl(retry).map_or(u32::MAX, |steps| steps - 1);
    let most = policy
        .backoff
        .base
        .checked_mul(steps)
        .map_or(policy.backoff.max, |most| most.min(policy.backoff.max));
    let share = f64::from(rand::random::<u32>()) / f64::from(u32::MAX);
    let delay = most.mul_f64(share);
    if delay > Duration::ZERO {
        tokio::time::sleep(delay).await;
    }
}

fn wants_retry(delivery: &Delivery<'_>, result: &Try) -> bool {
    let policy = delivery.policy;
    if policy.attempts == 0 {
        return false;
    }
    match result {
        Ok(sent) => {
            answer_asks(policy, sent.response.status(), sent.response.headers())
                || (delivery.grpc && grpc_asks(policy, sent.response.headers()))
        }
        Err(failed) => silence_asks(policy, failed.error.retry_class()),
    }
}

/// Whether an answer that the upstream really sent asks for another try.
fn answer_asks(policy: &RetryPolicy, status: StatusCode, headers: &HeaderMap) -> bool {
    use RetryCondition as On;
    let on = |condition| policy.on.contains(condition);
    if headers.contains_key(&RATE_LIMITED) {
        return on(On::RateLimited);
    }
    if headers.contains_key(&OVERLOADED) {
        return false;
    }
    (on(On::ServerError) && status.is_server_error())
        || (on(On::GatewayError) && matches!(status.as_u16(), 502..=504))
        || (on(On::Retriable4xx) && status == StatusCode::CONFLICT)
        || (on(On::RetriableStatusCodes) && policy.statuses.contains(&status.as_u16()))
        || (on(On::RetriableHeaders)
            && policy.headers.iter().any(|name| headers.contains_key(name)))
}

/// Whether a gRPC status in the response's head (no message came) asks for another try.
fn grpc_asks(policy: &RetryPolicy, headers: &HeaderMap) -> bool {
    let status = headers.get("grpc-status").map(HeaderValue::as_bytes);
    let condition = match status {
        Some(b"1") => RetryCondition::Cancelled,
        Some(b"4") => RetryCondition::DeadlineExceeded,
        Some(b"8") => RetryCondition::ResourceExhausted,
        Some(b"13") => RetryCondition::Internal,
        Some(b"14") => RetryCondition::Unavailable,
        Some(_) | None => return false,
    };
    policy.on.contains(condition)
}

/// Whether the lack of an answer asks for another try.
fn silence_asks(policy: &RetryPolicy, class: RetryClass) -> bool {
    use RetryCondition as On;
    let any = policy
        .on
        .any(&[On::ServerError, On::GatewayError, On::Reset]);
    match class {
        RetryClass::Never => false,
        RetryClass::ConnectFailure | RetryClass::Unsent => {
            any || policy.on.any(&[On::ConnectFailure, On::ResetBeforeRequest])
        }
        RetryClass::RefusedStream => any || policy.on.contains(On::RefusedStream),
        RetryClass::Reset => any,
    }
}

fn attempt_number(number: u32) -> HeaderValue {
    match number {
        1 => const { HeaderValue::from_static("1") },
        2 => const { HeaderValue::from_static("2") },
        3 => const { HeaderValue::from_static("3") },
        more => HeaderValue::from(more),
    }
}
