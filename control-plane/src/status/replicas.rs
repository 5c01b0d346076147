//! What replicas of the control plane tell each other of their proxies: each writes its counts
//! under a key of its own into one ConfigMap, and reads those of the others.
//!
//! The ConfigMap is part of the manifests. A replica may change this one and create none, because
//! a ConfigMap under the right name is what other programs obey.
//!
//! A proxy is connected to one replica, so only all of them together know how many have applied
//! an object. The names of connected proxies go along as hashes: a proxy that moved to another
//! replica is not lost to the first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use mesh_kubernetes::client::{ApiFailure, within};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::tally::Tally;
use super::{MANAGER, Settings};
use crate::discovery::registry::Applied;
use crate::meta::ObjectKey;

/// The ConfigMap.
const MAP: &str = "istiod-acknowledgements";
/// A report is written again after this long, though nothing changed.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// A report that was not written for this long is of a replica that is gone.
const STALE: Duration = Duration::from_secs(90);
/// After this long, the others take it away.
const FORGOTTEN: Duration = Duration::from_mins(10);
/// The time to the next attempt after one that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// The least time between two writes.
const APART: Duration = Duration::from_secs(1);
/// A ConfigMap holds 1 MiB; this much of it is for the reports of all replicas.
const LARGEST: usize = 900 * 1024;

/// What one replica tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// Hashes of the names of the proxies connected to it.
    #[serde(default)]
    pub connected: BTreeSet<u32>,
    /// What it counted, by `KIND NAMESPACE/NAME`.
    #[serde(default)]
    pub tallies: BTreeMap<String, Tally>,
}

impl Published {
    /// What this replica tells, one of this many. Where there are more objects than its share of a
    /// ConfigMap holds, the rest is left out, and the others wait for it rather than believe that
    /// it was applied.
    pub fn new(proxies: &[Applied], own: &BTreeMap<ObjectKey, Tally>, replicas: usize) -> Self {
        let share = LARGEST / replicas.max(1);
        let connected = proxies.iter().filter(|one| one.connected);
        let mut published = Self {
            connected: connected
                .map(|one| hash(&one.who.workload.to_string()))
                .collect(),
            tallies: BTreeMap::new(),
        };
        let mut size = published.connected.len() * 12;
        for (key, tally) in own {
            let name = key.to_string();
            size += name.len() + 48;
            size += tally
                .waiting
                .iter()
                .map(|one| one.proxy.len() + one.why.len() + 32)
                .sum::<usize>();
            if size > share {
                tracing::warn!(
                    objects = own.len(),
                    replicas,
                    "more objects than a report to other replicas can hold; the status of those \
                     left out stays Pending while several replicas run"
                );
                break;
            }
            published.tallies.insert(name, tally.clone());
        }
        published
    }

    /// Whether this proxy is connected to the replica.
    pub fn holds(&self, proxy: &str) -> bool {
        self.connected.contains(&hash(proxy))
    }
}

/// FNV-1a, so that all replicas and versions agree.
fn hash(name: &str) -> u32 {
    name.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// What one replica writes under its key.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    /// When, so that the text changes as long as the replica lives.
    at: String,
    #[serde(flatten)]
    published: Published,
}

/// What one other replica told.
#[derive(Clone, Debug)]
struct Report {
    /// As it is written; a change of it is a sign of life.
    text: String,
    /// As it is understood; nothing where it makes no sense.
    published: Option<Arc<Published>>,
    /// When this text was first seen.
    since: Instant,
}

/// What other replicas told, by the names of their pods.
type Heard = BTreeMap<String, Report>;

/// What other replicas told.
#[derive(Clone, Debug)]
pub struct Replicas(watch::Receiver<Heard>);

impl Replicas {
    /// Begins to listen; ends when this value and its clones are gone.
    pub fn listen(client: Client, settings: &Settings) -> Self {
        let (heard, receiver) = watch::channel(Heard::new());
        let api: Api<ConfigMap> = Api::namespaced(client, &settings.namespace);
        tokio::spawn(listen(api, settings.pod.clone(), heard));
        Self(receiver)
    }

    /// Waits until any of them said something new.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The replicas that are alive, by name.
    pub fn live(&self, now: Instant) -> Vec<(String, Arc<Published>)> {
        let heard = self.0.borrow();
        let alive = heard
            .iter()
            .filter(|(_, report)| now.saturating_duration_since(report.since) < STALE);
        alive
            .filter_map(|(name, report)| {
                Some((name.clone(), Arc::clone(report.published.as_ref()?)))
            })
            .collect()
    }

    /// The replicas that left a report behind and have been silent for long.
    pub fn gone(&self, now: Instant) -> Vec<String> {
        let heard = self.0.borrow();
        let gone = heard
            .iter()
            .filter(|(_, report)| now.saturating_duration_since(report.since) >= FORGOTTEN);
        gone.map(|(name, _)| name.clone()).collect()
    }
}

async fn listen(api: Api<ConfigMap>, own: String, heard: watch::Sender<Heard>) {
    let maps = watcher::watch_object(api, MAP).default_backoff();
    let mut maps = std::pin::pin!(maps);
    loop {
        let map = tokio::select! {
            map = maps.next() => map,
            () = heard.closed() => return,
        };
        match map {
            None => return,
            Some(Ok(map)) => {
                let data = map.and_then(|map| map.data).unwrap_or_default();
                heard.send_modify(|heard| take(heard, &own, data));
            }
            Some(Err(error)) => tracing::debug!(%error, "reports of other replicas cannot be read"),
        }
    }
}

/// The reports are these now.
fn take(heard: &mut Heard, own: &str, data: BTreeMap<String, String>) {
    heard.retain(|name, _| data.contains_key(name));
    for (name, text) in data {
        let known = heard.get(&name).is_some_and(|report| report.text == text);
        if name == own || known {
            continue;
        }
        let published = match serde_json::from_str::<Told>(&text) {
            Ok(told) => Some(Arc::new(told.published)),
            Err(error) => {
                tracing::warn!(replica = name, %error,
                    "the report of another replica makes no sense");
                None
            }
        };
        let report = Report {
            text,
            published,
            since: Instant::now(),
        };
        heard.insert(name, report);
    }
}

/// Tells the other replicas.
pub struct Publisher {
    client: Client,
    settings: Settings,
    /// What was told last, and when.
    told: Option<(Published, Instant)>,
    /// Not before then, after a failure.
    not_before: Option<Instant>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Publisher")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Publisher {
    /// One that has told nothing yet.
    pub const fn new(client: Client, settings: Settings) -> Self {
        Self {
            client,
            settings,
            told: None,
            not_before: None,
        }
    }

    /// Tells it, if it is time, and takes away what those who are `gone` have told; returns when it
    /// will be time.
    pub async fn step(&mut self, published: Published, gone: &[String], now: Instant) -> Instant {
        let due = match &self.told {
            None => now,
            Some((told, at)) if *told == published => *at + HEARTBEAT,
            Some((_, at)) => *at + APART,
        };
        let due = self
            .not_before
            .map_or(due, |not_before| due.max(not_before));
        if now < due {
            return due;
        }
        match self.write(Some(&published), gone).await {
            Ok(()) => {
                self.not_before = None;
                self.told = Some((published, now));
                now + HEARTBEAT
            }
            Err(failure) => {
                tracing::warn!("other replicas cannot be told what proxies applied: {failure}");
                let again = now + AFTER_FAILURE;
                self.not_before = Some(again);
                again
            }
        }
    }

    /// Takes back what was told, and what those who are `gone` have: this replica stops, or it is
    /// the only one.
    pub async fn withdraw(&mut self, gone: &[String], now: Instant) {
        let resting = self.not_before.is_some_and(|not_before| now < not_before);
        if self.told.is_none() && (gone.is_empty() || resting) {
            return;
        }
        self.told = None;
        if let Err(failure) = self.write(None, gone).await {
            tracing::debug!("{failure}");
            self.not_before = Some(now + AFTER_FAILURE);
        }
    }

    async fn write(
        &self,
        published: Option<&Published>,
        gone: &[String],
    ) -> Result<(), ApiFailure> {
        let told = |published: &Published| {
            let told = Told {
                at: jiff::Timestamp::now().to_string(),
                published: published.clone(),
            };
            serde_json::to_string(&told).unwrap_or_default()
        };
        let mut data: BTreeMap<&str, Option<String>> =
            gone.iter().map(|name| (name.as_str(), None)).collect();
        data.insert(&self.settings.pod, published.map(told));
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.settings.namespace);
        let parameters = PatchParams {
            field_manager: Some(MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch: Patch<Value> = Patch::Merge(json!({ "data": data }));
        let patching = api.patch(MAP, &parameters, &patch);
        within(format!("patch ConfigMap {MAP}"), patching)
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod tests;
