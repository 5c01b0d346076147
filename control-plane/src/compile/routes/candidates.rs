//! Which virtual services a client sees, found by host and in order of preference.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_api::route::Domain;

use super::statics::Via;
use crate::compile::diagnostics::{Diagnostic, Report, codes};
use crate::crd::object::Resource;
use crate::crd::virtual_service::VirtualServiceSpec;
use crate::model::ownership::Viewer;
use crate::model::visibility::{Tier, Visibility};
use crate::model::{Effective, World, host};

/// A virtual service the client sees.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'w> {
    pub(crate) object: &'w Arc<Resource<VirtualServiceSpec>>,
    pub(crate) tier: Tier,
}

/// What virtual services say of a host to one client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spoken<'w> {
    /// Those that are heard: groups of which the first that has anything to say wins. The most
    /// specific host comes first, then the nearest tier; inside a group the client's own, the
    /// owner's and the root namespace's, each in order of age.
    pub(crate) groups: Vec<Vec<Candidate<'w>>>,
    /// Those that would be, were the host theirs.
    pub(crate) giving_way: Vec<Candidate<'w>>,
    /// Whose the host is.
    pub(crate) owner: Option<Arc<str>>,
    /// Whether those that are heard are strangers.
    pub(crate) strangers: bool,
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
        let all = world.effective_virtual_services();
        Self::among(world, namespace, all, report)
    }

    /// Those of some virtual services, oldest first, that a client in `namespace` sees.
    pub(crate) fn among(
        world: &'w World,
        namespace: &str,
        objects: impl IntoIterator<Item = Effective<'w>>,
        report: &mut Report,
    ) -> Self {
        let mut index = Self::default();
        for effective in objects {
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
                            "its last form all of which was there stays in effect, with the \
                             subsets it was made for, because the newest refers to what is not there: {}",
                            effective.held_back_by.join(", ")
                        ),
                    )
                    .hint("apply what is missing, or correct the reference"),
                );
            }
            let candidate = Candidate { object, tier };
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

    /// What virtual services say of a host to a client whose requests come this way.
    pub(crate) fn about(
        &self,
        world: &World,
        viewer: &Viewer,
        host: &Domain,
        via: &Via<'_>,
    ) -> Spoken<'w> {
        let exact = match host {
            Domain::Exact(_) => self.by_domain.get_key_value(host),
            Domain::Suffix(_) | Domain::Any => None,
        };
        let wild = self
            .wildcards
            .iter()
            .filter(|domain| domain.covers(host))
            .filter_map(|domain| self.by_domain.get_key_value(domain));
        let mut speakers: Vec<(usize, Candidate<'w>)> = Vec::new();
        for (rank, (_, candidates)) in exact.into_iter().chain(wild).enumerate() {
            let heard = candidates.iter().filter(|candidate| {
                let object = candidate.object;
                via.applies_at_all(object) && viewer.imports(object.namespace(), host)
            });
            speakers.extend(heard.map(|candidate| (rank, candidate.clone())));
        }
        if speakers.is_empty() {
            return Spoken::default();
        }
        let owner = viewer.owner(world, &host.to_string());
        let heard = viewer.heard(owner.as_deref(), speakers, |(_, one)| {
            one.object.namespace()
        });
        let nearest = heard.acting.iter().map(|(rank, _)| *rank).min();
        let mut groups: BTreeMap<(usize, Tier), Vec<Candidate<'w>>> = BTreeMap::new();
        for (rank, candidate) in heard.acting {
            let group = groups.entry((rank, candidate.tier)).or_default();
            group.push(candidate);
        }
        Spoken {
            groups: groups.into_values().collect(),
            // A wildcard that gives way to an exact host is as it should be.
            giving_way: heard
                .giving_way
                .into_iter()
                .filter(|(rank, _)| nearest.is_none_or(|nearest| *rank <= nearest))
                .map(|(_, candidate)| candidate)
                .collect(),
            owner,
            strangers: heard.strangers,
        }
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
