//! Which part of its desired state a proxy asked for, closed under references.

use std::collections::BTreeSet;

use mesh_api::limits::{MAX_NAME_BYTES, MAX_SUBSCRIBED_NAMES as MAX_NAMES};
use mesh_api::name::{ClusterName, ResourceName, WorkloadName};
use mesh_api::proto::{self, hello, subscribe};
use mesh_api::route::Domain;

use super::ProtocolError;
use super::asked_hosts::AskedHosts;
use crate::discovery::desired::DesiredState;

/// Hosts a proxy may ask for; one that wants more asks for all.
const MAX_HOSTS: usize = 16_384;

/// Single workloads that a proxy wants from now on, and those it wants no longer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workloads {
    /// Those it did not want before.
    pub added: BTreeSet<WorkloadName>,
    /// Those it does not want any more.
    pub removed: BTreeSet<WorkloadName>,
}

/// What a proxy asked for.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// `None`: all.
    hosts: Option<AskedHosts>,
    /// Single resources.
    names: BTreeSet<ResourceName>,
    /// Names added since the last push that want an answer even if they do not exist.
    unanswered: BTreeSet<ResourceName>,
    /// Unless all hosts are asked for: the names of the current desired state that are
    /// included, or `None` if they have to be found again.
    closure: Option<BTreeSet<ResourceName>>,
}

impl Subscription {
    pub(super) fn read(
        hosts: Option<hello::Subscription>,
        names: &[String],
    ) -> Result<Self, ProtocolError> {
        let hosts = match hosts {
            None => {
                return Err(ProtocolError::Field {
                    field: "subscription",
                    reason: "it is missing; send all_hosts or hosts".to_owned(),
                });
            }
            Some(hello::Subscription::AllHosts(proto::AllHosts {})) => None,
            Some(hello::Subscription::Hosts(proto::HostSet { hosts })) => Some(hosts),
        };
        let mut subscription = Self::default();
        if let Some(hosts) = hosts {
            subscription.add_hosts(hosts)?;
        }
        for name in parse_names("names", names)? {
            subscription.names.insert(name);
        }
        Ok(subscription)
    }

    /// Takes in a change, and says which single workloads come and go by it.
    pub(super) fn change(&mut self, change: proto::Subscribe) -> Result<Workloads, ProtocolError> {
        let mut workloads = Workloads::default();
        let proto::Subscribe {
            subscription,
            names_added,
            names_removed,
        } = change;
        match subscription {
            None => {}
            Some(subscribe::Subscription::AllHosts(proto::AllHosts {})) => self.hosts = None,
            Some(subscribe::Subscription::Hosts(proto::HostChange { added, removed })) => {
                self.add_hosts(added)?;
                if let Some(hosts) = &mut self.hosts {
                    for host in removed {
                        hosts.remove(&host);
                    }
                }
            }
        }
        for name in parse_names("names_removed", &names_removed)? {
            if self.names.remove(&name)
                && let ResourceName::Workload(workload) = &name
            {
                workloads.removed.insert(*workload);
            }
            self.unanswered.remove(&name);
        }
        for name in parse_names("names_added", &names_added)? {
            // Workloads are put into the desired state when they are asked for; whether one
            // exists is known only then.
            if !self.names.insert(name.clone()) {
                continue;
            }
            if let ResourceName::Workload(workload) = name {
                if !workloads.removed.remove(&workload) {
                    workloads.added.insert(workload);
                }
            } else {
                self.unanswered.insert(name);
            }
        }
        self.closure = None;
        if self.names.len() > MAX_NAMES {
            return Err(too_many("names_added", MAX_NAMES));
        }
        Ok(workloads)
    }

    fn add_hosts(&mut self, added: Vec<String>) -> Result<(), ProtocolError> {
        let hosts = self.hosts.get_or_insert_default();
        if added.len() > MAX_HOSTS {
            return Err(too_many("hosts", MAX_HOSTS));
        }
        for host in added {
            if host.is_empty() || host.len() > MAX_NAME_BYTES {
                return Err(ProtocolError::Field {
                    field: "hosts",
                    reason: format!("a host has 1 to {MAX_NAME_BYTES} bytes, not {}", host.len()),
                });
            }
            hosts.insert(host);
        }
        if hosts.len() > MAX_HOSTS {
            return Err(too_many("hosts", MAX_HOSTS));
        }
        Ok(())
    }

    /// The single workloads asked for.
    pub(super) fn workloads(&self) -> BTreeSet<WorkloadName> {
        self.names
            .iter()
            .filter_map(|name| match name {
                ResourceName::Workload(workload) => Some(*workload),
                ResourceName::Settings(_)
                | ResourceName::Policy(_)
                | ResourceName::Endpoints(_)
                | ResourceName::Cluster(_)
                | ResourceName::Routes(_)
                | ResourceName::Listener(_) => None,
            })
            .collect()
    }

    /// Whether this is a single workload asked for.
    pub(super) fn wants_workload(&self, name: &ResourceName) -> bool {
        matches!(name, ResourceName::Workload(_)) && self.names.contains(name)
    }

    /// Names asked for that were not answered yet; they count as answered from now on.
    pub(super) fn take_unanswered(&mut self) -> BTreeSet<ResourceName> {
        std::mem::take(&mut self.unanswered)
    }

    pub(super) fn desired_changed(&mut self) {
        self.closure = None;
    }

    /// Finds out what is included of `desired`.
    pub(super) fn close_over(&mut self, desired: &DesiredState) {
        let Some(hosts) = self.hosts.as_ref().filter(|_| self.closure.is_none()) else {
            return;
        };
        let mut closure = BTreeSet::new();
        let mut open: Vec<&ResourceName> = Vec::new();
        for (name, encoded) in desired.iter() {
            if self.names.contains(name) || asked_for(hosts, name, &encoded.references) {
                open.push(name);
            }
        }
        while let Some(name) = open.pop() {
            if closure.insert(name.clone())
                && let Some(encoded) = desired.get(name)
            {
                open.extend(encoded.references.iter());
            }
        }
        self.closure = Some(closure);
    }

    /// Whether the proxy is to have the resource, if it exists.
    pub(super) fn includes(&self, name: &ResourceName) -> bool {
        match (&self.hosts, &self.closure) {
            (None, _) => !matches!(name, ResourceName::Workload(_)) || self.names.contains(name),
            (Some(_), Some(closure)) => closure.contains(name),
            // Only until the closure has been found.
            (Some(_), None) => self.names.contains(name),
        }
    }
}

/// Whether a resource belongs to these hosts, or to the proxy whatever it calls.
fn asked_for(hosts: &AskedHosts, name: &ResourceName, references: &[ResourceName]) -> bool {
    match name {
        ResourceName::Workload(_) => false,
        ResourceName::Settings(_) | ResourceName::Policy(_) => true,
        ResourceName::Endpoints(name) => hosts.contains(&name.host),
        ResourceName::Cluster(name) => cluster_host(name).is_none_or(|host| hosts.contains(host)),
        // A wildcard may answer for any of the hosts it covers.
        ResourceName::Routes(name) => {
            hosts.contains(&name.host)
                || Domain::parse(&name.host).is_some_and(|domain| hosts.any_under(&domain))
        }
        // A listener that leads to other services only is theirs; any other is the proxy's own.
        ResourceName::Listener(_) => {
            let mut foreign = references.iter().filter_map(|reference| match reference {
                ResourceName::Cluster(name) => cluster_host(name),
                ResourceName::Settings(_)
                | ResourceName::Workload(_)
                | ResourceName::Policy(_)
                | ResourceName::Endpoints(_)
                | ResourceName::Routes(_)
                | ResourceName::Listener(_) => None,
            });
            let own = foreign.next().is_none();
            own || references.iter().any(|reference| match reference {
                ResourceName::Cluster(name) => {
                    cluster_host(name).is_some_and(|host| hosts.contains(host))
                }
                ResourceName::Settings(_)
                | ResourceName::Workload(_)
                | ResourceName::Policy(_)
                | ResourceName::Endpoints(_)
                | ResourceName::Routes(_)
                | ResourceName::Listener(_) => false,
            })
        }
    }
}

fn cluster_host(name: &ClusterName) -> Option<&str> {
    match name {
        ClusterName::Outbound { host, .. } => Some(host),
        ClusterName::Inbound { .. }
        | ClusterName::Passthrough
        | ClusterName::BlackHole
        | ClusterName::InboundPassthrough => None,
    }
}

fn parse_names(field: &'static str, names: &[String]) -> Result<Vec<ResourceName>, ProtocolError> {
    if names.len() > MAX_NAMES {
        return Err(too_many(field, MAX_NAMES));
    }
    names
        .iter()
        .map(|name| {
            if name.len() > MAX_NAME_BYTES {
                return Err(ProtocolError::Field {
                    field,
                    reason: format!(
                        "a name has at most {MAX_NAME_BYTES} bytes, not {}",
                        name.len()
                    ),
                });
            }
            name.parse().map_err(|error| ProtocolError::Field {
                field,
                reason: format!("{error}"),
            })
        })
        .collect()
}

fn too_many(field: &'static str, limit: usize) -> ProtocolError {
    ProtocolError::TooMany { field, limit }
}
