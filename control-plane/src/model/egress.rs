//! What a `Sidecar` lets a workload know: its `egress` hosts, which hide services, and the virtual
//! services of namespaces whose hosts are not among them.

use std::sync::Arc;

use mesh_api::route::Domain;
use mesh_api::workload::Labels;

use super::World;
use super::workload::{pairs, selects};
use crate::crd::object::Resource;
use crate::crd::sidecar::SidecarSpec;

/// The one `Sidecar` for a workload: the oldest that selects it, else its namespace's, else the
/// root namespace's. They are never joined.
pub fn sidecar<'w>(
    world: &'w World,
    namespace: &str,
    labels: &Labels,
) -> Option<&'w Arc<Resource<SidecarSpec>>> {
    let selecting = world.sidecars.of_namespace(namespace).find(|one| {
        one.spec
            .workload_selector
            .as_ref()
            .is_some_and(|selector| selects(pairs(&selector.labels), labels))
    });
    let default_of = |namespace| {
        world
            .sidecars
            .of_namespace(namespace)
            .find(|one| one.spec.workload_selector.is_none())
    };
    selecting
        .or_else(|| default_of(namespace))
        .or_else(|| default_of(&world.settings().root_namespace))
}

/// The hosts a workload is told about.
#[derive(Clone, Debug, Default)]
pub struct Egress {
    /// `None`: all.
    imported: Option<Vec<Import>>,
    excluded: Vec<Import>,
}

#[derive(Clone, Debug)]
struct Import {
    /// `None`: any namespace.
    namespace: Option<Arc<str>>,
    domain: Domain,
}

impl Import {
    fn parse(namespace: &str, host: &str, own: &str) -> Option<Self> {
        Some(Self {
            namespace: match namespace {
                "*" => None,
                "." => Some(Arc::from(own)),
                other => Some(Arc::from(other)),
            },
            domain: Domain::parse(host)?,
        })
    }

    fn covers(&self, namespace: &str, host: &Domain) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|wanted| **wanted == *namespace)
            && self.domain.covers(host)
    }
}

impl Egress {
    /// What the `Sidecar` of a workload in `namespace` imports.
    pub fn of(sidecar: &SidecarSpec, namespace: &str) -> Self {
        let mut egress = Self::default();
        if sidecar.egress.is_empty() {
            return egress;
        }
        let mut imported = Vec::new();
        for host in sidecar.egress.iter().flat_map(|listener| &listener.hosts) {
            let Some((from, host)) = host.split_once('/') else {
                continue;
            };
            match from.strip_prefix('~') {
                // `~/*` stands for nothing at all.
                Some("") => {}
                Some(other) => egress
                    .excluded
                    .extend(Import::parse(other, host, namespace)),
                None => imported.extend(Import::parse(from, host, namespace)),
            }
        }
        egress.imported = Some(imported);
        egress
    }

    /// Whether what objects of `namespace` say of a host is imported.
    pub fn imports(&self, namespace: &str, host: &Domain) -> bool {
        let wanted = self
            .imported
            .as_ref()
            .is_none_or(|list| list.iter().any(|import| import.covers(namespace, host)));
        wanted
            && !self
                .excluded
                .iter()
                .any(|import| import.covers(namespace, host))
    }
}
