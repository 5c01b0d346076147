//! Which pods get a sidecar, and the sidecar itself: a pure library that the webhook, the command
//! line and any other tool call alike, and the [`server`] around it.
//!
//! - [`decide`](decide::decide): namespace, pod and settings in, a [`Decision`] with its reason out
//! - [`inject`](inject::inject): a pod in, the same pod with its sidecar out, or a [`Refusal`]
//! - [`documents`]: the same for the workloads in a file
//! - [`review`]: the same for what an API server asks
//! - [`Configuration`]: what all of them depend on; [`values`] is the installation's part
//! - [`warnings`](warnings::warnings): what the user wrote that has no effect
//! - [`names`]: every label and annotation we know
//! - [`Selector`]: Kubernetes label selectors

mod bypass;
pub mod configuration;
mod custom;
pub mod decide;
pub mod documents;
mod draft;
mod identity;
pub mod inject;
pub mod names;
mod options;
mod probes;
mod redirect;
mod refusal;
pub mod review;
mod scrape;
mod selector;
pub mod server;
mod sidecar;
pub mod values;
pub mod warnings;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use configuration::{ClusterVersion, Configuration};
pub use decide::{Decision, InjectReason, SkipReason};
pub use inject::{Outcome, Workload, inject};
pub use refusal::Refusal;
pub use selector::{Operator, Requirement, Selector};
pub use values::Values;

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

/// What the decision needs to know of a namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
}

/// What the decision needs to know of a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// Whether it uses the network of its node.
    pub host_network: bool,
    /// Whether it is for Windows.
    pub windows: bool,
    /// Whether it has its sidecar already.
    pub injected: bool,
}

impl Pod {
    /// What is to be seen of a pod.
    pub fn of(pod: &Value) -> Self {
        let texts = |key: &str| {
            let object = pod.get("metadata").and_then(|metadata| metadata.get(key));
            object
                .and_then(Value::as_object)
                .map(draft::texts)
                .unwrap_or_default()
        };
        let none = Value::Null;
        let spec = pod.get("spec").unwrap_or(&none);
        let annotations = texts("annotations");
        let os = spec.get("os").map(draft::name);
        let selected = spec.get("nodeSelector");
        let selected = selected.map(|labels| draft::text(labels, "kubernetes.io/os"));
        Self {
            labels: texts("labels"),
            host_network: spec.get("hostNetwork") == Some(&Value::Bool(true)),
            windows: [os, selected].contains(&Some("windows")),
            injected: annotations.contains_key(names::STATUS) && has_proxy(spec),
            annotations,
        }
    }

    /// Whether its author asks for a sidecar on this very pod. The label beats the annotation of
    /// the same name.
    pub fn asks(&self) -> bool {
        let said = decide::value(&self.labels, names::INJECT);
        said.or_else(|| decide::value(&self.annotations, names::INJECT)) == Some("true")
    }
}

/// Whether the proxy runs in a pod. An annotation that was copied along does not make one, nor
/// does a container that only says what shall be different about it.
fn has_proxy(spec: &Value) -> bool {
    let all = ["initContainers", "containers"];
    all.iter()
        .flat_map(|list| draft::elements(spec, list))
        .any(|one| {
            draft::name(one) == names::PROXY_CONTAINER && !draft::elements(one, "args").is_empty()
        })
}

/// What happens to a pod that nothing else decides about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// It gets a sidecar.
    #[default]
    Enabled,
    /// It gets one only if it asks.
    Disabled,
}

/// Where the mesh itself runs. Two namespaces, so that the control plane, which may write in its
/// own, decides about no pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Where the control plane and the mesh's settings are.
    pub control_plane: String,
    /// Where the injector, its authority and the values it reads are.
    pub injector: String,
}

impl Default for Home {
    fn default() -> Self {
        Self {
            control_plane: names::CONTROL_PLANE_NAMESPACE.to_owned(),
            injector: names::INJECTOR_NAMESPACE.to_owned(),
        }
    }
}

/// How this injector is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The revision this injector belongs to.
    pub revision: String,
    /// Other names of this revision. Whoever has the name `default` answers for namespaces and
    /// pods that name no revision.
    pub tags: BTreeSet<String>,
    /// Where the mesh itself runs.
    pub home: Home,
    /// Whether namespaces that say nothing count as enabled.
    pub enable_namespaces_by_default: bool,
    /// What happens to a pod of a chosen namespace that nothing else decides about.
    pub policy: Policy,
    /// Pods that get no sidecar unless they ask.
    pub never_inject: Vec<Selector>,
    /// Pods that get a sidecar although the policy is disabled.
    pub always_inject: Vec<Selector>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            revision: names::DEFAULT_REVISION.to_owned(),
            tags: BTreeSet::new(),
            home: Home::default(),
            enable_namespaces_by_default: false,
            policy: Policy::Enabled,
            never_inject: Vec::new(),
            always_inject: Vec::new(),
        }
    }
}

impl Settings {
    /// Whether a revision label with this value means us.
    pub fn answers_to(&self, revision: &str) -> bool {
        self.revision == revision || self.tags.contains(revision)
    }
}
