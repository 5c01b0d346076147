//! What replicas of the control plane tell each other of their proxies: each writes a ConfigMap
//! of its own with its counts, and reads those of the others.
//!
//! A proxy is connected to one replica, so only all of them together know how many have applied
//! an object. The names of connected proxies go along as hashes: a proxy that moved to another
//! replica is not lost to the first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch_objects};
use kube::{Client, ResourceExt};
use mesh_kubernetes::client::{ApiFailure, within};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::tally::Tally;
use super::{MANAGER, Settings};
use crate::discovery::registry::Applied;
use crate::meta::ObjectKey;

/// The label of these ConfigMaps, and its value.
const LABEL: (&str, &str) = ("mesh.istio.io/report", "acknowledgements");
/// The annotation that says when one was last written.
const RENEWED: &str = "mesh.istio.io/renewed";
/// The one key of their data.
const DATA: &str = "report";
/// A report is written again after this long, though nothing changed.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// A report that was not written for this long is of a replica that is gone.
const STALE: Duration = Duration::from_secs(90);
/// The least time between two writes.
const APART: Duration = Duration::from_secs(1);
/// A ConfigMap holds 1 MiB; this much of it is for the report.
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
    /// What this replica tells. Where there are more objects than a ConfigMap holds, the rest is
    /// left out, and the others wait for it rather than believe that it was applied.
    pub fn new(proxies: &[Applied], own: &BTreeMap<ObjectKey, Tally>) -> Self {
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
            if size > LARGEST {
                tracing::warn!(
                    objects = own.len(),
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

/// What other replicas told, by the names of their ConfigMaps.
type Heard = BTreeMap<String, (Arc<Published>, Instant)>;

/// What other replicas told.
#[derive(Clone, Debug)]
pub struct Replicas(watch::Receiver<Heard>);

impl Replicas {
    /// Begins to listen; ends when this value and its clones are gone.
    pub fn listen(client: Client, settings: &Settings) -> Self {
        let (heard, receiver) = watch::channel(Heard::new());
        let api: Api<ConfigMap> = Api::namespaced(client, &settings.namespace);
        tokio::spawn(listen(api, settings.report_name(), heard));
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
            .filter(|(_, (_, at))| now.saturating_duration_since(*at) < STALE);
        alive
            .map(|(name, (published, _))| {
                let name = name.strip_prefix(Settings::REPORTS).unwrap_or(name);
                (name.to_owned(), Arc::clone(published))
            })
            .collect()
    }
}

async fn listen(api: Api<ConfigMap>, own: String, heard: watch::Sender<Heard>) {
    let wanted = watcher::Config::default().labels(&format!("{}={}", LABEL.0, LABEL.1));
    let events = watch_objects(api, wanted).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut relisted = Heard::new();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = heard.closed() => return,
        };
        match event {
            None => return,
            Some(Ok(Event::Init)) => relisted.clear(),
            Some(Ok(Event::InitApply(map))) => take(&mut relisted, &own, &map),
            Some(Ok(Event::InitDone)) => {
                heard.send_replace(std::mem::take(&mut relisted));
            }
            Some(Ok(Event::Apply(map))) => heard.send_modify(|heard| take(heard, &own, &map)),
            Some(Ok(Event::Delete(map))) => heard.send_modify(|heard| {
                heard.remove(&map.name_any());
            }),
            Some(Err(error)) => tracing::debug!(%error, "reports of other replicas cannot be read"),
        }
    }
}

fn take(heard: &mut Heard, own: &str, map: &ConfigMap) {
    let name = map.name_any();
    let text = map.data.as_ref().and_then(|data| data.get(DATA));
    let (Some(text), false) = (text, name == own) else {
        return;
    };
    match serde_json::from_str(text) {
        Ok(published) => {
            heard.insert(name, (Arc::new(published), Instant::now()));
        }
        Err(error) => {
            tracing::warn!(map = name, %error, "the report of another replica makes no sense");
            heard.remove(&name);
        }
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
    /// The pod that owns the ConfigMap, once looked for.
    owner: Option<Value>,
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
            owner: None,
        }
    }

    /// Tells it, if it is time; returns when it will be time.
    pub async fn step(&mut self, published: Published, now: Instant) -> Instant {
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
        match self.write(&published).await {
            Ok(()) => {
                self.not_before = None;
                self.told = Some((published, now));
                now + HEARTBEAT
            }
            Err(failure) => {
                tracing::warn!("other replicas cannot be told what proxies applied: {failure}");
                let again = now + Duration::from_secs(10);
                self.not_before = Some(again);
                again
            }
        }
    }

    /// Takes back what was told: this replica stops, or it is the only one.
    pub async fn withdraw(&mut self) {
        if self.told.take().is_none() {
            return;
        }
        let name = self.settings.report_name();
        let (api, options) = (self.maps(), DeleteParams::default());
        let gone = within(
            format!("delete ConfigMap {name}"),
            api.delete(&name, &options),
        )
        .await;
        if let Err(failure) = gone
            && !failure.is_not_found()
        {
            tracing::debug!("{failure}");
        }
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.settings.namespace)
    }

    async fn write(&mut self, published: &Published) -> Result<(), ApiFailure> {
        if self.owner.is_none() {
            self.owner = Some(self.find_owner().await?);
        }
        let name = self.settings.report_name();
        let text = serde_json::to_string(published).unwrap_or_default();
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": name, "namespace": self.settings.namespace,
                "labels": {LABEL.0: LABEL.1},
                "annotations": {RENEWED: jiff::Timestamp::now().to_string()},
                "ownerReferences": self.owner,
            },
            "data": {DATA: text},
        });
        let (api, how) = (self.maps(), PatchParams::apply(MANAGER).force());
        let patch = Patch::Apply(&map);
        within(
            format!("apply ConfigMap {name}"),
            api.patch(&name, &how, &patch),
        )
        .await?;
        Ok(())
    }

    /// The pod, so that the ConfigMap goes with it; outside of a cluster there is none.
    async fn find_owner(&self) -> Result<Value, ApiFailure> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.settings.namespace);
        let name = &self.settings.pod;
        let pod = within(format!("get Pod {name}"), pods.get_metadata_opt(name)).await?;
        let uid = pod.and_then(|pod| pod.metadata.uid);
        Ok(uid.map_or_else(
            || json!([]),
            |uid| json!([{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}]),
        ))
    }
}

#[cfg(test)]
mod tests;
