//! What is kept of routes, as a function of the objects, those there were before and what was
//! kept then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::route::Domain;

use super::Kept;
use crate::crd::destination_rule::DestinationRuleSpec;
use crate::crd::object::Resource;
use crate::crd::virtual_service::VirtualServiceSpec;
use crate::meta::{ObjectKey, ObjectMeta};
use crate::model::references::{each_destination, heard, is_defined, missing};
use crate::model::rules::RuleIndex;
use crate::model::{Catalog, World, host};

/// The objects before a change.
#[derive(Debug)]
pub(in crate::model) struct Before {
    pub(in crate::model) virtual_services: Arc<Catalog<VirtualServiceSpec>>,
    pub(in crate::model) destination_rules: Arc<Catalog<DestinationRuleSpec>>,
}

impl Before {
    pub(in crate::model) fn of(world: &World) -> Self {
        Self {
            virtual_services: Arc::clone(&world.virtual_services),
            destination_rules: Arc::clone(&world.destination_rules),
        }
    }
}

/// What becomes of virtual services that refer to something that is not there.
#[derive(Debug, Default)]
pub(in crate::model) struct Held {
    /// What each of them lacks.
    pub(in crate::model) missing: BTreeMap<ObjectKey, Vec<String>>,
    /// Those for which something former is in effect.
    pub(in crate::model) back: BTreeSet<ObjectKey>,
    /// What is to be kept from now on.
    pub(in crate::model) kept: Kept,
}

/// Decides it. `world` holds the objects as they are now, with what was kept and missing before.
pub(in crate::model) fn hold(world: &World, before: &Before) -> Held {
    let known = RuleIndex::of(world);
    let former_rules = RuleIndex::over(world, before.destination_rules.iter());
    let mut held = Held::default();
    held.kept.settings.clone_from(&world.kept.settings);
    held.kept.formers.clone_from(&world.kept.formers);
    for newest in world.virtual_services.iter() {
        let missing = missing(world, &known, newest);
        if missing.is_empty() {
            continue;
        }
        let key = &newest.key;
        held.missing.insert(key.clone(), missing);
        let Some(former) = in_effect(world, before, newest) else {
            continue;
        };
        let definitions = definitions(world, &known, &former_rules, former);
        if former.spec != newest.spec || !definitions.is_empty() {
            held.back.insert(key.clone());
        }
        for rule in definitions {
            held.kept.keep_rule(rule);
        }
        held.kept.routes.insert(key.clone(), bared(former));
    }
    held
}

/// The object with no more than counts of it, so that it is the same after it was stored.
fn bared(object: &Arc<Resource<VirtualServiceSpec>>) -> Arc<Resource<VirtualServiceSpec>> {
    let meta = bare(&object.meta);
    if meta == object.meta {
        return Arc::clone(object);
    }
    Arc::new(Resource {
        key: object.key.clone(),
        meta,
        spec: object.spec.clone(),
    })
}

/// The last form of an object all of which was there.
fn in_effect<'a>(
    world: &'a World,
    before: &'a Before,
    newest: &Resource<VirtualServiceSpec>,
) -> Option<&'a Arc<Resource<VirtualServiceSpec>>> {
    let whole = before
        .virtual_services
        .find(&newest.key)
        .filter(|_| !world.missing.contains_key(&newest.key));
    whole
        .or_else(|| world.kept.routes.get(&newest.key))
        // An object that was deleted and made again owes nothing to the one before.
        .filter(|former| former.meta.creation_timestamp == newest.meta.creation_timestamp)
}

/// The definitions of the subsets a form uses and that no destination rule holds now: as they
/// were before the change, else as they were kept.
fn definitions(
    world: &World,
    known: &RuleIndex<'_>,
    before: &RuleIndex<'_>,
    form: &Resource<VirtualServiceSpec>,
) -> Vec<Resource<DestinationRuleSpec>> {
    let domain = &world.settings().cluster_domain;
    let mut wanted: BTreeMap<Arc<str>, BTreeSet<&str>> = BTreeMap::new();
    each_destination(&form.spec, |destination, _field| {
        if let Some(subset) = destination.subset.as_deref() {
            let host = host::resolve(&destination.host, form.namespace(), domain);
            if !is_defined(world, known, form.namespace(), (&host, subset)) {
                wanted.entry(host).or_default().insert(subset);
            }
        }
    });
    let mut found = Vec::new();
    for (host, subsets) in wanted {
        let heard = heard(world, before, form.namespace(), &host).into_iter();
        let newer: Vec<_> = heard.filter_map(|rule| cut(rule, &subsets)).collect();
        let have: BTreeSet<String> = names(&newer);
        let older = world.kept.rules.values().filter(|rule| {
            let written = host::resolve(&rule.spec.host, rule.namespace(), domain);
            Domain::parse(&written).is_some_and(|domain| domain.matches(&host))
        });
        found.extend(newer);
        for mut rule in older.filter_map(|rule| cut(rule, &subsets)) {
            rule.spec.subsets.retain(|one| !have.contains(&one.name));
            if !rule.spec.subsets.is_empty() {
                found.push(rule);
            }
        }
    }
    found
}

fn names(rules: &[Resource<DestinationRuleSpec>]) -> BTreeSet<String> {
    let subsets = rules.iter().flat_map(|rule| &rule.spec.subsets);
    subsets.map(|one| one.name.clone()).collect()
}

/// A rule with these subsets only; `None` if it has none of them.
fn cut(
    rule: &Resource<DestinationRuleSpec>,
    subsets: &BTreeSet<&str>,
) -> Option<Resource<DestinationRuleSpec>> {
    let mut cut = Resource {
        key: rule.key.clone(),
        meta: bare(&rule.meta),
        spec: rule.spec.clone(),
    };
    cut.spec
        .subsets
        .retain(|one| subsets.contains(one.name.as_str()));
    (!cut.spec.subsets.is_empty()).then_some(cut)
}

/// What counts of an object's metadata.
pub(super) fn bare(meta: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        creation_timestamp: meta.creation_timestamp,
        generation: meta.generation,
        ..ObjectMeta::default()
    }
}
