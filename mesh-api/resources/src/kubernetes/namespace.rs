//! A Kubernetes Namespace: only its labels matter, and those are in the metadata of the resource.

use k8s_openapi::api::core::v1::Namespace;

/// A Namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeNamespace {
    /// Whether it is being deleted.
    pub terminating: bool,
}

impl KubeNamespace {
    /// Converts.
    pub(crate) fn from_kubernetes(namespace: &Namespace) -> Self {
        Self {
            terminating: namespace.metadata.deletion_timestamp.is_some()
                || namespace
                    .status
                    .as_ref()
                    .and_then(|status| status.phase.as_deref())
                    == Some("Terminating"),
        }
    }
}
