//! The kinds of Kubernetes we read, cut down to what a model of the mesh needs.
//!
//! They are read with the full Kubernetes types, so that a malformed object is noticed, and then
//! converted, so that the rest of the control plane does not depend on those types.

pub mod endpoint_slice;
pub mod namespace;
pub mod node;
pub mod pod;
pub mod service;

pub use endpoint_slice::{KubeEndpointSlice, SliceEndpoint, SlicePort, TargetRef};
pub use namespace::KubeNamespace;
pub use node::KubeNode;
pub use pod::{ContainerPort, KubePod, Owner};
pub use service::{AppPort, KubeService, KubeServicePort, Preferences, ServiceType};

/// The transport of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    #[default]
    Tcp,
    /// UDP, which the mesh leaves alone.
    Udp,
    /// SCTP, which the mesh leaves alone.
    Sctp,
}

impl Transport {
    /// Reads the name Kubernetes uses; absent is TCP.
    fn read(name: Option<&str>) -> Result<Self, String> {
        match name {
            None | Some("" | "TCP") => Ok(Self::Tcp),
            Some("UDP") => Ok(Self::Udp),
            Some("SCTP") => Ok(Self::Sctp),
            Some(other) => Err(format!("{other:?} is not a protocol; use TCP, UDP or SCTP")),
        }
    }
}

/// A port number from a Kubernetes object.
fn port_number(number: i32) -> Result<u16, String> {
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("{number} is not a port; use 1 to 65535"))
}
