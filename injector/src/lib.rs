//! Which pods get a sidecar, and why: the decision as a pure function over plain values, so that
//! the webhook and the command line answer alike and every case fits in a table of tests.
//!
//! There is no webhook yet. It comes with the deployment on Kubernetes, together with the patch
//! that adds the containers; until then nothing here talks to a cluster or changes a pod.
//!
//! - [`decide`](decide::decide): namespace, pod and settings in, a [`Decision`] with its reason out
//! - [`warnings`](warnings::warnings): what the user wrote that has no effect
//! - [`names`]: every label and annotation we know
//! - [`Selector`]: Kubernetes label selectors

pub mod decide;
pub mod names;
mod selector;
pub mod warnings;

use std::collections::{BTreeMap, BTreeSet};

pub use decide::{Decision, InjectReason, SkipReason};
pub use selector::{Operator, Requirement, Selector};

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
}

/// What happens to a pod that nothing else decides about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Policy {
    /// It gets a sidecar.
    #[default]
    Enabled,
    /// It gets one only if it asks.
    Disabled,
}

/// How this injector is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The revision this injector belongs to.
    pub revision: String,
    /// Other names of this revision. Whoever has the name `default` answers for namespaces and
    /// pods that name no revision.
    pub tags: BTreeSet<String>,
    /// Where the control plane and this injector run.
    pub control_plane_namespace: String,
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
            control_plane_namespace: "istio-system".to_owned(),
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
