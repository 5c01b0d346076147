//! What a source reports, and what of the compiled configuration that concerns.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh_api::name::EndpointsName;
use mesh_api::workload::WorkloadId;

use crate::crd::Object;
use crate::meta::ObjectKey;
use crate::source;

/// One change of the inputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An object is there, in this form.
    Set(Object),
    /// An object is gone.
    Remove(ObjectKey),
    /// An object is there, but no version of it could ever be read. A security policy in this
    /// state denies: nobody knows what it protects.
    Unreadable(ObjectKey),
}

impl Change {
    /// Which object it is about.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Set(object) => object.key(),
            Self::Remove(key) | Self::Unreadable(key) => key,
        }
    }
}

impl From<source::Change> for Change {
    fn from(change: source::Change) -> Self {
        match change {
            source::Change::Applied(object) => Self::Set(object),
            source::Change::Removed(key) => Self::Remove(key),
            source::Change::Refused(key) => Self::Unreadable(key),
        }
    }
}

/// What changes of the inputs may have altered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affected {
    /// Listeners, routes, clusters or policies of any proxy.
    pub config: bool,
    /// Endpoint sets whose content may be different, or that came or went.
    pub endpoints: BTreeSet<EndpointsName>,
    /// Workloads that came, went or changed: the scopes of their proxies are no longer right.
    pub workloads: BTreeSet<WorkloadId>,
    /// Addresses whose `workload/…` resource may be different.
    pub addresses: BTreeSet<IpAddr>,
}

impl Affected {
    /// Adds what another change altered.
    pub fn merge(&mut self, other: Self) {
        self.config |= other.config;
        self.endpoints.extend(other.endpoints);
        self.workloads.extend(other.workloads);
        self.addresses.extend(other.addresses);
    }

    /// Whether nothing was altered.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether endpoint sets are all that was altered, so that proxies need nothing else.
    pub fn endpoints_only(&self) -> bool {
        !self.config && self.workloads.is_empty() && !self.endpoints.is_empty()
    }
}
