//! Which subsets exist, and whether a virtual service refers to anything that does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::route::Domain;

use super::World;
use super::host;
use crate::crd::object::Resource;
use crate::crd::virtual_service::{Destination, VirtualServiceSpec};

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

    fn contains(&self, host: &str, subset: &str) -> bool {
        self.exact
            .get(host)
            .is_some_and(|names| names.contains(subset))
            || self
                .wildcard
                .iter()
                .any(|(domain, names)| domain.matches(host) && names.contains(subset))
    }
}

/// What a virtual service refers to that is not there: for each destination its field and the
/// host, with the subset if only that is missing.
pub fn missing(
    world: &World,
    subsets: &KnownSubsets<'_>,
    object: &Resource<VirtualServiceSpec>,
) -> Vec<String> {
    let mut missing = Vec::new();
    let mut check = |destination: &Destination, field: &dyn Fn() -> String| {
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
    };
    for (r, route) in object.spec.http.iter().enumerate() {
        for (d, one) in route.route.iter().enumerate() {
            check(&one.destination, &|| format!("spec.http[{r}].route[{d}]"));
        }
        if let Some(mirror) = &route.mirror {
            check(mirror, &|| format!("spec.http[{r}].mirror"));
        }
        for (m, mirror) in route.mirrors.iter().enumerate() {
            check(&mirror.destination, &|| {
                format!("spec.http[{r}].mirrors[{m}]")
            });
        }
    }
    for (r, route) in object.spec.tls.iter().enumerate() {
        for (d, one) in route.route.iter().enumerate() {
            check(&one.destination, &|| format!("spec.tls[{r}].route[{d}]"));
        }
    }
    for (r, route) in object.spec.tcp.iter().enumerate() {
        for (d, one) in route.route.iter().enumerate() {
            check(&one.destination, &|| format!("spec.tcp[{r}].route[{d}]"));
        }
    }
    missing
}
