//! An API server in memory, for tests: objects with resource versions, conflicts, lists and
//! watches, and faults on demand.
//!
//! It knows no schemas. A merge patch and an apply are merged the same simple way, and an apply
//! creates what is not there.

mod store;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use store::{Place, Store};

/// The body of an answer: whole, or a watch.
type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;
/// Looks at a request and may answer it instead of the store: status and body.
type Intercept = dyn Fn(&Seen) -> Option<(u16, Value)> + Send + Sync;

/// One request, as it came in.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query, decoded no further.
    pub query: String,
    /// The body; null where there is none.
    pub body: Value,
}

/// The API server. Clones share everything.
#[derive(Clone, Default)]
pub struct FakeApi {
    store: Arc<Mutex<Store>>,
    intercept: Arc<Mutex<Option<Arc<Intercept>>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    delay: Arc<Mutex<Duration>>,
}

impl std::fmt::Debug for FakeApi {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FakeApi")
    }
}

impl FakeApi {
    /// An empty cluster.
    pub fn new() -> Self {
        Self::default()
    }

    /// A client of it.
    pub fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            let answer: Pin<Box<dyn Future<Output = _> + Send>> =
                Box::pin(async move { Ok::<_, Infallible>(api.respond(request).await) });
            answer
        });
        Client::new(service, "default")
    }

    /// Lets `intercept` answer what it wants to; `None` leaves a request to the store.
    pub fn intercept(
        &self,
        intercept: impl Fn(&Seen) -> Option<(u16, Value)> + Send + Sync + 'static,
    ) {
        *lock(&self.intercept) = Some(Arc::new(intercept));
    }

    /// Goes back to the store alone.
    pub fn heal(&self) {
        *lock(&self.intercept) = None;
    }

    /// Answers everything this much later.
    pub fn slow(&self, delay: Duration) {
        *lock(&self.delay) = delay;
    }

    /// All requests so far, in the order of their arrival.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }

    /// The object at this path, such as `/api/v1/namespaces/a/secrets/b`.
    pub fn object(&self, path: &str) -> Option<Value> {
        lock(&self.store).object(&Place::parse(path)?)
    }

    /// Puts an object there, as if somebody else had written it.
    pub fn put(&self, path: &str, object: Value) {
        let place = Place::parse(path).filter(|place| place.name.is_some());
        if let Some(place) = place {
            lock(&self.store).put(&place, object);
        }
    }

    /// Deletes an object, as if somebody else had.
    pub fn delete(&self, path: &str) {
        if let Some(place) = Place::parse(path) {
            lock(&self.store).delete(&place);
        }
    }

    /// Ends all watches, as connections that break do.
    pub fn end_watches(&self) {
        lock(&self.store).end_watches();
    }

    /// Forgets the history: watches end, and none can go on from where it was.
    pub fn forget(&self) {
        lock(&self.store).forget();
    }

    /// Answers one request, for whoever serves it at a socket.
    pub async fn respond<B>(
        &self,
        request: Request<B>,
    ) -> Response<UnsyncBoxBody<Bytes, Infallible>>
    where
        B: http_body::Body + Send,
        B::Data: Send,
    {
        let (head, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map(http_body_util::Collected::to_bytes);
        let seen = Seen {
            method: head.method,
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            body: body
                .ok()
                .and_then(|body| serde_json::from_slice(&body).ok())
                .unwrap_or_default(),
        };
        lock(&self.seen).push(seen.clone());
        let delay = *lock(&self.delay);
        tokio::time::sleep(delay).await;
        let intercept = lock(&self.intercept).clone();
        if let Some((status, body)) = intercept.and_then(|intercept| intercept(&seen)) {
            return whole(status, &body);
        }
        if seen.path == "/readyz" {
            return whole(200, &json!("ok"));
        }
        let Some(place) = Place::parse(&seen.path) else {
            return whole(404, &failure(404, "NotFound", "no such resource"));
        };
        if seen.query.contains("watch=true") {
            return self.watch(&place, &seen.query);
        }
        let (status, body) = lock(&self.store).carry_out(&place, &seen);
        whole(status, &body)
    }

    fn watch(&self, place: &Place, query: &str) -> Answer {
        let lines = lock(&self.store).watch(place, query);
        let frames = stream::unfold(lines, |mut lines| async move {
            let line = lines.recv().await?;
            let frame = http_body::Frame::data(Bytes::from(format!("{line}\n")));
            Some((Ok(frame), lines))
        });
        Response::new(StreamBody::new(frames.boxed()).boxed_unsync())
    }
}

/// The body the API server sends with a refusal.
pub fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

fn whole(status: u16, body: &Value) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
