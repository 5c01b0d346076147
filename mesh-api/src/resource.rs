//! A resource of any kind: what a snapshot holds and a push carries.

mod reference;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::cluster::Cluster;
use crate::endpoint::EndpointSet;
use crate::listener::Listener;
use crate::name::ResourceName;
use crate::policy::Policy;
use crate::route::VirtualHost;
use crate::settings::ProxySettings;
use crate::workload::Workload;

/// A resource; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Resource {
    /// What holds for the whole proxy.
    Settings(Arc<ProxySettings>),
    /// The workload behind an address.
    Workload(Arc<Workload>),
    /// What may come in at a port.
    Policy(Arc<Policy>),
    /// The addresses behind a service port.
    Endpoints(Arc<EndpointSet>),
    /// A group of endpoints.
    Cluster(Arc<Cluster>),
    /// The rules of some hosts.
    Routes(Arc<VirtualHost>),
    /// Where traffic enters.
    Listener(Arc<Listener>),
}

impl Resource {
    /// Its name.
    pub fn name(&self) -> ResourceName {
        match self {
            Self::Settings(settings) => settings.name.into(),
            Self::Workload(workload) => workload.name.into(),
            Self::Policy(policy) => policy.name.clone().into(),
            Self::Endpoints(set) => set.name.clone().into(),
            Self::Cluster(cluster) => cluster.name.clone().into(),
            Self::Routes(host) => host.name.clone().into(),
            Self::Listener(listener) => listener.name.clone().into(),
        }
    }

    /// Everything it refers to, in name order, each once: routes and TCP or TLS listeners refer
    /// to clusters, clusters to endpoints, inbound listeners to policies.
    pub fn references(&self) -> Vec<ResourceName> {
        let mut names = BTreeSet::new();
        self.each_reference(&mut |_, name| {
            names.insert(name);
        });
        names.into_iter().collect()
    }
}

macro_rules! from_value {
    ($($variant:ident($value:ty)),*) => {$(
        impl From<$value> for Resource {
            fn from(value: $value) -> Self {
                Self::$variant(Arc::new(value))
            }
        }

        impl From<Arc<$value>> for Resource {
            fn from(value: Arc<$value>) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}

from_value!(
    Settings(ProxySettings),
    Workload(Workload),
    Policy(Policy),
    Endpoints(EndpointSet),
    Cluster(Cluster),
    Routes(VirtualHost),
    Listener(Listener)
);

#[cfg(test)]
mod tests;
