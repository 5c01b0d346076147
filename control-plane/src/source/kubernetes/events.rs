//! Tells about the mesh's settings where operators look first: in the events of the ConfigMap
//! they stand in and of the control plane's Deployment.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::Api;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Client, Resource, ResourceExt};
use tokio::time::timeout;

use super::Settings;
use super::reconcile::Reconciler;
use crate::crd::problem::{Problem, Severity};

/// How long the API server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest note of an event, in bytes; the API allows a little more.
const LONGEST: usize = 1000;

/// Publishes events about the settings, each once.
#[derive(Clone)]
pub(super) struct Herald {
    client: Client,
    recorder: Recorder,
    namespace: String,
    config_map: String,
    deployment: String,
    told: String,
}

impl Herald {
    pub(super) fn new(client: Client, settings: &Settings, deployment: &str) -> Self {
        Self {
            recorder: Recorder::new(client.clone(), Reporter::from(deployment)),
            client,
            namespace: settings.root_namespace.clone(),
            config_map: settings.mesh_config.clone(),
            deployment: deployment.to_owned(),
            told: String::new(),
        }
    }

    /// Publishes what there is to say about the settings, unless it was said already.
    pub(super) fn tell(&mut self, reconciler: &Reconciler) {
        let reading = reconciler.settings();
        let not_acted_on = reading.map_or(&[][..], |reading| &reading.not_acted_on);
        let problems = reconciler.settings_problems();
        let note = note(not_acted_on, problems);
        if note == self.told {
            return;
        }
        self.told.clone_from(&note);
        if note.is_empty() {
            return;
        }
        let herald = self.clone();
        let uid = reconciler.settings_uid().map(str::to_owned);
        // The events are a courtesy: nothing waits for them.
        tokio::spawn(async move { herald.publish(note, uid).await });
    }

    /// `uid`: of the ConfigMap, if there is one.
    async fn publish(self, note: String, uid: Option<String>) {
        let event = Event {
            type_: EventType::Warning,
            reason: "MeshConfigNotFullyApplied".to_owned(),
            note: Some(note),
            action: "ReadMeshConfig".to_owned(),
            secondary: None,
        };
        let config_map = uid.map(|uid| ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("ConfigMap".to_owned()),
            name: Some(self.config_map.clone()),
            namespace: Some(self.namespace.clone()),
            uid: Some(uid),
            ..ObjectReference::default()
        });
        let deployment = self.deployment().await;
        for reference in config_map.into_iter().chain([deployment]) {
            let published = timeout(PATIENCE, self.recorder.publish(&event, &reference)).await;
            let failure = match published {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => "no answer in time".to_owned(),
            };
            let kind = reference.kind.unwrap_or_default();
            tracing::warn!(
                error = failure,
                "the event for the {kind} was not published"
            );
        }
    }

    /// The Deployment, with its UID where that can be found out: without it tools do not show the
    /// event with the object.
    async fn deployment(&self) -> ObjectReference {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), &self.namespace);
        let uid = match timeout(PATIENCE, api.get_metadata(&self.deployment)).await {
            Ok(Ok(found)) => found.uid(),
            Ok(Err(_)) | Err(_) => None,
        };
        ObjectReference {
            api_version: Some(Deployment::api_version(&()).into_owned()),
            kind: Some(Deployment::kind(&()).into_owned()),
            name: Some(self.deployment.clone()),
            namespace: Some(self.namespace.clone()),
            uid,
            ..ObjectReference::default()
        }
    }
}

fn note(not_acted_on: &[String], problems: &[Problem]) -> String {
    let mut parts = Vec::new();
    let wrong = problems.iter().filter(|one| one.severity != Severity::Info);
    let wrong: Vec<String> = wrong.map(ToString::to_string).collect();
    if !wrong.is_empty() {
        parts.push(wrong.join("; "));
    }
    if !not_acted_on.is_empty() {
        parts.push(format!(
            "accepted, but not acted on: {}",
            not_acted_on.join(", ")
        ));
    }
    let mut note = parts.join(". ");
    if note.len() > LONGEST {
        let mut end = LONGEST;
        while !note.is_char_boundary(end) {
            end -= 1;
        }
        note.truncate(end);
        note.push_str("… (all of it: /debug/diagnostics)");
    }
    note
}
