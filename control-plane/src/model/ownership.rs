//! Whose objects may act on a host, an address or a port: the one place that decides it.
//!
//! Visibility comes first: the object's `exportTo`, the mesh's default for its kind, and the
//! `egress` hosts of the client's `Sidecar`. Then ownership: a host belongs to the namespace of
//! the service that declares it for the client. What objects of that namespace, of the client's
//! own and of the root namespace say of the host counts together, the client's own first. Everybody
//! else is a stranger there, and is heard only where none of those has said anything.
//!
//! So a tenant changes what his own clients do, and what others do with his own hosts, and nothing
//! else: not by a name that comes first, not by being older, not by exporting to somebody.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::route::Domain;
use mesh_api::workload::Labels;

use super::egress::{Egress, sidecar};
use super::{Service, World, host};

/// A client, as far as it matters for what it is told of.
#[derive(Clone, Debug)]
pub struct Viewer {
    /// Where it lives.
    pub namespace: Arc<str>,
    root: Arc<str>,
    egress: Egress,
}

/// What an object's namespace is to a client and a host.
///
/// The order is that in which objects that count together are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The client lives there.
    Own,
    /// The host belongs to it.
    Owner,
    /// It is the root namespace.
    Root,
    /// None of that.
    Stranger,
}

/// Which of the objects that speak of a host are heard.
#[derive(Clone, Debug)]
pub struct Heard<T> {
    /// Those that are, in the order in which they are asked.
    pub acting: Vec<T>,
    /// Those that are not, because others come first.
    pub giving_way: Vec<T>,
    /// Whether those that are heard are strangers.
    pub strangers: bool,
}

impl Viewer {
    /// A workload whose `Sidecar` narrows what it knows.
    pub fn sidecar(world: &World, namespace: &Arc<str>, labels: &Labels) -> Self {
        let egress = sidecar(world, namespace, labels).map(|one| Egress::of(&one.spec, namespace));
        Self {
            egress: egress.unwrap_or_default(),
            ..Self::gateway(world, namespace)
        }
    }

    /// A gateway, which no `Sidecar` applies to.
    pub fn gateway(world: &World, namespace: &Arc<str>) -> Self {
        Self {
            namespace: Arc::clone(namespace),
            root: Arc::clone(&world.settings().root_namespace),
            egress: Egress::default(),
        }
    }

    /// Whether it is told what objects of a namespace say of a host.
    pub fn imports(&self, namespace: &str, host: &Domain) -> bool {
        self.egress.imports(namespace, host)
    }

    /// What a host is to this client, if it is told of it.
    pub fn service<'w>(&self, world: &'w World, host: &str) -> Option<&'w Arc<Service>> {
        self.chosen(world, host, world.claims(host), true)
    }

    /// What a host is to this client when a route leads there: what routes lead to is known with
    /// them, imported or not.
    pub fn destination<'w>(&self, world: &'w World, host: &str) -> Option<&'w Arc<Service>> {
        let claims = world.claims(host);
        self.chosen(world, host, claims, true)
            .or_else(|| self.chosen(world, host, claims, false))
    }

    /// Every service the client is told of, by host; one for each host.
    pub fn services<'w>(&self, world: &'w World) -> impl Iterator<Item = &'w Arc<Service>> {
        world
            .hosts()
            .filter_map(|(host, claims)| self.chosen(world, host, claims, true))
    }

    /// Of everything that claims a host what counts for the client: a Kubernetes Service, then
    /// what its own namespace says, then the oldest.
    fn chosen<'w>(
        &self,
        world: &'w World,
        host: &str,
        claims: &'w [Arc<Service>],
        imported: bool,
    ) -> Option<&'w Arc<Service>> {
        // One claim of Kubernetes, the usual case, is nobody else's to make.
        let contested = claims.iter().any(|service| !service.is_kubernetes);
        let home = contested
            .then(|| kubernetes_namespace(world, host))
            .flatten();
        let domain = imported.then(|| Domain::parse(host)).flatten();
        let mut seen = claims.iter().filter(|service| {
            let namespace = service.namespace();
            service.visibility.includes(&self.namespace)
                && (!imported
                    || domain
                        .as_ref()
                        .is_some_and(|domain| self.imports(namespace, domain)))
                && may_claim(world, home.as_deref(), namespace)
        });
        let first = seen.next()?;
        if first.is_kubernetes || first.namespace() == &*self.namespace {
            return Some(first);
        }
        let own = seen.find(|service| service.namespace() == &*self.namespace);
        Some(own.unwrap_or(first))
    }

    /// Whose a host is for this client: that of the Kubernetes Service it names, else that of the
    /// service entry that declares it for the client.
    pub fn owner(&self, world: &World, host: &str) -> Option<Arc<str>> {
        kubernetes_namespace(world, host).or_else(|| {
            let declared = self.destination(world, host)?;
            Some(Arc::clone(&declared.identity.namespace))
        })
    }

    /// What an object's namespace is where a host belongs to `owner`.
    pub fn standing(&self, namespace: &str, owner: Option<&str>) -> Standing {
        if *namespace == *self.namespace {
            Standing::Own
        } else if owner == Some(namespace) {
            Standing::Owner
        } else if *namespace == *self.root {
            Standing::Root
        } else {
            Standing::Stranger
        }
    }

    /// Which of `objects` are heard about a host that belongs to `owner`. They are given in the
    /// order of preference; of several strangers the namespace of the first is heard.
    pub fn heard<T>(
        &self,
        owner: Option<&str>,
        objects: impl IntoIterator<Item = T>,
        namespace: impl Fn(&T) -> &str,
    ) -> Heard<T> {
        let standing = |object: &T| self.standing(namespace(object), owner);
        let (mut acting, mut giving_way): (Vec<T>, Vec<T>) = objects
            .into_iter()
            .partition(|object| standing(object) != Standing::Stranger);
        let strangers = acting.is_empty() && !giving_way.is_empty();
        if let (true, Some(first)) = (strangers, giving_way.first()) {
            let heard = namespace(first).to_owned();
            (acting, giving_way) = giving_way
                .into_iter()
                .partition(|object| namespace(object) == heard);
        }
        acting.sort_by_key(standing);
        Heard {
            acting,
            giving_way,
            strangers,
        }
    }
}

/// Whether a service entry of `namespace` may declare a host whose name Kubernetes gives to the
/// services of `home`: only that namespace may, and the root namespace.
fn may_claim(world: &World, home: Option<&str>, namespace: &str) -> bool {
    home.is_none_or(|home| home == namespace || *namespace == *world.settings().root_namespace)
}

/// Whether what a service says of its host counts for anybody.
pub fn is_claim(world: &World, service: &Service) -> bool {
    let home = kubernetes_namespace(world, &service.host);
    may_claim(world, home.as_deref(), service.namespace())
}

/// Whose the host of a service is, for the clients to whom it is this service.
pub fn owner_of(world: &World, service: &Service) -> Arc<str> {
    kubernetes_namespace(world, &service.host)
        .unwrap_or_else(|| Arc::clone(&service.identity.namespace))
}

/// Whose a host is, for one client or another.
pub fn owners(world: &World, host: &str) -> BTreeSet<Arc<str>> {
    let claims = world.claims(host).iter();
    claims
        .filter(|service| is_claim(world, service))
        .map(|service| owner_of(world, service))
        .collect()
}

/// Whether what objects of a namespace say of a host holds for clients elsewhere: it is the root
/// namespace, or the host's owner for some of them.
pub fn may_speak(world: &World, host: &str, namespace: &str) -> bool {
    *namespace == *world.settings().root_namespace || owners(world, host).contains(namespace)
}

/// The namespace a name belongs to because Kubernetes resolves it: that of every name below
/// `NAMESPACE.svc.DOMAIN`, and of the short forms of the names of its Services. A wildcard that
/// covers names of several namespaces is the root namespace's.
pub fn kubernetes_namespace(world: &World, name: &str) -> Option<Arc<str>> {
    let domain = &*world.settings().cluster_domain;
    if let Some(namespace) = host::namespace_of(name, domain) {
        return Some(Arc::from(namespace));
    }
    if name.starts_with('*') {
        return covers_all(name, domain).then(|| Arc::clone(&world.settings().root_namespace));
    }
    let short = name.strip_suffix(".svc").unwrap_or(name);
    let (rest, namespace) = short.rsplit_once('.')?;
    let service = rest.rsplit('.').next()?;
    let full = host::service_host(service, namespace, domain);
    let first = world.claims(&full).first()?;
    first
        .is_kubernetes
        .then(|| Arc::clone(&first.identity.namespace))
}

/// Whether a wildcard covers the names Kubernetes gives in every namespace.
fn covers_all(wildcard: &str, cluster_domain: &str) -> bool {
    let every = Domain::parse(&format!("*.svc.{cluster_domain}"));
    let wildcard = Domain::parse(wildcard);
    matches!((wildcard, every), (Some(wildcard), Some(every)) if wildcard.covers(&every))
}

/// The other service an address of a service belongs to: a Service of Kubernetes keeps its own,
/// whoever else claims it and since when.
pub fn holder<'w>(
    world: &'w World,
    service: &Service,
    address: IpAddr,
) -> Option<&'w Arc<Service>> {
    let holder = world.kubernetes_service_at(address)?;
    (holder.key != service.key).then_some(holder)
}

/// The single addresses a service has to itself.
pub fn addresses(world: &World, service: &Service) -> impl Iterator<Item = IpAddr> {
    service
        .vips()
        .filter(|address| holder(world, service, *address).is_none())
}

#[cfg(test)]
mod tests;
