//! All services by host, and which object claims which host.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Service;
use crate::meta::ObjectKey;

/// All services.
///
/// One host is one service: of several objects that claim it, a Kubernetes Service wins, then
/// the oldest; the others are kept to take its place, and are reported.
#[derive(Clone, Debug, Default)]
pub struct ServiceIndex {
    by_host: BTreeMap<Arc<str>, Vec<Arc<Service>>>,
    by_key: HashMap<ObjectKey, Vec<Arc<str>>>,
}

impl ServiceIndex {
    /// Replaces the services of one object and returns the hosts that changed.
    pub fn replace(&mut self, key: &ObjectKey, services: Vec<Service>) -> BTreeSet<Arc<str>> {
        let before = self.by_key.remove(key).unwrap_or_default();
        let unchanged = before.len() == services.len()
            && services.iter().all(|service| {
                self.claims(&service.host)
                    .iter()
                    .any(|old| old.key == *key && **old == *service)
            });
        if unchanged {
            self.by_key.insert(key.clone(), before);
            return BTreeSet::new();
        }
        let mut changed: BTreeSet<Arc<str>> = before.into_iter().collect();
        for host in &changed {
            if let Some(list) = self.by_host.get_mut(host) {
                list.retain(|service| service.key != *key);
                if list.is_empty() {
                    self.by_host.remove(host);
                }
            }
        }
        let hosts: Vec<Arc<str>> = services
            .iter()
            .map(|service| Arc::clone(&service.host))
            .collect();
        for service in services {
            let list = self.by_host.entry(Arc::clone(&service.host)).or_default();
            list.push(Arc::new(service));
            list.sort_by(|a, b| a.precedence().cmp(&b.precedence()));
        }
        changed.extend(hosts.iter().cloned());
        if !hosts.is_empty() {
            self.by_key.insert(key.clone(), hosts);
        }
        changed
    }

    /// The service of a host.
    pub fn find(&self, host: &str) -> Option<&Arc<Service>> {
        self.claims(host).first()
    }

    /// Everything that claims a host; the first has it.
    pub fn claims(&self, host: &str) -> &[Arc<Service>] {
        self.by_host
            .get(host)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// All services, by host.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.by_host.values().filter_map(|claims| claims.first())
    }

    /// Every host with what claims it.
    pub fn all_claims(&self) -> impl Iterator<Item = (&Arc<str>, &[Arc<Service>])> {
        self.by_host
            .iter()
            .map(|(host, claims)| (host, claims.as_slice()))
    }
}
