//! Lists a resource, then watches it, for ever: whatever goes wrong is told and tried again.
//!
//! A watch is resumed where it ended. Only when the API server no longer remembers that point is
//! everything listed again, and the reader finds out what is gone by what is missing.

use std::time::Duration;

use futures_util::TryStreamExt;
use kube::Client;
use kube::api::{ListParams, WatchParams};
use kube::core::{ListMeta, Request, WatchEvent};
use mesh_runtime::Backoff;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use super::Timing;
use super::keep::{Cut, Shape};
use super::trouble::{Failure, Trouble};

/// What to follow.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The path of the collection.
    pub(super) path: String,
    /// Only objects with these labels.
    pub(super) labels: Option<&'static str>,
    /// Only objects with these fields.
    pub(super) fields: Option<String>,
}

/// What happened.
#[derive(Debug)]
pub(super) enum Step<S> {
    /// Everything is about to be listed.
    Listing,
    /// An object is there.
    There(Cut<S>),
    /// An object is gone.
    Gone(Cut<S>),
    /// Everything was listed; what did not come by is not there.
    Listed,
    /// From now on changes arrive as they happen.
    Watching,
    /// The resource cannot be read now.
    Failed(Trouble),
}

/// Where steps go; an error ends the following.
pub(super) trait Sink<S> {
    /// Takes one step.
    fn take(&mut self, step: Step<S>) -> impl Future<Output = Result<(), Closed>> + Send;
}

/// Nobody listens any more.
#[derive(Debug)]
pub(super) struct Closed;

/// Follows a resource until nobody listens any more.
pub(super) async fn follow<S: Shape>(
    client: Client,
    target: Target,
    timing: Timing,
    sink: impl Sink<S>,
) {
    let mut follower = Follower {
        client,
        target,
        timing,
        sink,
        version: None,
        shape: std::marker::PhantomData,
    };
    let mut backoff = Backoff::new(timing.retry, timing.retry_longest);
    loop {
        let began = Instant::now();
        let failure = match follower.attempt().await {
            Ok(()) => None,
            Err(Ended::Failed(failure)) => Some(failure),
            Err(Ended::Closed(Closed)) => return,
        };
        match failure {
            Some(Failure::Expired) => follower.version = None,
            Some(Failure::Trouble(trouble)) => {
                let trouble = if trouble == Trouble::NotServed {
                    follower.not_served().await
                } else {
                    trouble
                };
                let told = follower.sink.take(Step::Failed(trouble)).await;
                if told.is_err() {
                    return;
                }
            }
            None if began.elapsed() >= timing.lively => {
                backoff.reset();
                continue;
            }
            // A watch that ends as soon as it begins would otherwise spin.
            None => {}
        }
        if began.elapsed() >= timing.lively {
            backoff.reset();
        }
        tokio::time::sleep(backoff.next_delay(jitter())).await;
    }
}

/// Any number will do that differs between replicas and moments.
fn jitter() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(0_u8);
    u32::try_from(random >> 32).unwrap_or_default()
}

#[derive(Debug)]
enum Ended {
    Failed(Failure),
    Closed(Closed),
}

impl From<Closed> for Ended {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

impl From<kube::Error> for Ended {
    fn from(error: kube::Error) -> Self {
        Self::Failed(Failure::from(&error))
    }
}

struct Follower<S, K> {
    client: Client,
    target: Target,
    timing: Timing,
    sink: K,
    /// Where to resume; none if everything has to be listed.
    version: Option<String>,
    shape: std::marker::PhantomData<S>,
}

/// One page of a list.
#[derive(Deserialize)]
#[serde(bound = "")]
struct Page<S: Shape> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default = "Vec::new")]
    items: Vec<Cut<S>>,
}

impl<S: Shape, K: Sink<S>> Follower<S, K> {
    /// Lists if need be, and watches until the watch ends.
    async fn attempt(&mut self) -> Result<(), Ended> {
        let version = match self.version.clone() {
            Some(version) => version,
            None => self.list().await?,
        };
        self.version = Some(version.clone());
        self.watch(&version).await
    }

    /// What it means that a resource is not served. An API server that starts answers before it
    /// has read its definitions; only one that says it is ready knows what there is not.
    async fn not_served(&self) -> Trouble {
        let request = http::Request::get("/readyz").body(Vec::new());
        let Ok(request) = request else {
            return Trouble::NotServed;
        };
        let asked = timeout(self.timing.answer, self.client.request_text(request)).await;
        match asked {
            Ok(Ok(_)) => Trouble::NotServed,
            Ok(Err(error)) => Trouble::Unreachable(format!(
                "it does not serve {}, and does not say that it is ready (/readyz: {error}), so \
                 it may not know yet what it serves",
                self.target.path
            )),
            Err(_elapsed) => Trouble::Unreachable("no answer in time".to_owned()),
        }
    }

    async fn list(&mut self) -> Result<String, Ended> {
        self.sink.take(Step::Listing).await?;
        let mut params = ListParams::default().limit(self.timing.page);
        params.label_selector = self.target.labels.map(str::to_owned);
        params.field_selector.clone_from(&self.target.fields);
        loop {
            let request = Request::new(&self.target.path)
                .list(&params)
                .map_err(kube::Error::BuildRequest)?;
            // As text: an answer that cannot be parsed must not be logged, it may be a Secret.
            let text = timeout(self.timing.answer, self.client.request_text(request))
                .await
                .map_err(|_elapsed| Ended::Failed(Failure::silence()))??;
            let page: Page<S> = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
            drop(text);
            for object in page.items {
                self.sink.take(Step::There(object)).await?;
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                self.sink.take(Step::Listed).await?;
                return Ok(page.metadata.resource_version.unwrap_or_default());
            }
        }
    }

    async fn watch(&mut self, version: &str) -> Result<(), Ended> {
        let lasts = self.timing.watch;
        let mut params =
            WatchParams::default().timeout(u32::try_from(lasts.as_secs()).unwrap_or(60));
        params.label_selector = self.target.labels.map(str::to_owned);
        params.field_selector.clone_from(&self.target.fields);
        let request = Request::new(&self.target.path)
            .watch(&params, version)
            .map_err(kube::Error::BuildRequest)?;
        let opened = timeout(
            self.timing.answer,
            self.client.request_events::<Cut<S>>(request),
        );
        let events = opened
            .await
            .map_err(|_elapsed| Ended::Failed(Failure::silence()))??;
        let mut events = std::pin::pin!(events);
        let mut told = false;
        let ends = Instant::now() + lasts + self.timing.answer;
        loop {
            // The API server ends a watch in time. One it has not ended is dead, whether or not
            // the connection knows.
            let left = ends.saturating_duration_since(Instant::now());
            // Without a word within a moment there is nothing wrong: an error comes at once.
            let patience = if told { left } else { left.min(SETTLED) };
            let event = match timeout(patience, events.try_next()).await {
                Ok(event) => event?,
                Err(_elapsed) if !told => {
                    told = true;
                    self.sink.take(Step::Watching).await?;
                    continue;
                }
                Err(_elapsed) => return Err(Ended::Failed(Failure::silence())),
            };
            let Some(event) = event else {
                return Ok(());
            };
            if let WatchEvent::Error(status) = &event {
                return Err(Ended::Failed(Failure::of_status(status)));
            }
            if !told {
                told = true;
                self.sink.take(Step::Watching).await?;
            }
            self.event(event).await?;
        }
    }

    async fn event(&mut self, event: WatchEvent<Cut<S>>) -> Result<(), Ended> {
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                self.remember(object.metadata("resourceVersion"));
                self.sink.take(Step::There(object)).await?;
            }
            WatchEvent::Deleted(object) => {
                self.remember(object.metadata("resourceVersion"));
                self.sink.take(Step::Gone(object)).await?;
            }
            WatchEvent::Bookmark(bookmark) => self.remember(&bookmark.metadata.resource_version),
            WatchEvent::Error(_) => {}
        }
        Ok(())
    }

    fn remember(&mut self, version: &str) {
        if !version.is_empty() {
            self.version = Some(version.to_owned());
        }
    }
}

/// How long a watch that has not failed is given to fail.
const SETTLED: Duration = Duration::from_millis(200);
