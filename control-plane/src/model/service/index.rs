//! All services by host, and which objects claim which host.
//!
//! Several objects may claim one host. Those of one namespace that say the same of it (how its
//! endpoints are found, where it is, who sees it) are one service, with the ports of all. The
//! others stay apart: which of them a client is told of is the client's affair
//! ([`ownership`](crate::model::ownership)), because it may not see all of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::name::{Claim, EndpointsName};

use super::{Backing, Service};
use crate::meta::ObjectKey;

/// All services.
#[derive(Clone, Debug, Default)]
pub struct ServiceIndex {
    by_host: BTreeMap<Arc<str>, Claims>,
    /// Which hosts an object claims.
    hosts_of: HashMap<ObjectKey, Vec<Arc<str>>>,
    /// Services of Kubernetes by their addresses, the oldest first.
    by_address: HashMap<IpAddr, Vec<Arc<Service>>>,
}

/// What is declared about one host.
#[derive(Clone, Debug, Default)]
struct Claims {
    /// As the objects say it.
    written: Vec<Service>,
    /// Joined, the first in precedence first: a Kubernetes Service, then the oldest.
    joined: Vec<Arc<Service>>,
}

/// The services of some hosts before and after a change.
#[derive(Clone, Debug, Default)]
pub struct Replaced {
    /// As they were.
    pub before: Vec<Arc<Service>>,
    /// As they are.
    pub after: Vec<Arc<Service>>,
}

impl Replaced {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// The endpoint sets of all of them, those that went and those that came included.
    pub fn endpoint_sets(&self) -> impl Iterator<Item = EndpointsName> {
        let all = self.before.iter().chain(&self.after);
        all.flat_map(|service| service.endpoint_sets().collect::<Vec<_>>())
    }
}

impl ServiceIndex {
    /// Replaces the services of one object and returns those of every host that changed.
    pub fn replace(&mut self, key: &ObjectKey, services: Vec<Service>) -> Replaced {
        let hosts = self.hosts_of.remove(key).unwrap_or_default();
        let unchanged = hosts.len() == services.len()
            && services.iter().all(|service| {
                let claims = self.by_host.get(&service.host);
                claims.is_some_and(|claims| claims.written.contains(service))
            });
        if unchanged {
            if !hosts.is_empty() {
                self.hosts_of.insert(key.clone(), hosts);
            }
            return Replaced::default();
        }
        let mut changed: BTreeSet<Arc<str>> = hosts.into_iter().collect();
        let now: Vec<Arc<str>> = services.iter().map(|one| Arc::clone(&one.host)).collect();
        changed.extend(now.iter().cloned());
        let mut replaced = Replaced::default();
        for host in &changed {
            if let Some(claims) = self.by_host.get_mut(host) {
                replaced.before.extend(claims.joined.iter().cloned());
                claims.written.retain(|service| service.key != *key);
            }
        }
        for service in services {
            let claims = self.by_host.entry(Arc::clone(&service.host)).or_default();
            claims.written.push(service);
        }
        for host in &changed {
            if let Some(claims) = self.by_host.get_mut(host) {
                claims.settle();
                replaced.after.extend(claims.joined.iter().cloned());
                if claims.written.is_empty() {
                    self.by_host.remove(host);
                }
            }
        }
        if !now.is_empty() {
            self.hosts_of.insert(key.clone(), now);
        }
        self.move_addresses(&replaced);
        replaced
    }

    fn move_addresses(&mut self, replaced: &Replaced) {
        let of_kubernetes = |service: &&Arc<Service>| service.is_kubernetes;
        for service in replaced.before.iter().filter(of_kubernetes) {
            for address in service.vips() {
                if let Some(list) = self.by_address.get_mut(&address) {
                    list.retain(|one| one.key != service.key);
                    if list.is_empty() {
                        self.by_address.remove(&address);
                    }
                }
            }
        }
        for service in replaced.after.iter().filter(of_kubernetes) {
            for address in service.vips() {
                let list = self.by_address.entry(address).or_default();
                list.push(Arc::clone(service));
                list.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
            }
        }
    }

    /// The Service of Kubernetes at an address.
    pub fn at(&self, address: IpAddr) -> Option<&Arc<Service>> {
        self.by_address.get(&address)?.first()
    }

    /// Everything that claims a host, the first in precedence first.
    pub fn claims(&self, host: &str) -> &[Arc<Service>] {
        self.by_host
            .get(host)
            .map(|claims| claims.joined.as_slice())
            .unwrap_or_default()
    }

    /// All services, by host, the first in precedence first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.by_host.values().flat_map(|claims| &claims.joined)
    }

    /// Every host with what claims it.
    pub fn hosts(&self) -> impl Iterator<Item = (&Arc<str>, &[Arc<Service>])> {
        self.by_host
            .iter()
            .map(|(host, claims)| (host, claims.joined.as_slice()))
    }

    /// What every object says of every host it claims.
    pub fn written(&self) -> impl Iterator<Item = &Service> {
        self.by_host.values().flat_map(|claims| &claims.written)
    }

    /// What objects say of hosts that others claim too, as they say it.
    pub fn rivals(&self) -> impl Iterator<Item = (&[Service], &[Arc<Service>])> {
        self.by_host
            .values()
            .filter(|claims| claims.written.len() > 1)
            .map(|claims| (claims.written.as_slice(), claims.joined.as_slice()))
    }
}

impl Claims {
    /// Joins what belongs together.
    fn settle(&mut self) {
        self.written
            .sort_by(|a, b| a.precedence().cmp(&b.precedence()));
        let mut joined: Vec<Service> = Vec::new();
        for service in &self.written {
            match joined.iter_mut().find(|older| older.goes_with(service)) {
                Some(older) => older.join(service),
                None => joined.push(Service {
                    claim: (!joined.is_empty()).then(|| Claim {
                        namespace: Arc::from(service.key.namespace.as_str()),
                        name: Arc::from(service.key.name.as_str()),
                    }),
                    ..service.clone()
                }),
            }
        }
        self.joined = joined.into_iter().map(Arc::new).collect();
    }
}

impl Service {
    /// Whether a younger declaration of the same host is a part of the same service.
    fn goes_with(&self, younger: &Self) -> bool {
        !self.is_kubernetes
            && !younger.is_kubernetes
            && self.namespace() == younger.namespace()
            && self.resolution == younger.resolution
            && self.location == younger.location
            && self.visibility == younger.visibility
    }

    /// Takes in what a younger declaration adds. A port of both is the older's if they say
    /// different things of it.
    fn join(&mut self, younger: &Self) {
        for backing in &younger.backings {
            let mut ports = Vec::new();
            for port in &backing.ports {
                match self.port(port.number) {
                    Some(older) if older.protocol != port.protocol => continue,
                    Some(_) => {}
                    None => self.ports.push(port.clone()),
                }
                ports.push(port.clone());
            }
            self.backings.push(Backing {
                ports,
                ..backing.clone()
            });
        }
        for address in &younger.addresses {
            if !self.addresses.contains(address) {
                self.addresses.push(*address);
            }
        }
    }
}
