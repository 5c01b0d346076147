//! Writes statuses, while this replica leads.
//!
//! Our conditions are applied under a field manager of our own: conditions of other types belong
//! to others and stay. What objects say already is read once when leadership begins and kept from
//! then on, so that nothing is written that is there.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::{Client, Resource};
use mesh_kubernetes::client::{ApiFailure, within};
use mesh_runtime::Backoff;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::bucket::Bucket;
use super::conditions::{Statement, TYPES, Truth, conditions};
use super::events::Events;
use super::plan::{Plan, Said};
use super::view::Wanted;
use super::{MANAGER, Settings};
use crate::crd::Kind;
use crate::crd::definition::definition;
use crate::crd::status::{Condition, ResourceStatus};
use crate::meta::ObjectKey;

/// Writes a second, and at once.
const RATE: (u32, u32) = (20, 50);
/// Writes at the same time.
const PARALLEL: usize = 8;
/// A write is over before another replica could have become leader.
const WRITE_LIMIT: Duration = Duration::from_secs(4);
/// Objects in one page of a list.
const PAGE: u32 = 500;
/// All statuses are read again after this long, in case somebody else changed them.
const READ_AGAIN: Duration = Duration::from_mins(10);
/// The shortest and the longest pause after the API server failed.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Where objects of each kind are.
static RESOURCES: LazyLock<BTreeMap<Kind, ApiResource>> = LazyLock::new(|| {
    let kinds = Kind::ALL.into_iter().filter(|kind| kind.is_mesh_resource());
    kinds
        .filter_map(|kind| Some((kind, resource(kind)?)))
        .collect()
});

/// Writes statuses.
pub struct Writer {
    client: Client,
    leading: watch::Receiver<bool>,
    plan: Plan,
    bucket: Bucket,
    events: Events,
    /// What objects say, and when it was read; `None` before it was.
    said: Option<(BTreeMap<ObjectKey, Said>, Instant)>,
    /// What the API server would not have: not tried again until something else is wanted.
    refused: BTreeMap<ObjectKey, Wanted>,
    backoff: Backoff,
    not_before: Option<Instant>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Writer").finish_non_exhaustive()
    }
}

/// What came of one write.
enum Outcome {
    /// It is written; the object, and what it says now.
    Written(ObjectReference, Said),
    /// Somebody else leads now.
    Skipped,
    /// There is no such object any more.
    Gone,
    /// It was made anew, or others write to it at the same time.
    Changed,
    /// The API server will not have it.
    Refused(String),
    /// The API server is away, or may not be asked.
    Failed(String),
}

impl Writer {
    /// A writer that has read nothing yet.
    pub fn new(client: Client, settings: &Settings, leading: watch::Receiver<bool>) -> Self {
        Self {
            events: Events::new(client.clone(), &settings.pod),
            client,
            leading,
            plan: Plan::default(),
            bucket: Bucket::new(RATE.0, RATE.1, Instant::now()),
            said: None,
            refused: BTreeMap::new(),
            backoff: Backoff::new(BACKOFF.0, BACKOFF.1),
            not_before: None,
        }
    }

    /// Forgets what objects say: somebody else writes.
    pub fn rest(&mut self) {
        self.said = None;
        self.refused.clear();
        self.plan = Plan::default();
    }

    /// Writes what is due, as much of it as may be written now. Returns when there may be more.
    pub async fn step(&mut self, wanted: &BTreeMap<ObjectKey, Wanted>) -> Instant {
        let now = Instant::now();
        if let Some(not_before) = self.not_before
            && now < not_before
        {
            return not_before;
        }
        let fresh = self
            .said
            .take()
            .filter(|(_, read)| now < *read + READ_AGAIN);
        let (mut said, read) = match fresh {
            Some(said) => said,
            None => match self.read().await {
                Ok(said) => (said, now),
                Err(failure) => return self.pause(&failure.to_string()),
            },
        };
        said.retain(|key, _| wanted.contains_key(key));
        self.refused
            .retain(|key, refused| wanted.get(key) == Some(refused));
        let due = self.plan.due(wanted, &said, now);
        let keys: Vec<&ObjectKey> = due
            .keys
            .iter()
            .filter(|key| !self.refused.contains_key(key) && RESOURCES.contains_key(&key.kind))
            .collect();
        metrics::gauge!("mesh_status_backlog")
            .set(f64::from(u32::try_from(keys.len()).unwrap_or(u32::MAX)));
        let now_possible = self.bucket.take(keys.len(), now);
        let more = keys.len() > now_possible;
        let mut writes: Vec<BoxFuture<'_, _>> = Vec::new();
        for key in keys.into_iter().take(now_possible) {
            if let Some(wanted) = wanted.get(key) {
                let write = self.write(key, wanted, said.get(key));
                writes.push(Box::pin(async move { (key, wanted, write.await) }));
            }
        }
        let outcomes: Vec<_> = futures_util::stream::iter(writes)
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        let failed = self.record(outcomes, &mut said).await;
        self.said = Some((said, read));
        if let Some(failure) = failed {
            return self.pause(&failure);
        }
        let next = due.next.unwrap_or(now + READ_AGAIN);
        if more {
            next.min(self.bucket.next())
        } else {
            next
        }
    }

    /// Draws the consequences of writes; returns why the API server cannot be asked, if it is so.
    async fn record(
        &mut self,
        outcomes: Vec<(&ObjectKey, &Wanted, Outcome)>,
        said: &mut BTreeMap<ObjectKey, Said>,
    ) -> Option<String> {
        let mut failed = None;
        for (key, wanted, outcome) in outcomes {
            let result = match outcome {
                Outcome::Written(object, now) => {
                    self.recovered();
                    let before = said.insert(key.clone(), now);
                    if let Some(statement) = newly_unaccepted(wanted, before.as_ref()) {
                        self.events.not_accepted(&object, statement).await;
                    }
                    "written"
                }
                Outcome::Skipped => "skipped",
                Outcome::Gone => {
                    said.remove(key);
                    // The source tells soon; until then nothing is left to write to.
                    self.refused.insert(key.clone(), wanted.clone());
                    "gone"
                }
                Outcome::Changed => {
                    said.remove(key);
                    "changed"
                }
                Outcome::Refused(why) => {
                    tracing::warn!(object = %key, "its status cannot be written: {why}");
                    self.refused.insert(key.clone(), wanted.clone());
                    "refused"
                }
                Outcome::Failed(why) => {
                    failed = Some(why);
                    "failed"
                }
            };
            metrics::counter!("mesh_status_writes_total", "result" => result).increment(1);
        }
        failed
    }

    fn pause(&mut self, why: &str) -> Instant {
        if self.backoff.attempts() == 0 {
            tracing::warn!("the status of objects cannot be kept right now: {why}");
        }
        let again = Instant::now() + self.backoff.next_delay(rand::random());
        self.not_before = Some(again);
        again
    }

    fn recovered(&mut self) {
        if self.backoff.attempts() > 0 {
            tracing::info!("the status of objects is kept right again");
        }
        self.backoff.reset();
        self.not_before = None;
    }

    /// What all objects say.
    async fn read(&mut self) -> Result<BTreeMap<ObjectKey, Said>, ApiFailure> {
        let mut all = BTreeMap::new();
        for (kind, resource) in &*RESOURCES {
            let api: Api<DynamicObject> = Api::all_with(self.client.clone(), resource);
            let mut page = ListParams::default().limit(PAGE);
            loop {
                let what = format!("list {}.{}", resource.plural, resource.group);
                let list = match within(what, api.list(&page)).await {
                    Ok(list) => list,
                    // A kind that is not installed has no objects. A list that took too long to
                    // page through begins anew later.
                    Err(failure) if failure.is_not_found() => break,
                    Err(failure) => return Err(failure),
                };
                for object in &list.items {
                    let metadata = &object.metadata;
                    let namespace = metadata.namespace.clone().unwrap_or_default();
                    let name = metadata.name.clone().unwrap_or_default();
                    all.insert(ObjectKey::new(*kind, namespace, name), said(object));
                }
                match list.metadata.continue_.filter(|more| !more.is_empty()) {
                    Some(more) => page = page.continue_token(&more),
                    None => break,
                }
            }
        }
        self.recovered();
        Ok(all)
    }

    async fn write(&self, key: &ObjectKey, wanted: &Wanted, before: Option<&Said>) -> Outcome {
        if !*self.leading.borrow() {
            return Outcome::Skipped;
        }
        match timeout(WRITE_LIMIT, self.apply(key, wanted, before)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(failure)) => match failure.code() {
                Some(404 | 410) => Outcome::Gone,
                Some(409) => Outcome::Changed,
                Some(400 | 413 | 422) => Outcome::Refused(failure.to_string()),
                Some(_) | None => Outcome::Failed(failure.to_string()),
            },
            Err(_elapsed) => Outcome::Failed(format!(
                "the API server did not answer within {WRITE_LIMIT:?}"
            )),
        }
    }

    async fn apply(
        &self,
        key: &ObjectKey,
        wanted: &Wanted,
        before: Option<&Said>,
    ) -> Result<Outcome, ApiFailure> {
        let Some(resource) = RESOURCES.get(&key.kind) else {
            return Ok(Outcome::Skipped);
        };
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &key.namespace, resource);
        let generation = if wanted.generation.is_some() {
            wanted.generation
        } else {
            let metadata = api.get_metadata(&key.name);
            let newest = within(format!("get {key}"), metadata).await?;
            newest.metadata.generation
        };
        let former = before.map_or(&[][..], |said| said.conditions.as_slice());
        let now = jiff::Timestamp::now();
        let conditions = conditions(&wanted.statements, generation, former, now);
        let mut metadata = json!({"name": key.name, "namespace": key.namespace});
        if let (Some(uid), Some(metadata)) = (
            before.and_then(|said| said.uid.as_ref()),
            metadata.as_object_mut(),
        ) {
            // An object that was made anew since is another one.
            metadata.insert("uid".to_owned(), json!(uid));
        }
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": metadata, "status": {"conditions": conditions},
        });
        let how = PatchParams::apply(MANAGER).force();
        let patch = Patch::Apply(&object);
        let write = api.patch_status(&key.name, &how, &patch);
        let written = within(format!("write the status of {key}"), write).await?;
        let said = Said {
            conditions,
            ..said(&written)
        };
        Ok(Outcome::Written(written.object_ref(resource), said))
    }
}

/// Where objects of a kind are, if it is one that has a definition.
fn resource(kind: Kind) -> Option<ApiResource> {
    let names = definition(kind)?.spec.names;
    Some(ApiResource {
        group: kind.group().to_owned(),
        version: kind.storage_version().to_owned(),
        api_version: format!("{}/{}", kind.group(), kind.storage_version()),
        kind: names.kind,
        plural: names.plural,
    })
}

/// What an object says of ours.
fn said(object: &DynamicObject) -> Said {
    let status = object.data.get("status").cloned().unwrap_or_default();
    // A status somebody else gave another form says nothing of ours.
    let status: ResourceStatus = serde_json::from_value(status).unwrap_or_default();
    let ours = |one: &Condition| TYPES.contains(&one.condition_type.as_str());
    Said {
        uid: object.metadata.uid.clone(),
        conditions: status.conditions.into_iter().filter(ours).collect(),
    }
}

/// The statement that the object is not accepted, if it did not say so for this reason before.
fn newly_unaccepted<'a>(wanted: &'a Wanted, before: Option<&Said>) -> Option<&'a Statement> {
    let statement = wanted
        .statements
        .iter()
        .find(|one| one.about == "Accepted")?;
    let known = before.is_some_and(|before| {
        before.conditions.iter().any(|one| {
            one.condition_type == statement.about
                && one.status == "False"
                && one.reason == statement.reason
        })
    });
    (statement.holds == Truth::False && !known).then_some(statement)
}

#[cfg(test)]
mod tests;
