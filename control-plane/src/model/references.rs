//! Which subsets exist, and whether a virtual service refers to anything that does not.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use mesh_api::route::Domain;

use super::{Catalog, World};
use super::{host, ownership};
use crate::crd::Kind;
use crate::crd::destination_rule::DestinationRuleSpec;
use crate::crd::object::Resource;
use crate::crd::virtual_service::{Destination, VirtualServiceSpec};
use crate::meta::ObjectKey;

/// Destination rules, by namespace and host, as whoever refers to their subsets looks for them.
#[derive(Debug)]
pub struct Definitions<'w> {
    world: &'w World,
    by_namespace: BTreeMap<&'w str, OfNamespace<'w>>,
}

type Rules<'w> = Vec<&'w Resource<DestinationRuleSpec>>;

#[derive(Debug, Default)]
struct OfNamespace<'w> {
    exact: BTreeMap<Arc<str>, Rules<'w>>,
    wildcards: BTreeMap<Domain, Rules<'w>>,
}

impl<'w> Definitions<'w> {
    /// Those of a world.
    pub fn of(world: &'w World) -> Self {
        Self::among(world, &world.destination_rules)
    }

    /// Of these rules, in the light of who owns what in `world`.
    pub(super) fn among(world: &'w World, rules: &'w Catalog<DestinationRuleSpec>) -> Self {
        let mut by_namespace: BTreeMap<&str, OfNamespace<'_>> = BTreeMap::new();
        for rule in rules.iter() {
            let namespace = rule.namespace();
            let domain = &world.settings().cluster_domain;
            let host = host::resolve(&rule.spec.host, namespace, domain);
            let place = by_namespace.entry(namespace).or_default();
            match Domain::parse(&host) {
                Some(Domain::Exact(host)) => place.exact.entry(host).or_default().push(rule),
                Some(wildcard) => place.wildcards.entry(wildcard).or_default().push(rule),
                None => {}
            }
        }
        Self {
            world,
            by_namespace,
        }
    }

    /// The rules that hold where a route that `author`, a namespace, wrote leads to a host: for
    /// its own clients, and for those of the host's owner. What strangers define does not count.
    pub(super) fn heard(&self, author: &str, host: &str) -> Rules<'w> {
        let owners = ownership::owners(self.world, host);
        let root = &*self.world.settings().root_namespace;
        let mut heard: Rules<'_> = Vec::new();
        for client in iter::once(author).chain(owners.iter().map(|owner| &**owner)) {
            for owner in &owners {
                // The first that has anything to say of the host is heard alone, as in compiling.
                let places = [client, &**owner, root].into_iter();
                let said = places
                    .filter_map(|namespace| self.by_namespace.get(namespace))
                    .find_map(|place| place.of(host));
                for rule in said.into_iter().flatten() {
                    if !heard.iter().any(|one| one.key == rule.key) {
                        heard.push(rule);
                    }
                }
            }
        }
        heard
    }

    /// Whether a subset is defined where a route of `author` leads to it.
    pub fn contains(&self, author: &str, host: &str, subset: &str) -> bool {
        let heard = self.heard(author, host);
        let mut subsets = heard.iter().flat_map(|rule| &rule.spec.subsets);
        subsets.any(|one| one.name == subset)
    }
}

impl<'w> OfNamespace<'w> {
    /// The rules that name a host most closely, if any does.
    fn of(&self, host: &str) -> Option<&Rules<'w>> {
        self.exact.get(host).or_else(|| {
            let covering = self.wildcards.iter();
            covering
                .filter(|(domain, _)| domain.matches(host))
                .max_by_key(|(domain, _)| domain.specificity())
                .map(|(_, rules)| rules)
        })
    }
}

/// Every destination a virtual service names, with its field.
pub fn each_destination<'s>(
    spec: &'s VirtualServiceSpec,
    mut look: impl FnMut(&'s Destination, &dyn Fn() -> String),
) {
    for (r, route) in spec.http.iter().enumerate() {
        for (d, one) in route.route.iter().enumerate() {
            look(&one.destination, &|| format!("spec.http[{r}].route[{d}]"));
        }
        if let Some(mirror) = &route.mirror {
            look(mirror, &|| format!("spec.http[{r}].mirror"));
        }
        for (m, mirror) in route.mirrors.iter().enumerate() {
            look(&mirror.destination, &|| {
                format!("spec.http[{r}].mirrors[{m}]")
            });
        }
    }
    for (r, route) in spec.tls.iter().enumerate() {
        for (d, one) in route.route.iter().enumerate() {
            look(&one.destination, &|| format!("spec.tls[{r}].route[{d}]"));
        }
    }
    for (r, route) in spec.tcp.iter().enumerate() {
        for (d, one) in route.route.iter().enumerate() {
            look(&one.destination, &|| format!("spec.tcp[{r}].route[{d}]"));
        }
    }
}

/// Whether anybody who may declares a host.
fn is_declared(world: &World, host: &str) -> bool {
    let mut claims = world.claims(host).iter();
    claims.any(|service| ownership::is_claim(world, service))
}

/// What a virtual service refers to that is not there: the services, subsets and delegates, each
/// with the field that names it.
pub fn missing(
    world: &World,
    subsets: &Definitions<'_>,
    object: &Resource<VirtualServiceSpec>,
) -> Vec<String> {
    let mut missing = Vec::new();
    each_destination(&object.spec, |destination, field| {
        let host = host::resolve(
            &destination.host,
            object.namespace(),
            &world.settings().cluster_domain,
        );
        let absent = match &destination.subset {
            _ if !is_declared(world, &host) => Some(format!("service {host}")),
            Some(subset) if !subsets.contains(object.namespace(), &host, subset) => {
                Some(format!("subset {subset} of {host}"))
            }
            Some(_) | None => None,
        };
        missing.extend(absent.map(|what| format!("{what} ({})", field())));
    });
    for (r, route) in object.spec.http.iter().enumerate() {
        let Some(delegate) = &route.delegate else {
            continue;
        };
        let namespace = delegate.namespace.as_deref().unwrap_or(object.namespace());
        let key = ObjectKey::new(Kind::VirtualService, namespace, delegate.name.as_str());
        if world.virtual_services.find(&key).is_none() {
            missing.push(format!("{key} (spec.http[{r}].delegate)"));
        }
    }
    missing
}
