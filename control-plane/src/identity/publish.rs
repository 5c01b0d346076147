//! The roots as ConfigMap `istio-ca-root-cert` in every namespace, so that any pod can mount
//! them and verify whom it connects to.
//!
//! One writer, the leader. It follows namespaces and ConfigMaps, and writes where the two differ
//! from what should be: slowly enough that a thousand namespaces are no storm, and ever slower
//! where somebody keeps undoing it.

mod ledger;

use std::time::Duration;

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use mesh_kubernetes::authority::Trust;
use mesh_kubernetes::client::within;
use mesh_kubernetes::outage;
use mesh_runtime::drain::DrainWatch;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use ledger::Ledger;

/// The ConfigMap's name.
pub const NAME: &str = "istio-ca-root-cert";
/// The key in it.
pub const KEY: &str = "root-cert.pem";
/// Who owns the fields.
const MANAGER: &str = "istiod";
/// Between two writes.
const PACE: Duration = Duration::from_millis(20);

/// Publishes until the drain begins.
pub async fn run(
    client: Client,
    trust: watch::Receiver<Trust>,
    leader: watch::Receiver<bool>,
    drain: DrainWatch,
) {
    let namespaces = Api::<PartialObjectMeta<Namespace>>::all(client.clone());
    let namespaces = watcher::watcher(namespaces, watcher::Config::default()).default_backoff();
    let only = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let config_maps = Api::<ConfigMap>::all(client.clone());
    let config_maps = watcher::watcher(config_maps, only).default_backoff();
    let publisher = Publisher {
        client,
        ledger: Ledger::default(),
        trust,
        leader,
    };
    tokio::select! {
        () = drain.triggered() => {}
        () = publisher.follow(namespaces, config_maps) => {}
    }
}

struct Publisher {
    client: Client,
    ledger: Ledger,
    trust: watch::Receiver<Trust>,
    leader: watch::Receiver<bool>,
}

type Watched<K> = Result<Event<K>, watcher::Error>;

impl Publisher {
    async fn follow(
        mut self,
        namespaces: impl Stream<Item = Watched<PartialObjectMeta<Namespace>>>,
        config_maps: impl Stream<Item = Watched<ConfigMap>>,
    ) {
        let mut namespaces = std::pin::pin!(namespaces);
        let mut config_maps = std::pin::pin!(config_maps);
        let mut pace = Instant::now();
        loop {
            let due = self.due(pace);
            tokio::select! {
                biased;
                Some(event) = namespaces.next() => self.take_namespaces(event),
                Some(event) = config_maps.next() => self.take_config_maps(event),
                changed = self.trust.changed() => if changed.is_err() { return },
                changed = self.leader.changed() => if changed.is_err() { return },
                () = until(due) => {
                    self.write_next().await;
                    pace = Instant::now() + PACE;
                }
            }
        }
    }

    /// When to write next, if there is something to.
    fn due(&self, pace: Instant) -> Option<Instant> {
        if !*self.leader.borrow() {
            return None;
        }
        let (_, due) = self.ledger.next(&self.trust.borrow().bundle_pem)?;
        Some(due.map_or(pace, |due| due.max(pace)))
    }

    async fn write_next(&mut self) {
        let bundle = self.trust.borrow().bundle_pem.to_string();
        let Some((namespace, _)) = self.ledger.next(&bundle) else {
            return;
        };
        let written = self.write(&namespace, &bundle).await;
        let result = if written { "success" } else { "failure" };
        metrics::counter!("mesh_root_publications_total", "result" => result).increment(1);
        self.ledger
            .tried(&namespace, Instant::now(), rand::random());
        if written {
            self.ledger.published(&namespace, Some(bundle));
        }
    }

    async fn write(&self, namespace: &str, bundle: &str) -> bool {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let config_map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "namespace": namespace,
                "labels": {"istio.io/config": "true"},
            },
            "data": {KEY: bundle},
        });
        let patch = Patch::Apply(&config_map);
        // Somebody else's value for our key would leave pods without the right root.
        let params = PatchParams::apply(MANAGER).force();
        let what = format!("write ConfigMap {namespace}/{NAME}");
        match within(what, api.patch(NAME, &params, &patch)).await {
            Ok(_) => {
                tracing::debug!(namespace, "published the roots");
                true
            }
            // The namespace is going or gone; its watch says so next.
            Err(failure) if failure.is_not_found() => false,
            Err(failure) if outage::told_of(&failure) => false,
            Err(failure) => {
                tracing::warn!(error = %failure,
                    "pods of this namespace cannot learn whom to trust; trying again");
                false
            }
        }
    }

    fn take_namespaces(&mut self, event: Watched<PartialObjectMeta<Namespace>>) {
        match event {
            Ok(Event::Init) => self.ledger.relist_namespaces(),
            Ok(Event::Apply(namespace) | Event::InitApply(namespace)) => {
                let terminating = namespace.metadata.deletion_timestamp.is_some();
                self.ledger.namespace(&namespace.name_any(), !terminating);
            }
            Ok(Event::Delete(namespace)) => self.ledger.namespace(&namespace.name_any(), false),
            Ok(Event::InitDone) => self.ledger.namespaces_listed(),
            Err(error) if outage::told(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot watch namespaces; new ones wait for the roots");
            }
        }
    }

    fn take_config_maps(&mut self, event: Watched<ConfigMap>) {
        match event {
            Ok(Event::Init) => self.ledger.relist_published(),
            Ok(Event::Apply(mut found) | Event::InitApply(mut found)) => {
                let value = found.data.take().and_then(|mut data| data.remove(KEY));
                let namespace = found.namespace().unwrap_or_default();
                self.ledger.published(&namespace, value);
            }
            Ok(Event::Delete(gone)) => {
                self.ledger
                    .published(&gone.namespace().unwrap_or_default(), None);
            }
            Ok(Event::InitDone) => self.ledger.published_listed(),
            Err(error) if outage::told(&error) => {}
            Err(error) => {
                tracing::warn!(%error,
                    "cannot watch the ConfigMaps {NAME}; changes to them are not repaired");
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
