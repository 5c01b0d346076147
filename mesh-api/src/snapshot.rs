//! A snapshot: everything a proxy runs on, at one version, read-only, with no reference dangling.

mod builder;
mod delta;
mod ordered;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Serialize, Serializer};

pub use builder::SnapshotBuilder;
pub use delta::Delta;

use crate::cluster::Cluster;
use crate::encoded::Encoded;
use crate::endpoint::EndpointSet;
use crate::error::Rejection;
use crate::listener::Listener;
use crate::name::{
    ClusterName, EndpointsName, ListenerName, PolicyName, ResourceName, RouteScope, RoutesName,
    SettingsName, WorkloadName,
};
use crate::policy::Policy;
use crate::resource::Resource;
use crate::route::VirtualHost;
use crate::settings::ProxySettings;
use crate::version::{SnapshotVersion, Version};
use crate::workload::Workload;
use ordered::OrderedMap;

/// A resource and its version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The version, as the control plane gave it.
    pub version: Version,
    /// The resource.
    pub resource: Resource,
}

impl Entry {
    /// A resource with the version that follows from its content.
    pub fn new(resource: Resource) -> Self {
        Self {
            version: Encoded::new(&resource).version,
            resource,
        }
    }
}

/// Everything a proxy runs on.
///
/// Two snapshots of which one came from the other share what they have in common, so that a clone
/// or a small change of a large one is cheap.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    entries: OrderedMap<ResourceName, Entry>,
    version: SnapshotVersion,
}

impl Snapshot {
    /// A snapshot of these resources, or what is wrong with them.
    pub fn of(resources: impl IntoIterator<Item = Resource>) -> Result<Self, Vec<Rejection>> {
        let mut builder = SnapshotBuilder::default();
        for resource in resources {
            builder.set(Entry::new(resource));
        }
        builder.build()
    }

    /// Which state this is.
    pub const fn version(&self) -> SnapshotVersion {
        self.version
    }

    /// How many resources there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// All resources, in name order.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceName, &Entry)> {
        self.entries.iter()
    }

    /// The resource of a name.
    pub fn get(&self, name: &ResourceName) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The version of every resource.
    pub fn versions(&self) -> BTreeMap<ResourceName, Version> {
        self.iter()
            .map(|(name, entry)| (name.clone(), entry.version))
            .collect()
    }

    /// What makes this snapshot `newer`.
    pub fn diff(&self, newer: &Self) -> Delta {
        delta::between(&self.entries, &newer.entries)
    }

    /// The snapshot that `delta` makes of this one, or everything that speaks against it.
    ///
    /// All or nothing; only what changes and what refers to something removed is looked at.
    pub fn apply(&self, delta: Delta) -> Result<Self, Vec<Rejection>> {
        let Delta { set, removed } = delta;
        let mut builder = SnapshotBuilder::on(self);
        for entry in set {
            builder.set(entry);
        }
        for name in removed {
            builder.remove(name);
        }
        builder.build()
    }

    /// The table of virtual hosts with this scope, in host order.
    pub fn table<'s>(
        &'s self,
        scope: &'s RouteScope,
    ) -> impl Iterator<Item = &'s Arc<VirtualHost>> {
        self.entries
            .iter_from(move |name| match name {
                ResourceName::Settings(_)
                | ResourceName::Workload(_)
                | ResourceName::Policy(_)
                | ResourceName::Endpoints(_)
                | ResourceName::Cluster(_) => true,
                ResourceName::Routes(name) => name.scope < *scope,
                ResourceName::Listener(_) => false,
            })
            .map_while(|(_, entry)| as_routes(&entry.resource))
            .take_while(move |host| host.name.scope == *scope)
    }
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.version == other.version
            && self.len() == other.len()
            && self.iter().zip(other.iter()).all(|(a, b)| a == b)
    }
}

impl Eq for Snapshot {}

impl Serialize for Snapshot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// The typed views of each kind: all of them, and the one of a name.
macro_rules! typed_views {
    ($($variant:ident: $value:ty, $view:ident, $all:ident, $one:ident($name:ty);)*) => {
        $(
            fn $view(resource: &Resource) -> Option<&Arc<$value>> {
                match resource {
                    Resource::$variant(value) => Some(value),
                    // Every other kind; the match in `kind_of` is the exhaustive one.
                    _ => None,
                }
            }
        )*

        impl Snapshot {
            $(
                #[doc = concat!("All resources of kind `", stringify!($value), "`, in name order.")]
                pub fn $all(&self) -> impl Iterator<Item = &Arc<$value>> {
                    const KIND: u8 = Kind::$variant as u8;
                    self.entries
                        .iter_from(|name| kind_of(name) < KIND)
                        .map_while(|(_, entry)| $view(&entry.resource))
                }

                #[doc = concat!("The `", stringify!($value), "` of this name.")]
                pub fn $one(&self, name: &$name) -> Option<&Arc<$value>> {
                    self.get(&ResourceName::$variant(name.clone()))
                        .and_then(|entry| $view(&entry.resource))
                }
            )*
        }
    };
}

/// The kinds, in the order of [`ResourceName`].
enum Kind {
    Settings,
    Workload,
    Policy,
    Endpoints,
    Cluster,
    Routes,
    Listener,
}

const fn kind_of(name: &ResourceName) -> u8 {
    (match name {
        ResourceName::Settings(_) => Kind::Settings,
        ResourceName::Workload(_) => Kind::Workload,
        ResourceName::Policy(_) => Kind::Policy,
        ResourceName::Endpoints(_) => Kind::Endpoints,
        ResourceName::Cluster(_) => Kind::Cluster,
        ResourceName::Routes(_) => Kind::Routes,
        ResourceName::Listener(_) => Kind::Listener,
    }) as u8
}

typed_views! {
    Settings: ProxySettings, as_settings, all_settings, settings(SettingsName);
    Workload: Workload, as_workload, workloads, workload(WorkloadName);
    Policy: Policy, as_policy, policies, policy(PolicyName);
    Endpoints: EndpointSet, as_endpoints, endpoint_sets, endpoint_set(EndpointsName);
    Cluster: Cluster, as_cluster, clusters, cluster(ClusterName);
    Routes: VirtualHost, as_routes, virtual_hosts, virtual_host(RoutesName);
    Listener: Listener, as_listener, listeners, listener(ListenerName);
}

#[cfg(test)]
mod tests;
