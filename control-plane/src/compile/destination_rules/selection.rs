//! Which destination rules hold for a client's calls to a service, found without looking at all
//! of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mesh_api::route::Domain;

use crate::compile::scope::Client;
use crate::crd::destination_rule::DestinationRuleSpec;
use crate::crd::object::Resource;
use crate::model::ownership;
use crate::model::visibility::Visibility;
use crate::model::workload::{pairs, selects};
use crate::model::{Service, World, host};

/// A destination rule.
pub(super) type RuleObject = Arc<Resource<DestinationRuleSpec>>;

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

    fn over(world: &'w World, rules: impl Iterator<Item = &'w RuleObject>) -> Self {
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

    /// The rules that hold, oldest first: those of the first namespace that has any (the
    /// client's, the host's owner's, the root namespace), for the most specific host there.
    pub(super) fn select(&self, client: &Client, service: &Service) -> Vec<&'w RuleObject> {
        let root = &*self.world.settings().root_namespace;
        let owner = ownership::owner_of(self.world, service);
        // A client of the root namespace reaches its public rules only as the last resort.
        let own = if *client.namespace == *root {
            Reach::OwnPrivate
        } else {
            Reach::Own
        };
        let places = [
            (&*client.namespace, own),
            (&*owner, Reach::Exported),
            (root, Reach::Exported),
        ];
        places
            .into_iter()
            .map(|(namespace, reach)| self.of_place(client, service, namespace, reach))
            .find(|rules| !rules.is_empty())
            .unwrap_or_default()
    }

    fn of_place(
        &self,
        client: &Client,
        service: &Service,
        namespace: &str,
        reach: Reach,
    ) -> Vec<&'w RuleObject> {
        let Some(place) = self.by_namespace.get(namespace) else {
            return Vec::new();
        };
        let exact = place.exact.get(&service.host);
        let host = Domain::parse(&service.host);
        let mut wild: Vec<(&Domain, &Vec<Indexed<'w>>)> = place
            .wildcards
            .iter()
            .filter(|(domain, _)| host.as_ref().is_some_and(|host| domain.covers(host)))
            .collect();
        wild.sort_by_key(|(domain, _)| std::cmp::Reverse(domain.specificity()));
        let lists = exact
            .into_iter()
            .chain(wild.into_iter().map(|(_, list)| list));
        for list in lists {
            let mut rules: Vec<&'w RuleObject> = list
                .iter()
                .filter(|one| one.holds(client, reach))
                .map(|one| one.rule)
                .collect();
            // A rule made for these very workloads stands alone.
            if rules
                .iter()
                .any(|rule| rule.spec.workload_selector.is_some())
            {
                rules.retain(|rule| rule.spec.workload_selector.is_some());
            }
            if !rules.is_empty() {
                return rules;
            }
        }
        Vec::new()
    }
}

impl Indexed<'_> {
    fn holds(&self, client: &Client, reach: Reach) -> bool {
        let included = self.visibility.includes(&client.namespace);
        let visible = match reach {
            Reach::Own => true,
            Reach::OwnPrivate => included && self.visibility != Visibility::Public,
            Reach::Exported => included,
        };
        visible
            && self
                .rule
                .spec
                .workload_selector
                .as_ref()
                .is_none_or(|selector| {
                    reach != Reach::Exported
                        && selects(pairs(&selector.match_labels), &client.labels)
                })
    }
}
