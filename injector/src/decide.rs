//! The decision: does this pod get a sidecar from this injector, and why.
//!
//! Two questions in this order, as on a cluster. *Is the pod ours?* is what the webhook's
//! selectors ask: labels of the namespace, then of the pod. *Does it want one?* is asked of pods
//! that are ours: host network, the pod's own word, selectors, policy. A namespace that says
//! `disabled` is final, and nothing makes a namespace of Kubernetes itself ours.

use std::fmt;

use crate::names::{DEFAULT_REVISION, INJECT, INJECTION, REVISION, SYSTEM_NAMESPACES};
use crate::{Labels, Namespace, Pod, Policy, Settings};

/// Whether a pod gets a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It does.
    Inject {
        /// Why.
        reason: InjectReason,
    },
    /// It does not.
    Skip {
        /// Why not.
        reason: SkipReason,
    },
}

/// Why a pod gets a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectReason {
    /// The namespace is enabled.
    NamespaceEnabled,
    /// The namespace names our revision.
    NamespaceRevision,
    /// Namespaces count as enabled by default.
    NamespacesByDefault,
    /// The pod asks for one.
    PodAsks,
    /// The pod asks for one by annotation.
    PodAnnotation,
    /// The pod names our revision.
    PodRevision,
    /// The pod is selected by the always-inject selectors.
    AlwaysSelected,
}

/// Why a pod gets no sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SkipReason {
    /// The namespace belongs to Kubernetes.
    SystemNamespace,
    /// The namespace is disabled.
    NamespaceDisabled,
    /// The namespace's injection label has a value without a meaning.
    NamespaceValue(String),
    /// It belongs to another revision.
    OtherRevision(String),
    /// Neither the namespace nor the pod asks for one.
    NobodyAsks,
    /// The control plane runs in this namespace and the pod does not ask for one itself.
    ControlPlaneNamespace,
    /// The injector runs in this namespace.
    InjectorNamespace,
    /// The pod uses the network of its node, which is not ours to redirect.
    HostNetwork,
    /// The pod is for Windows, which the proxy does not run on.
    Windows,
    /// The pod refuses by label.
    LabelRefuses,
    /// The pod refuses by annotation.
    AnnotationRefuses,
    /// The pod is selected by the never-inject selectors.
    NeverSelected,
    /// The policy is disabled and the pod does not ask.
    PolicyDisabled,
    /// The pod has its sidecar already.
    AlreadyInjected,
}

/// Decides about one pod.
pub fn decide(settings: &Settings, namespace: &Namespace, pod: &Pod) -> Decision {
    match ours(settings, namespace, pod).and_then(|reason| wanted(settings, pod, reason)) {
        Ok(_) if pod.injected => Decision::Skip {
            reason: SkipReason::AlreadyInjected,
        },
        Ok(reason) => Decision::Inject { reason },
        Err(reason) => Decision::Skip { reason },
    }
}

/// Is the pod ours? Answers from the namespace and from what the pod says about injection alone.
fn ours(settings: &Settings, namespace: &Namespace, pod: &Pod) -> Result<InjectReason, SkipReason> {
    if SYSTEM_NAMESPACES.contains(&namespace.name.as_str()) {
        return Err(SkipReason::SystemNamespace);
    }
    // Nothing waits for the injector where it must start itself.
    if namespace.name == settings.home.injector {
        return Err(SkipReason::InjectorNamespace);
    }
    let injection = value(&namespace.labels, INJECTION);
    if injection == Some("disabled") {
        return Err(SkipReason::NamespaceDisabled);
    }
    // The control plane must be able to start while its own webhook is down.
    if namespace.name == settings.home.control_plane && !pod.asks() {
        return Err(SkipReason::ControlPlaneNamespace);
    }
    let (revision, reason) = match (injection, value(&namespace.labels, REVISION)) {
        // Where a namespace has both labels, this one wins.
        (Some("enabled"), _) => (DEFAULT_REVISION, InjectReason::NamespaceEnabled),
        (Some(other), _) => return Err(SkipReason::NamespaceValue(other.to_owned())),
        (None, Some(revision)) => (revision, InjectReason::NamespaceRevision),
        (None, None) => match value(&pod.labels, REVISION) {
            Some(revision) => (revision, InjectReason::PodRevision),
            None if value(&pod.labels, INJECT) == Some("true") => {
                (DEFAULT_REVISION, InjectReason::PodAsks)
            }
            None if pod.asks() => (DEFAULT_REVISION, InjectReason::PodAnnotation),
            None if settings.enable_namespaces_by_default => {
                (DEFAULT_REVISION, InjectReason::NamespacesByDefault)
            }
            None => return Err(SkipReason::NobodyAsks),
        },
    };
    if !settings.answers_to(revision) {
        return Err(SkipReason::OtherRevision(revision.to_owned()));
    }
    Ok(reason)
}

/// Does a pod that is ours want a sidecar? The label beats the annotation of the same name; a
/// value other than `true` and `false` counts as none (and is warned about).
fn wanted(settings: &Settings, pod: &Pod, ours: InjectReason) -> Result<InjectReason, SkipReason> {
    if pod.host_network {
        return Err(SkipReason::HostNetwork);
    }
    if pod.windows {
        return Err(SkipReason::Windows);
    }
    let label = value(&pod.labels, INJECT);
    match (label, value(&pod.annotations, INJECT)) {
        (Some("false"), _) => return Err(SkipReason::LabelRefuses),
        (None, Some("false")) => return Err(SkipReason::AnnotationRefuses),
        (Some("true"), _) | (None, Some("true")) => return Ok(ours),
        (Some(_) | None, _) => {}
    }
    let selected = |selectors: &[crate::Selector]| {
        selectors
            .iter()
            .any(|selector| selector.matches(&pod.labels))
    };
    if selected(&settings.never_inject) {
        return Err(SkipReason::NeverSelected);
    }
    if selected(&settings.always_inject) {
        return Ok(InjectReason::AlwaysSelected);
    }
    match settings.policy {
        Policy::Enabled => Ok(ours),
        Policy::Disabled => Err(SkipReason::PolicyDisabled),
    }
}

pub(crate) fn value<'l>(labels: &'l Labels, name: &str) -> Option<&'l str> {
    labels.get(name).map(String::as_str)
}

impl fmt::Display for InjectReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NamespaceEnabled => write!(out, "the namespace has {INJECTION}=enabled"),
            Self::NamespaceRevision => {
                write!(out, "the namespace's {REVISION} names this revision")
            }
            Self::NamespacesByDefault => out.write_str("namespaces are enabled by default"),
            Self::PodAsks => write!(out, "the pod has the label {INJECT}=true"),
            Self::PodAnnotation => write!(out, "the pod has the annotation {INJECT}=true"),
            Self::PodRevision => write!(out, "the pod's {REVISION} names this revision"),
            Self::AlwaysSelected => out.write_str("an always-inject selector matches the pod"),
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SystemNamespace => out.write_str("the namespace belongs to Kubernetes itself"),
            Self::NamespaceDisabled => write!(out, "the namespace has {INJECTION}=disabled"),
            Self::NamespaceValue(value) => {
                write!(
                    out,
                    "the namespace has {INJECTION}={value}; use enabled or disabled"
                )
            }
            Self::OtherRevision(revision) => write!(out, "it belongs to revision {revision}"),
            Self::NobodyAsks => write!(
                out,
                "neither the namespace ({INJECTION}=enabled) nor the pod ({INJECT}=true) asks"
            ),
            Self::ControlPlaneNamespace => write!(
                out,
                "the control plane runs in this namespace; a pod there must ask with {INJECT}=true"
            ),
            Self::InjectorNamespace => out.write_str("the injector itself runs in this namespace"),
            Self::HostNetwork => out.write_str("the pod uses the network of its node"),
            Self::Windows => out.write_str("the pod is for Windows nodes"),
            Self::AlreadyInjected => out.write_str("the pod has its sidecar already"),
            Self::LabelRefuses => write!(out, "the pod has the label {INJECT}=false"),
            Self::AnnotationRefuses => write!(out, "the pod has the annotation {INJECT}=false"),
            Self::NeverSelected => out.write_str("a never-inject selector matches the pod"),
            Self::PolicyDisabled => {
                write!(
                    out,
                    "the policy is disabled and the pod does not ask with {INJECT}=true"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
