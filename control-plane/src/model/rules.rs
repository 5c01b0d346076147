//! Which destination rules hold for calls to a host, found without looking at all of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mesh_api::route::Domain;
use mesh_api::workload::Labels;

use super::ownership::owner_of;
use super::visibility::Visibility;
use super::workload::{pairs, selects};
use super::{Service, World, host};
use crate::crd::destination_rule::DestinationRuleSpec;
use crate::crd::object::Resource;

/// A destination rule.
pub(crate) type RuleObject = Arc<Resource<DestinationRuleSpec>>;

/// Who calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    /// Where it lives.
    pub(crate) namespace: &'a str,
    /// Its labels; `None`: any workload of the namespace. Then rules for some workloads only are
    /// among those that hold, and hide no others.
    pub(crate) labels: Option<&'a Labels>,
}

/// Destination rules by namespace and host.
#[derive(Debug)]
pub(crate) struct RuleIndex<'w> {
    world: &'w World,
    by_namespace: HashMap<&'w str, OfNamespace<'w>>,
}

#[derive(Debug, Default)]
struct OfNamespace<'w> {
    exact: HashMap<Arc<str>, Vec<Indexed<'w>>>,
    wildcards: BTreeMap<Domain, Vec<Indexed<'w>>>,
}

#[derive(Debug)]
struct Indexed<'w> {
    rule: &'w RuleObject,
    visibility: Visibility,
}

/// Which rules of a namespace a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// All: it lives there.
    Own,
    /// Those that are not for everybody.
    OwnPrivate,
    /// Those exported to it.
    Exported,
}

impl<'w> RuleIndex<'w> {
    /// All rules of a world.
    pub(crate) fn of(world: &'w World) -> Self {
        Self::over(world, world.destination_rules.iter())
    }

    /// The rules whose subsets are kept for virtual services that are held back.
    pub(crate) fn kept(world: &'w World) -> Self {
        Self::over(world, world.kept_rules())
    }

    /// These rules, read in the light of a world's settings.
    pub(crate) fn over(world: &'w World, rules: impl Iterator<Item = &'w RuleObject>) -> Self {
        let settings = world.settings();
        let mut index = Self {
            world,
            by_namespace: HashMap::new(),
        };
        for rule in rules {
            let namespace = rule.namespace();
            let full = host::resolve(&rule.spec.host, namespace, &settings.cluster_domain);
            let Some(domain) = Domain::parse(&full) else {
                continue;
            };
            let indexed = Indexed {
                rule,
                visibility: Visibility::of(
                    &rule.spec.export_to,
                    &settings.exports.destination_rules,
                    &Arc::from(namespace),
                ),
            };
            let place = index.by_namespace.entry(namespace).or_default();
            match domain {
                Domain::Exact(host) => place.exact.entry(host).or_default(),
                Domain::Suffix(_) | Domain::Any => place.wildcards.entry(domain).or_default(),
            }
            .push(indexed);
        }
        index
    }

    /// The rules that hold for calls to a service.
    pub(crate) fn of_service(&self, caller: Caller<'_>, service: &Service) -> Vec<&'w RuleObject> {
        let owner = owner_of(self.world, service);
        self.select(caller, &service.host, Some(&owner))
    }

    /// The rules that hold for calls to a host of `owner`, oldest first: those of the first
    /// namespace that has any (the caller's, the owner's, the root namespace), for the most
    /// specific host there.
    pub(crate) fn select(
        &self,
        caller: Caller<'_>,
        host: &str,
        owner: Option<&str>,
    ) -> Vec<&'w RuleObject> {
        let root = &*self.world.settings().root_namespace;
        // A caller of the root namespace reaches its public rules only as the last resort.
        let own = if caller.namespace == root {
            Reach::OwnPrivate
        } else {
            Reach::Own
        };
        let places = [
            Some((caller.namespace, own)),
            owner.map(|owner| (owner, Reach::Exported)),
            Some((root, Reach::Exported)),
        ];
        let mut found = Vec::new();
        for (namespace, reach) in places.into_iter().flatten() {
            for list in self.lists(namespace, host) {
                let holding = list.iter().filter(|one| one.holds(caller, reach));
                let mut rules: Vec<&RuleObject> = holding.map(|one| one.rule).collect();
                let for_some = |rule: &&RuleObject| rule.spec.workload_selector.is_some();
                // A rule made for these very workloads stands alone.
                if caller.labels.is_some() && rules.iter().any(for_some) {
                    rules.retain(for_some);
                    return rules;
                }
                let hides = !rules.iter().all(for_some);
                found.append(&mut rules);
                if hides {
                    return found;
                }
            }
        }
        found
    }

    /// The rules of a namespace for a host, those that name it most closely first.
    fn lists(&self, namespace: &str, host: &str) -> Vec<&[Indexed<'w>]> {
        let Some(place) = self.by_namespace.get(namespace) else {
            return Vec::new();
        };
        let exact = place.exact.get(host);
        let host = Domain::parse(host);
        let mut wild: Vec<(&Domain, &Vec<Indexed<'w>>)> = place
            .wildcards
            .iter()
            .filter(|(domain, _)| host.as_ref().is_some_and(|host| domain.covers(host)))
            .collect();
        wild.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.specificity()));
        let wild = wild.into_iter().map(|(_, list)| list.as_slice());
        exact.map(Vec::as_slice).into_iter().chain(wild).collect()
    }
}

impl Indexed<'_> {
    fn holds(&self, caller: Caller<'_>, reach: Reach) -> bool {
        let included = self.visibility.includes(caller.namespace);
        let visible = match reach {
            Reach::Own => true,
            Reach::OwnPrivate => included && self.visibility != Visibility::Public,
            Reach::Exported => included,
        };
        let selected = |wanted: &BTreeMap<String, String>| {
            let labels = caller.labels;
            labels.is_none_or(|labels| selects(pairs(wanted), labels))
        };
        let selector = self.rule.spec.workload_selector.as_ref();
        visible
            && selector
                .is_none_or(|selector| reach != Reach::Exported && selected(&selector.match_labels))
    }
}
