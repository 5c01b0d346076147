//! Which `Sidecar` applies to a workload, and what it lets the workload know.

use std::sync::Arc;

use mesh_api::listener::UnmatchedTraffic;
use mesh_api::route::Domain;
use mesh_api::workload::Labels;

use super::diagnostics::Report;
use super::not_acted_on::{self, Feature};
use crate::crd::object::Resource;
use crate::crd::sidecar::{OutboundTrafficMode, SidecarSpec};
use crate::model::World;
use crate::model::workload::{pairs, selects};

type SidecarObject = Arc<Resource<SidecarSpec>>;

/// The one `Sidecar` for a workload: the oldest that selects it, else its namespace's, else the
/// root namespace's. They are never joined.
pub(crate) fn select<'w>(
    world: &'w World,
    namespace: &str,
    labels: &Labels,
) -> Option<&'w SidecarObject> {
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

/// What happens to traffic nobody declared.
pub(crate) fn unmatched(world: &World, sidecar: Option<&SidecarObject>) -> UnmatchedTraffic {
    match sidecar.and_then(|one| one.spec.outbound_traffic_policy.as_ref()) {
        None => world.settings().outbound_traffic,
        Some(policy) => match policy.mode {
            OutboundTrafficMode::RegistryOnly => UnmatchedTraffic::Refuse,
            OutboundTrafficMode::AllowAny => UnmatchedTraffic::Passthrough,
        },
    }
}

/// The hosts a workload is told about.
#[derive(Debug)]
pub(crate) struct Egress {
    /// `None`: all.
    imported: Option<Vec<Import>>,
    excluded: Vec<Import>,
}

#[derive(Debug)]
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
    pub(crate) fn of(
        sidecar: Option<&SidecarObject>,
        namespace: &str,
        report: &mut Report,
    ) -> Self {
        let mut egress = Self {
            imported: None,
            excluded: Vec::new(),
        };
        let Some(sidecar) = sidecar else {
            return egress;
        };
        let uses_proxy = sidecar
            .spec
            .outbound_traffic_policy
            .as_ref()
            .is_some_and(|policy| policy.egress_proxy.is_some());
        if uses_proxy {
            not_acted_on::report(
                report,
                Feature::EgressProxy,
                &sidecar.key,
                "spec.outboundTrafficPolicy.egressProxy",
            );
        }
        if sidecar.spec.egress.is_empty() {
            return egress;
        }
        let mut imported = Vec::new();
        for (index, listener) in sidecar.spec.egress.iter().enumerate() {
            if listener.port.is_some() || listener.bind.is_some() {
                let field = format!("spec.egress[{index}].port");
                not_acted_on::report(report, Feature::EgressListener, &sidecar.key, &field);
            }
            for host in &listener.hosts {
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
        }
        egress.imported = Some(imported);
        egress
    }

    /// Whether a host of `namespace` is imported.
    pub(crate) fn imports(&self, namespace: &str, host: &Domain) -> bool {
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
