//! Everything about a proxy that may affect its configuration: the cache key.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::units::Port;
use mesh_api::workload::{Labels, WorkloadId};

use crate::model::ownership::Viewer;
use crate::model::{WorkloadInfo, World};

/// Everything about a proxy that may affect its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProxyScope {
    /// What it is there for.
    pub role: ProxyRole,
    /// How traffic reaches it.
    pub capture: CaptureMode,
    /// The workload it stands beside, or is.
    pub workload: Arc<WorkloadInfo>,
}

impl ProxyScope {
    /// The scope of the proxy of a workload; `None` if the world does not know the workload.
    pub fn new(
        world: &World,
        workload: &WorkloadId,
        role: ProxyRole,
        capture: CaptureMode,
    ) -> Option<Self> {
        Some(Self {
            role,
            capture,
            workload: Arc::clone(world.workload(workload)?),
        })
    }
}

/// What of a proxy matters for the part of its configuration it shares with others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Client {
    pub(crate) role: ProxyRole,
    pub(crate) capture: CaptureMode,
    pub(crate) namespace: Arc<str>,
    /// The labels any selector may ask for; all of them at a gateway.
    pub(crate) labels: Labels,
    /// Named ports, which a gateway's Service may lead to.
    pub(crate) ports: BTreeMap<Arc<str>, Port>,
}

impl Client {
    /// The shared part of a scope: labels nobody asks for are left out, so that all replicas of
    /// a Deployment, and often a whole namespace, are one client.
    pub(crate) fn of(scope: &ProxyScope, selector_keys: &BTreeSet<Arc<str>>) -> Self {
        let workload = &scope.workload;
        let at_gateway = scope.role == ProxyRole::Gateway;
        Self {
            role: scope.role,
            capture: scope.capture,
            namespace: Arc::clone(&workload.id.namespace),
            labels: workload
                .labels
                .iter()
                .filter(|(key, _)| at_gateway || selector_keys.contains(*key))
                .map(|(key, value)| (Arc::clone(key), Arc::clone(value)))
                .collect(),
            ports: if at_gateway {
                workload.ports.clone()
            } else {
                BTreeMap::new()
            },
        }
    }

    /// The client, as it matters for whose objects it is told of.
    pub(crate) fn viewer(&self, world: &World) -> Viewer {
        match self.role {
            ProxyRole::Sidecar => Viewer::sidecar(world, &self.namespace, &self.labels),
            ProxyRole::Gateway => Viewer::gateway(world, &self.namespace),
        }
    }

    /// Whether connections still know where they were going.
    pub(crate) fn knows_original_destination(&self) -> bool {
        self.role == ProxyRole::Sidecar && self.capture == CaptureMode::OriginalDestination
    }
}

/// The label keys that objects select clients by.
pub(crate) fn selector_keys(world: &World) -> BTreeSet<Arc<str>> {
    let mut keys = BTreeSet::new();
    let mut add = |labels: &BTreeMap<String, String>| {
        keys.extend(labels.keys().map(|key| Arc::<str>::from(key.as_str())));
    };
    for sidecar in world.sidecars.iter() {
        if let Some(selector) = &sidecar.spec.workload_selector {
            add(&selector.labels);
        }
    }
    for rule in world.destination_rules.iter().chain(world.kept_rules()) {
        if let Some(selector) = &rule.spec.workload_selector {
            add(&selector.match_labels);
        }
    }
    for effective in world.effective_virtual_services() {
        let spec = &effective.object.spec;
        for route in &spec.http {
            route.matches.iter().for_each(|one| add(&one.source_labels));
        }
        for route in &spec.tls {
            route.matches.iter().for_each(|one| add(&one.source_labels));
        }
        for route in &spec.tcp {
            route.matches.iter().for_each(|one| add(&one.source_labels));
        }
    }
    keys
}
