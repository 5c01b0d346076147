//! Looks for pods that should have a sidecar and have none: they were created while their namespace
//! was not enabled yet, or while the webhook was not there. And for pods whose proxy is of another
//! image than new ones get.
//!
//! They are reported: a number, a page, a line in the log and an event at what owns them. Nothing
//! is restarted from here, because that is for whoever runs the workload to decide.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, ResourceExt};
use mesh_kubernetes::client::{ApiFailure, within};
use mesh_kubernetes::outage;
use mesh_runtime::drain::DrainWatch;
use metrics::gauge;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch as channel;

use super::MANAGER;
use super::namespaces::Followed;
use crate::names::PROXY_CONTAINER;
use crate::{Configuration, Decision, Namespace, SkipReason, decide, draft};

/// Pods in one answer.
const PAGE: u32 = 250;
/// Events written in one round at most.
const EVENTS: usize = 20;

const MISSING: &str = "sidecar_injection_missing_pods";
const OUTDATED: &str = "sidecar_injection_outdated_pods";

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Report {
    /// Pods that should have a sidecar and have none.
    pub missing: Vec<Found>,
    /// Pods whose proxy is of another image than new ones get.
    pub outdated: Vec<Found>,
    /// Namespaces whose label for injection has a value without a meaning, so that nothing in them
    /// gets a sidecar.
    pub mislabelled: Vec<Found>,
}

/// One pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Found {
    /// Its namespace.
    pub namespace: String,
    /// Its name; empty for a namespace.
    pub pod: String,
    /// What controls it, as `Kind/name`; nothing for a pod that stands alone.
    pub owner: Option<String>,
    /// Why it is here.
    pub why: String,
    #[serde(skip)]
    reference: ObjectReference,
}

/// Looks every so often, until the drain begins.
pub(super) fn follow(
    client: Client,
    configuration: channel::Receiver<Arc<Configuration>>,
    namespaces: Followed,
    every: Duration,
    drain: DrainWatch,
) -> channel::Receiver<Arc<Report>> {
    let (sender, receiver) = channel::channel(Arc::default());
    tokio::spawn(async move {
        let looking = async {
            let mut told = BTreeSet::new();
            loop {
                tokio::time::sleep(every).await;
                let configuration = Arc::clone(&configuration.borrow());
                match look(&client, &configuration, &namespaces.all()).await {
                    Ok(report) => {
                        tell(&client, &report, &mut told).await;
                        sender.send_replace(Arc::new(report));
                    }
                    Err(failure) if outage::told_of(&failure) => {}
                    Err(failure) => tracing::warn!(error = %failure,
                        "cannot look for pods that missed injection"),
                }
            }
        };
        tokio::select! {
            () = drain.triggered() => {}
            () = looking => {}
        }
    });
    receiver
}

/// Looks at every pod of the namespaces where some should have a sidecar.
pub async fn look(
    client: &Client,
    configuration: &Configuration,
    namespaces: &[Namespace],
) -> Result<Report, ApiFailure> {
    let mut report = Report::default();
    for namespace in namespaces {
        report
            .mislabelled
            .extend(mislabelled(configuration, namespace));
        if !may_have_sidecars(configuration, namespace) {
            continue;
        }
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace.name);
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let what = format!("list pods of namespace {}", namespace.name);
            let answer = within(what, api.list(&page)).await?;
            for pod in &answer.items {
                examine(configuration, namespace, pod, &mut report);
            }
            match answer.metadata.continue_ {
                Some(next) if !next.is_empty() => page = page.continue_token(&next),
                _ => break,
            }
        }
    }
    Ok(report)
}

/// Whether a pod that says nothing gets a sidecar there. Pods that ask by themselves elsewhere are
/// not looked for: that would mean to read every pod of the cluster.
fn may_have_sidecars(configuration: &Configuration, namespace: &Namespace) -> bool {
    let any = crate::Pod::default();
    let decision = decide::decide(&configuration.settings, namespace, &any);
    match decision {
        Decision::Inject { .. } => true,
        Decision::Skip { reason } => matches!(reason, SkipReason::PolicyDisabled),
    }
}

/// The namespace, if its label for injection has a value without a meaning. The API server asks
/// about no pod there, so nobody but this look can tell.
fn mislabelled(configuration: &Configuration, namespace: &Namespace) -> Option<Found> {
    let any = crate::Pod::default();
    let Decision::Skip {
        reason: reason @ SkipReason::NamespaceValue(_),
    } = decide::decide(&configuration.settings, namespace, &any)
    else {
        return None;
    };
    let name = &namespace.name;
    Some(Found {
        namespace: name.clone(),
        pod: String::new(),
        owner: Some(format!("Namespace/{name}")),
        why: format!("no pod gets a sidecar: {reason}"),
        reference: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Namespace".to_owned()),
            name: Some(name.clone()),
            // Where whoever looks for the sidecars looks for events.
            namespace: Some(name.clone()),
            ..ObjectReference::default()
        },
    })
}

fn examine(configuration: &Configuration, namespace: &Namespace, pod: &Pod, report: &mut Report) {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let ended = matches!(phase, Some("Succeeded" | "Failed"));
    // A pod that a kubelet reads from its disk never met a webhook.
    let mirror = pod
        .annotations()
        .contains_key("kubernetes.io/config.mirror");
    if ended || mirror || pod.metadata.deletion_timestamp.is_some() {
        return;
    }
    let Ok(value) = serde_json::to_value(pod) else {
        return;
    };
    let seen = crate::Pod::of(&value);
    match decide::decide(&configuration.settings, namespace, &seen) {
        Decision::Inject { reason } => report.missing.push(found(
            pod,
            format!("it has no sidecar although {reason}; restart it to add one"),
        )),
        Decision::Skip {
            reason: SkipReason::AlreadyInjected,
        } => {
            let chosen = "sidecar.istio.io/proxyImage";
            let wanted = seen.annotations.get(chosen).cloned();
            let wanted = wanted.unwrap_or_else(|| configuration.values.proxy_image());
            let image = proxy_image(&value);
            if image.is_some_and(|image| image != wanted) {
                let image = image.unwrap_or_default();
                let why = format!("its proxy is {image}, and new pods get {wanted}");
                report.outdated.push(found(pod, why));
            }
        }
        Decision::Skip { .. } => {}
    }
}

fn proxy_image(pod: &Value) -> Option<&str> {
    let spec = pod.get("spec")?;
    ["initContainers", "containers"]
        .iter()
        .flat_map(|list| draft::elements(spec, list))
        .find(|container| draft::name(container) == PROXY_CONTAINER)
        .map(|container| draft::text(container, "image"))
}

fn found(pod: &Pod, why: String) -> Found {
    let namespace = pod.namespace().unwrap_or_default();
    let controller = pod
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true));
    let reference = match controller {
        Some(OwnerReference {
            api_version,
            kind,
            name,
            uid,
            ..
        }) => ObjectReference {
            api_version: Some(api_version.clone()),
            kind: Some(kind.clone()),
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        },
        None => ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: Some(namespace.clone()),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        },
    };
    Found {
        namespace,
        pod: pod.name_any(),
        owner: controller.map(|owner| format!("{}/{}", owner.kind, owner.name)),
        why,
        reference,
    }
}

/// Says what was found: all of it as numbers, what is new as lines and events.
async fn tell(client: &Client, report: &Report, told: &mut BTreeSet<(String, String)>) {
    #[expect(clippy::cast_precision_loss, reason = "there are not that many pods")]
    {
        gauge!(MISSING).set(report.missing.len() as f64);
        gauge!(OUTDATED).set(report.outdated.len() as f64);
    }
    let key = |found: &Found| {
        let owner = found.owner.clone();
        let owner = owner.unwrap_or_else(|| format!("Pod/{}", found.pod));
        (found.namespace.clone(), owner)
    };
    let news = || report.mislabelled.iter().chain(&report.missing);
    let current: BTreeSet<_> = news().map(key).collect();
    told.retain(|known| current.contains(known));
    let mut left = EVENTS;
    for found in news() {
        let (namespace, owner) = key(found);
        if left == 0 || !told.insert((namespace.clone(), owner.clone())) {
            continue;
        }
        left -= 1;
        tracing::warn!(
            namespace,
            owner,
            pod = found.pod,
            "missed injection: {}",
            found.why
        );
        if let Err(failure) = write_event(client, found).await {
            tracing::warn!(error = %failure, "the event about it could not be written");
        }
    }
}

/// Writes an event whose name follows from what it is about, so that several replicas write one.
async fn write_event(client: &Client, found: &Found) -> Result<(), ApiFailure> {
    let now = Time(jiff::Timestamp::now());
    let about = &found.reference;
    let event = Event {
        metadata: ObjectMeta {
            name: Some(event_name(about)),
            namespace: Some(found.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: about.clone(),
        type_: Some("Warning".to_owned()),
        reason: Some("MissedInjection".to_owned()),
        message: Some(match found.pod.as_str() {
            "" => found.why.clone(),
            pod => format!("pod {pod}: {}", found.why),
        }),
        source: Some(EventSource {
            component: Some(MANAGER.to_owned()),
            host: None,
        }),
        reporting_component: Some(MANAGER.to_owned()),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now),
        count: Some(1),
        ..Event::default()
    };
    let api: Api<Event> = Api::namespaced(client.clone(), &found.namespace);
    let what = format!("write an event in namespace {}", found.namespace);
    match within(what, api.create(&PostParams::default(), &event)).await {
        Ok(_) => Ok(()),
        // Another replica, or an earlier life of this one, has said it already.
        Err(failure) if failure.is_conflict() => Ok(()),
        Err(failure) => Err(failure),
    }
}

fn event_name(about: &ObjectReference) -> String {
    let name = about.name.as_deref().unwrap_or("pod");
    let uid = about.uid.as_deref().unwrap_or_default();
    let uid: String = uid.chars().filter(char::is_ascii_alphanumeric).collect();
    let short: String = name.chars().take(180).collect();
    let name = format!("{short}.missed-injection.{uid}");
    name.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use mesh_api::mesh_config::MeshConfig;

    use super::*;
    use crate::{ClusterVersion, Home, Values};

    #[test]
    fn a_namespace_with_a_label_nobody_knows_is_found() {
        let values = Values::default();
        let (mesh, home) = (MeshConfig::default(), Home::default());
        let configuration = Configuration::new(values, mesh, ClusterVersion::CURRENT, home);
        for (value, expected) in [("enabled", false), ("disabled", false), ("true", true)] {
            let namespace = Namespace {
                name: "shop".to_owned(),
                labels: [("istio-injection".to_owned(), value.to_owned())].into(),
            };
            let found = mislabelled(&configuration, &namespace);
            assert_eq!(found.is_some(), expected, "{value}");
            if let Some(found) = found {
                assert!(found.why.contains("istio-injection=true"), "{}", found.why);
                assert_eq!(event_name(&found.reference), "shop.missed-injection");
            }
        }
    }
}
