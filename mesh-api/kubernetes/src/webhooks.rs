//! Keeps a webhook configuration trusting the server behind it.
//!
//! The API server calls a webhook only if it trusts its certificate: the roots stand in `caBundle`
//! of each webhook of the configuration. Whoever serves keeps them there: they change when a root
//! does, and somebody may overwrite them, for instance by applying a manifest without them. The
//! failure policy can be kept as well, for a webhook that may only be relied on once it serves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::ByteString;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use mesh_runtime::Backoff;
use mesh_runtime::drain::DrainWatch;
use mesh_runtime::readiness::Gate;
use serde_json::{Value, json};
use tokio::sync::watch as channel;
use tokio::time::Instant;

use crate::client::{ApiFailure, within};
use crate::outage;

/// The first and the longest step between two attempts to write.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// Roots that are too many are taken out after this long. Until then they are probably newer than
/// what this replica knows.
const SURPLUS: Duration = Duration::from_mins(1);

/// Which configuration, and who keeps it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether its webhooks change or check objects.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Who writes, as `managedFields` will say.
    pub manager: String,
    /// The webhook whose failure policy is left as it is, if there is one: what it checks must be
    /// reparable while nobody answers.
    pub lenient: Option<String>,
}

/// What the webhooks of a configuration do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They change objects.
    Mutating,
    /// They check objects.
    Validating,
}

/// How every webhook of the configuration should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The roots to trust, in PEM.
    pub bundle_pem: Arc<str>,
    /// What happens when the webhook does not answer; `None`: that is the user's to say.
    pub failure_policy: Option<FailurePolicy>,
}

/// What happens to an object whose webhook does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailurePolicy {
    /// It is let through.
    Ignore,
    /// It is refused.
    Fail,
}

impl Kind {
    fn resource(self) -> ApiResource {
        let (kind, plural) = match self {
            Self::Mutating => (
                "MutatingWebhookConfiguration",
                "mutatingwebhookconfigurations",
            ),
            Self::Validating => (
                "ValidatingWebhookConfiguration",
                "validatingwebhookconfigurations",
            ),
        };
        ApiResource {
            group: "admissionregistration.k8s.io".to_owned(),
            version: "v1".to_owned(),
            api_version: "admissionregistration.k8s.io/v1".to_owned(),
            kind: kind.to_owned(),
            plural: plural.to_owned(),
        }
    }
}

impl FailurePolicy {
    fn name(self) -> &'static str {
        match self {
            Self::Ignore => "Ignore",
            Self::Fail => "Fail",
        }
    }
}

/// Keeps the configuration as `wanted` says, until the drain begins. Opens `placed` once it has
/// been so for the first time.
///
/// A configuration that is not there is waited for, never created: which objects it concerns is
/// for whoever installs the mesh to say.
pub async fn keep(
    client: Client,
    settings: Settings,
    wanted: channel::Receiver<Wanted>,
    placed: Gate,
    drain: DrainWatch,
) {
    let resource = settings.kind.resource();
    let keeper = Keeper {
        api: Api::all_with(client, &resource),
        what: format!("{} {}", resource.kind, settings.name),
        settings,
        wanted,
        placed,
        seen: Seen::Unknown,
        surplus_since: None,
    };
    tokio::select! {
        () = drain.triggered() => {}
        () = keeper.run() => {}
    }
}

struct Keeper {
    api: Api<DynamicObject>,
    settings: Settings,
    what: String,
    wanted: channel::Receiver<Wanted>,
    placed: Gate,
    seen: Seen,
    surplus_since: Option<Instant>,
}

enum Seen {
    Unknown,
    Missing,
    There(Box<DynamicObject>),
}

/// What a configuration lacks.
#[derive(Debug, PartialEq)]
enum Lack {
    /// Nothing.
    Nothing,
    /// Nothing, but it trusts more roots than wanted.
    Surplus,
    /// Something.
    Something,
}

impl Keeper {
    async fn run(mut self) {
        let changes = watcher::watch_object(self.api.clone(), &self.settings.name);
        let mut changes = std::pin::pin!(changes.default_backoff());
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut again: Option<Instant> = None;
        loop {
            let timer = async {
                match again {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(change)) => self.see(change),
                    Some(Err(error)) => {
                        if !outage::told(&error) {
                            tracing::warn!(%error, "cannot watch {}; trying again", self.what);
                        }
                        continue;
                    }
                    None => std::future::pending().await,
                },
                changed = self.wanted.changed() => if changed.is_err() {
                    // Nobody wants anything any more.
                    return;
                },
                () = timer => {}
            }
            again = match self.repair().await {
                Ok(next) => {
                    backoff.reset();
                    next.map(|delay| Instant::now() + delay)
                }
                Err(failure) => {
                    let delay = backoff.next_delay(rand::random());
                    if !outage::told_of(&failure) {
                        tracing::warn!(error = %failure, retry_in = ?delay,
                            "the API server may not trust this webhook yet");
                    }
                    Some(Instant::now() + delay)
                }
            };
        }
    }

    fn see(&mut self, change: Option<DynamicObject>) {
        self.seen = if let Some(object) = change {
            Seen::There(Box::new(object))
        } else {
            tracing::warn!(
                "there is no {}: nothing is asked of this webhook. Repair it with `kubectl apply \
                 --server-side -f deploy/base/webhooks.yaml`, or by installing again",
                self.what
            );
            Seen::Missing
        };
    }

    /// Makes it as wanted; says when to look again.
    async fn repair(&mut self) -> Result<Option<Duration>, ApiFailure> {
        let Seen::There(object) = &self.seen else {
            return Ok(None);
        };
        let wanted = self.wanted.borrow_and_update().clone();
        let (webhooks, lack) = repaired(object, &wanted, self.settings.lenient.as_deref());
        match lack {
            Lack::Nothing => {
                self.surplus_since = None;
                self.placed.open();
                return Ok(None);
            }
            Lack::Surplus => {
                self.placed.open();
                let since = *self.surplus_since.get_or_insert_with(Instant::now);
                let left = SURPLUS.saturating_sub(since.elapsed());
                if !left.is_zero() {
                    return Ok(Some(left));
                }
            }
            Lack::Something => {}
        }
        self.surplus_since = None;
        // With its version, so that a change made meanwhile is seen first and not lost.
        let patch = json!({
            "metadata": { "resourceVersion": object.resource_version() },
            "webhooks": webhooks,
        });
        let parameters = PatchParams {
            field_manager: Some(self.settings.manager.clone()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(&patch);
        let patching = self.api.patch(&self.settings.name, &parameters, &patch);
        match within(format!("patch {}", self.what), patching).await {
            Ok(object) => {
                tracing::info!("{} trusts this server's roots", self.what);
                self.seen = Seen::There(Box::new(object));
                self.placed.open();
                Ok(None)
            }
            // The watch brings what it is now.
            Err(failure) if failure.is_conflict() => Ok(Some(RETRY.0)),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// The webhooks as they should be, and whether that is another thing than they are.
fn repaired(object: &DynamicObject, wanted: &Wanted, lenient: Option<&str>) -> (Vec<Value>, Lack) {
    let bundle = json!(ByteString(wanted.bundle_pem.as_bytes().to_vec()));
    let roots = certificates(&wanted.bundle_pem);
    let mut lack = Lack::Nothing;
    let mut webhooks: Vec<Value> = object
        .data
        .get("webhooks")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    for webhook in webhooks.iter_mut().filter_map(Value::as_object_mut) {
        let name = webhook.get("name").and_then(Value::as_str);
        let left_alone = lenient.is_some() && name == lenient;
        if let Some(policy) = wanted.failure_policy.filter(|_| !left_alone) {
            let policy = json!(policy.name());
            if webhook.get("failurePolicy") != Some(&policy) {
                webhook.insert("failurePolicy".to_owned(), policy);
                lack = Lack::Something;
            }
        }
        let config = webhook.entry("clientConfig").or_insert_with(|| json!({}));
        let trusted = config.get("caBundle").map(decoded).unwrap_or_default();
        let trusted = certificates(&trusted);
        if trusted == roots {
            continue;
        }
        if !trusted.is_superset(&roots) {
            lack = Lack::Something;
        } else if lack == Lack::Nothing {
            lack = Lack::Surplus;
        }
        if let Value::Object(config) = config {
            config.insert("caBundle".to_owned(), bundle.clone());
        }
    }
    (webhooks, lack)
}

fn decoded(bundle: &Value) -> String {
    let bytes: Result<ByteString, _> = serde_json::from_value(bundle.clone());
    // What is not base64 is no bundle, and is replaced.
    bytes
        .map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned())
        .unwrap_or_default()
}

/// The certificates of a bundle, whatever stands around and in between.
fn certificates(pem: &str) -> BTreeSet<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    pem.split(BEGIN)
        .skip(1)
        .filter_map(|block| block.split_once(END))
        .map(|(body, _)| body.split_whitespace().collect())
        .collect()
}

#[cfg(test)]
mod tests;
