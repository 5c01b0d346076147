//! What sources report, and what of the compiled configuration that concerns.

use std::collections::BTreeSet;
use std::net::IpAddr;

use mesh_api::name::EndpointsName;
use mesh_api::workload::WorkloadId;

use crate::crd::{Kind, Object, Selects};
use crate::meta::ObjectKey;

/// What happened to one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is new, or it is different now.
    Applied(Object),
    /// It is gone.
    Removed(ObjectKey),
    /// It is there, but no version of it could ever be read, so there is nothing to fall back to.
    /// A security policy in this state denies at the workloads it says it is for.
    Refused(ObjectKey, Selects),
}

impl Change {
    /// Which object this is about.
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Applied(object) => object.key(),
            Self::Removed(key) | Self::Refused(key, _) => key,
        }
    }

    /// The kind of the object.
    pub fn kind(&self) -> Kind {
        self.key().kind
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
