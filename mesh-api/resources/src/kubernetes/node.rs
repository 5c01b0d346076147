//! A Kubernetes Node: only its labels matter, and those are in the metadata of the resource.

/// A Node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KubeNode;
