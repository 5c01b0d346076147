//! Which subsets exist, and whether a virtual service refers to anything that does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::route::Domain;

use super::World;
use super::host;
use crate::crd::Kind;
use crate::crd::object::Resource;
use crate::crd::virtual_service::{Destination, VirtualServiceSpec};
use crate::meta::ObjectKey;

/// The subsets of every host, whoever may see them.
#[derive(Debug)]
pub struct KnownSubsets<'w> {
    exact: BTreeMap<Arc<str>, BTreeSet<&'w str>>,
    wildcard: Vec<(Domain, BTreeSet<&'w str>)>,
}

impl<'w> KnownSubsets<'w> {
    /// Collects them from all destination rules.
    pub fn of(world: &'w World) -> Self {
        let mut known = Self {
            exact: BTreeMap::new(),
            wildcard: Vec::new(),
        };
        for rule in world.destination_rules.iter() {
            let host = host::resolve(
                &rule.spec.host,
                rule.namespace(),
                &world.settings().cluster_domain,
            );
            let names = rule.spec.subsets.iter().map(|subset| subset.name.as_str());
            match Domain::parse(&host) {
                Some(Domain::Exact(host)) => known.exact.entry(host).or_default().extend(names),
                Some(wildcard) => known.wildcard.push((wildcard, names.collect())),
                None => {}
            }
        }
        known
    }

    /// Whether any rule defines a subset of a host.
    pub fn contains(&self, host: &str, subset: &str) -> bool {
        self.exact
            .get(host)
            .is_some_and(|names| names.contains(subset))
            || self
                .wildcard
                .iter()
                .any(|(domain, names)| domain.matches(host) && names.contains(subset))
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

/// What a virtual service refers to that is not there: the services, subsets and delegates, each
/// with the field that names it.
pub fn missing(
    world: &World,
    subsets: &KnownSubsets<'_>,
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
            _ if world.claims(&host).is_empty() => Some(format!("service {host}")),
            Some(subset) if !subsets.contains(&host, subset) => {
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
