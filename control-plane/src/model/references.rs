//! Which subsets exist, and whether a virtual service refers to anything that does not.

use std::sync::Arc;

use super::ownership::{Viewer, is_claim};
use super::rules::{Caller, RuleIndex, RuleObject};
use super::{World, host};
use crate::crd::Kind;
use crate::crd::object::Resource;
use crate::crd::virtual_service::{Destination, VirtualServiceSpec};
use crate::meta::ObjectKey;

/// The rules in which an author's subsets are looked for: those that hold for any workload of his
/// namespace, and so nothing that strangers define.
pub(super) fn heard<'w>(
    world: &World,
    rules: &RuleIndex<'w>,
    author: &str,
    host: &str,
) -> Vec<&'w RuleObject> {
    let viewer = Viewer::gateway(world, &Arc::from(author));
    let caller = Caller {
        namespace: author,
        labels: None,
    };
    rules.select(caller, host, viewer.owner(world, host).as_deref())
}

/// Whether a subset is defined where a route of `author` leads to it.
pub(super) fn is_defined(
    world: &World,
    rules: &RuleIndex<'_>,
    author: &str,
    (host, subset): (&str, &str),
) -> bool {
    let heard = heard(world, rules, author, host);
    let mut subsets = heard.iter().flat_map(|rule| &rule.spec.subsets);
    subsets.any(|one| one.name == subset)
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
    claims.any(|service| is_claim(world, service))
}

/// What a virtual service refers to that is not there: the services, subsets and delegates, each
/// with the field that names it.
pub(super) fn missing(
    world: &World,
    rules: &RuleIndex<'_>,
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
            Some(subset) if !is_defined(world, rules, object.namespace(), (&host, subset)) => {
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
