//! Resources in, references resolved, a [`Snapshot`] out, or everything that speaks against it.
//!
//! What is rejected here is what no single resource can know: a name that stands twice, a
//! reference to nothing, two virtual hosts of one table that claim one domain, two listeners on
//! one socket or original destination. A rejection always names a resource and a field of it. The
//! starting point is valid already, so only what changes can be wrong, and what refers to
//! something removed; of two that conflict, one that changes is blamed, the later by name.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Entry, Snapshot, as_listener, as_routes};
use crate::error::Rejection;
use crate::listener::{Bind, Listener, ListenerKind};
use crate::name::{ListenerName, ResourceName, RouteScope};
use crate::route::{Domain, VirtualHost};
use crate::version::Version;

/// Collects changes to a snapshot and validates them together.
#[derive(Clone, Debug, Default)]
pub struct SnapshotBuilder {
    base: Snapshot,
    set: BTreeMap<ResourceName, Entry>,
    removed: BTreeSet<ResourceName>,
    rejections: Vec<Rejection>,
}

impl SnapshotBuilder {
    /// Starts from a snapshot.
    pub fn on(base: &Snapshot) -> Self {
        Self {
            base: base.clone(),
            ..Self::default()
        }
    }

    /// Puts a resource in, or a new version of one.
    pub fn set(&mut self, entry: Entry) -> &mut Self {
        let name = entry.resource.name();
        match self.set.entry(name) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
            }
            Slot::Occupied(slot) => self.rejections.push(Rejection::new(
                slot.key().clone(),
                entry.version,
                "",
                "it stands twice in one change",
            )),
        }
        self
    }

    /// Takes a resource out; none of that name need be there.
    pub fn remove(&mut self, name: ResourceName) -> &mut Self {
        self.removed.insert(name);
        self
    }

    /// The snapshot, or everything that is wrong with it.
    pub fn build(mut self) -> Result<Snapshot, Vec<Rejection>> {
        let mut next = self.base.clone();
        for name in &self.removed {
            if let Some(entry) = self.set.get(name) {
                self.rejections.push(Rejection::new(
                    name.clone(),
                    entry.version,
                    "",
                    "it is both set and removed in one change",
                ));
            }
            if let Some(old) = next.entries.remove(name) {
                next.version.remove(name, old.version);
            }
        }
        for (name, entry) in &self.set {
            if let Some(old) = next.entries.insert(name.clone(), entry.clone()) {
                next.version.remove(name, old.version);
            }
            next.version.add(name, entry.version);
        }
        self.check_references(&next);
        self.check_domains(&next);
        self.check_binds(&next);
        if self.rejections.is_empty() {
            Ok(next)
        } else {
            Err(self.rejections)
        }
    }

    fn check_references(&mut self, next: &Snapshot) {
        for (name, entry) in &self.set {
            entry.resource.each_reference(&mut |path, target| {
                if next.get(&target).is_none() {
                    self.rejections.push(Rejection::new(
                        name.clone(),
                        entry.version,
                        path,
                        format_args!("there is no {target}; push it with this resource or before"),
                    ));
                }
            });
        }
        // Only endpoints, clusters and policies are referred to.
        let gone = self.removed.iter().any(|name| {
            matches!(
                name,
                ResourceName::Endpoints(_) | ResourceName::Cluster(_) | ResourceName::Policy(_)
            ) && self.base.get(name).is_some()
        });
        if !gone {
            return;
        }
        for (name, entry) in next.iter() {
            if self.set.contains_key(name) {
                continue;
            }
            entry.resource.each_reference(&mut |path, target| {
                if self.removed.contains(&target) && next.get(&target).is_none() {
                    self.rejections.push(Rejection::new(
                        name.clone(),
                        entry.version,
                        path,
                        format_args!("it refers to {target}, which this change removes"),
                    ));
                }
            });
        }
    }

    /// No domain may stand in two virtual hosts of one table, nor twice in one.
    fn check_domains(&mut self, next: &Snapshot) {
        let changed = self.set.values().filter_map(|entry| {
            let host = as_routes(&entry.resource)?;
            let before = self.base.virtual_host(&host.name);
            before
                .is_none_or(|before| before.domains != host.domains)
                .then(|| host.name.scope.clone())
        });
        let scopes: BTreeSet<RouteScope> = changed.collect();
        for scope in scopes {
            let mut claims = HashMap::new();
            for host in next.table(&scope) {
                for (at, domain) in host.domains.iter().enumerate() {
                    if let Some(earlier) = claims.insert(domain, (host, at)) {
                        let rejection = self.domain_claimed_twice(domain, earlier, (host, at));
                        self.rejections.push(rejection);
                    }
                }
            }
        }
    }

    fn domain_claimed_twice(
        &self,
        domain: &Domain,
        earlier: (&std::sync::Arc<VirtualHost>, usize),
        later: (&std::sync::Arc<VirtualHost>, usize),
    ) -> Rejection {
        let (blamed, other) = self.blame(
            (earlier.0.name.clone().into(), earlier.1),
            (later.0.name.clone().into(), later.1),
        );
        Rejection::new(
            blamed.0.clone(),
            self.version_of(&blamed.0),
            format_args!("domains[{}]", blamed.1),
            format_args!("{domain} is a domain of {} too", other.0),
        )
    }

    /// No two listeners may wait for the same connections.
    fn check_binds(&mut self, next: &Snapshot) {
        let changed = self.set.values().any(|entry| {
            as_listener(&entry.resource).is_some_and(|listener| {
                let before = self.base.listener(&listener.name);
                before.is_none_or(|before| place(before) != place(listener))
            })
        });
        if !changed {
            return;
        }
        let mut places = HashMap::new();
        for listener in next.listeners() {
            if let Some(earlier) = places.insert(place(listener), &listener.name) {
                let earlier: &ListenerName = earlier;
                let (blamed, other) = self.blame(
                    (earlier.clone().into(), 0),
                    (listener.name.clone().into(), 0),
                );
                self.rejections.push(Rejection::new(
                    blamed.0.clone(),
                    self.version_of(&blamed.0),
                    "bind",
                    format_args!("{} waits for the same connections", other.0),
                ));
            }
        }
    }

    /// Which of two that conflict is at fault, and the other.
    fn blame<T>(
        &self,
        earlier: (ResourceName, T),
        later: (ResourceName, T),
    ) -> ((ResourceName, T), (ResourceName, T)) {
        if self.set.contains_key(&later.0) {
            (later, earlier)
        } else {
            (earlier, later)
        }
    }

    fn version_of(&self, name: &ResourceName) -> Version {
        let entry = self.set.get(name).or_else(|| self.base.get(name));
        entry.map_or(Version(0), |entry| entry.version)
    }
}

/// What a listener waits for: a socket, or an original destination in one direction.
fn place(listener: &Listener) -> (bool, &Bind) {
    let from_outside = match listener.kind {
        ListenerKind::Outbound(_) | ListenerKind::OutboundCapture { .. } => false,
        ListenerKind::Inbound(_)
        | ListenerKind::InboundCapture { .. }
        | ListenerKind::Gateway(_) => true,
    };
    match &listener.bind {
        Bind::Socket(_) => (false, &listener.bind),
        Bind::OriginalDestination { .. } => (from_outside, &listener.bind),
    }
}
