//! Which virtual services a client sees, found by host and in order of preference.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::route::Domain;

use crate::compile::diagnostics::{Diagnostic, Report, codes};
use crate::crd::object::Resource;
use crate::crd::virtual_service::VirtualServiceSpec;
use crate::model::visibility::{Tier, Visibility};
use crate::model::{World, host};

/// A virtual service the client sees.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'w> {
    pub(crate) object: &'w Arc<Resource<VirtualServiceSpec>>,
    pub(crate) tier: Tier,
    /// Its place by age.
    place: usize,
}

/// All virtual services a client sees, by host.
#[derive(Debug, Default)]
pub(crate) struct CandidateIndex<'w> {
    by_domain: BTreeMap<Domain, Vec<Candidate<'w>>>,
    /// Wildcards, most specific first.
    wildcards: Vec<Domain>,
    /// All, oldest first.
    all: Vec<Candidate<'w>>,
}

impl<'w> CandidateIndex<'w> {
    /// The virtual services a client in `namespace` sees.
    pub(crate) fn of(world: &'w World, namespace: &str, report: &mut Report) -> Self {
        let mut index = Self::default();
        for (place, effective) in world.effective_virtual_services().enumerate() {
            let object = effective.object;
            let visibility = Visibility::of(
                &object.spec.export_to,
                &world.settings().exports.virtual_services,
                &Arc::from(object.namespace()),
            );
            let Some(tier) = visibility.tier(object.namespace(), namespace) else {
                continue;
            };
            if !effective.held_back_by.is_empty() {
                report.push(
                    Diagnostic::new(
                        codes::HELD_BACK,
                        &object.key,
                        "spec",
                        format!(
                            "its former form stays in effect, because the newest refers to {}",
                            effective.held_back_by.join(", ")
                        ),
                    )
                    .hint("apply what is missing, or correct the reference"),
                );
            }
            let candidate = Candidate {
                object,
                tier,
                place,
            };
            for domain in domains(world, object) {
                index
                    .by_domain
                    .entry(domain)
                    .or_default()
                    .push(candidate.clone());
            }
            index.all.push(candidate);
        }
        index.wildcards = index
            .by_domain
            .keys()
            .filter(|domain| !matches!(domain, Domain::Exact(_)))
            .cloned()
            .collect();
        index
            .wildcards
            .sort_by(|a, b| b.specificity().cmp(&a.specificity()).then_with(|| a.cmp(b)));
        index
    }

    /// The virtual services for a host: groups of which the first that has anything to say wins.
    /// The most specific host comes first, then the nearest tier; inside a group the oldest.
    pub(crate) fn groups(&self, host: &Domain) -> Vec<Vec<Candidate<'w>>> {
        let exact = match host {
            Domain::Exact(_) => self.by_domain.get_key_value(host),
            Domain::Suffix(_) | Domain::Any => None,
        };
        let wild = self
            .wildcards
            .iter()
            .filter(|domain| domain.covers(host))
            .filter_map(|domain| self.by_domain.get_key_value(domain));
        let mut groups = Vec::new();
        for (_, candidates) in exact.into_iter().chain(wild) {
            let mut tiers: BTreeMap<Tier, Vec<Candidate<'w>>> = BTreeMap::new();
            for candidate in candidates {
                let tier = tiers.entry(candidate.tier).or_default();
                // Two spellings of one host in one object are one.
                if tier.last().is_none_or(|last| last.place != candidate.place) {
                    tier.push(candidate.clone());
                }
            }
            groups.extend(tiers.into_values());
        }
        groups
    }

    /// Every host of every virtual service the client sees, in order, with the objects.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = (&Domain, &[Candidate<'w>])> {
        self.by_domain
            .iter()
            .map(|(domain, candidates)| (domain, candidates.as_slice()))
    }

    /// Every virtual service the client sees, oldest first.
    pub(crate) fn all(&self) -> Vec<Candidate<'w>> {
        self.all.clone()
    }
}

/// The hosts of a virtual service in full.
pub(crate) fn domains(world: &World, object: &Resource<VirtualServiceSpec>) -> Vec<Domain> {
    let domain = &world.settings().cluster_domain;
    let mut domains: Vec<Domain> = object
        .spec
        .hosts
        .iter()
        .filter_map(|written| Domain::parse(&host::resolve(written, object.namespace(), domain)))
        .collect();
    domains.sort();
    domains.dedup();
    domains
}
