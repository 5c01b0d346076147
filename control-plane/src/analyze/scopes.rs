//! For whom a mesh is compiled to learn what is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::units::Port;
use mesh_api::workload::{Labels, Peer, WorkloadId};

use crate::compile::{CaptureMode, ProxyRole, ProxyScope};
use crate::model::workload::{Readiness, pairs, selects};
use crate::model::{WorkloadInfo, World};

/// What makes workloads alike: replicas of one Deployment get the same configuration but for
/// their addresses.
type Class<'w> = (&'w str, &'w Labels, &'w BTreeMap<Arc<str>, Port>);

/// The proxies that are connected; one proxy for every class of workloads that has none; and one
/// in every namespace with objects but no workload.
pub(super) fn all(world: &World, connected: &[ProxyScope]) -> Vec<ProxyScope> {
    let mut covered: BTreeSet<Class<'_>> = connected
        .iter()
        .map(|scope| class(&scope.workload))
        .collect();
    let mut scopes = connected.to_vec();
    for workload in world.workloads() {
        if workload.readiness != Readiness::Gone && covered.insert(class(workload)) {
            scopes.push(expected(world, workload));
        }
    }
    let inhabited: BTreeSet<Arc<str>> = scopes
        .iter()
        .filter(|scope| scope.role == ProxyRole::Sidecar)
        .map(|scope| Arc::clone(&scope.workload.id.namespace))
        .collect();
    for namespace in world.namespaces() {
        if !inhabited.contains(namespace) {
            scopes.push(ProxyScope {
                role: ProxyRole::Sidecar,
                capture: capture(world),
                workload: Arc::new(nobody(namespace)),
            });
        }
    }
    scopes
}

fn class(workload: &WorkloadInfo) -> Class<'_> {
    (&workload.id.namespace, &workload.labels, &workload.ports)
}

/// The proxy a workload would have: a gateway's if a `Gateway` selects it.
fn expected(world: &World, workload: &Arc<WorkloadInfo>) -> ProxyScope {
    let gateway = is_gateway(world, workload);
    ProxyScope {
        role: if gateway {
            ProxyRole::Gateway
        } else {
            ProxyRole::Sidecar
        },
        capture: if gateway {
            CaptureMode::Explicit
        } else {
            capture(world)
        },
        workload: Arc::clone(workload),
    }
}

/// How traffic reaches sidecars nobody has heard of yet.
fn capture(world: &World) -> CaptureMode {
    if world.settings().one_machine {
        CaptureMode::Explicit
    } else {
        CaptureMode::OriginalDestination
    }
}

/// Whether a workload is a gateway: one that a `Gateway` selects by its labels.
pub(super) fn is_gateway(world: &World, workload: &WorkloadInfo) -> bool {
    world.gateways.iter().any(|gateway| {
        !gateway.spec.selector.is_empty()
            && selects(pairs(&gateway.spec.selector), &workload.labels)
    })
}

/// A workload that stands for those a namespace may have one day.
fn nobody(namespace: &str) -> WorkloadInfo {
    WorkloadInfo {
        id: WorkloadId {
            namespace: Arc::from(namespace),
            name: Arc::default(),
        },
        is_pod: true,
        addresses: Vec::new(),
        dns_name: None,
        labels: Labels::new(),
        locality: mesh_api::workload::Locality::default(),
        network: Arc::default(),
        weight: 1,
        peer: Peer::default(),
        mesh_tls: false,
        ports: BTreeMap::new(),
        readiness: Readiness::Ready,
        uid: None,
        node: None,
    }
}
