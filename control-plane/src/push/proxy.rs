//! A connected proxy as the push loop sees it: who it is, where its newest state lies, and the single
//! workloads it asked for.
//!
//! Those are looked up once, when they are asked for and when they change, and never because
//! something else does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::encoded::Encoded;
use mesh_api::name::{EndpointsName, ResourceName, WorkloadName};
use tokio::sync::watch;
use tokio::time::Instant;

use super::slot::{Desired, offer};
use crate::compile;
use crate::discovery::desired::DesiredState;
use crate::discovery::registry::ProxyIdentity;
use crate::discovery::session::Workloads;
use crate::model::{WorkloadInfo, World};

/// A connected proxy.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) who: ProxyIdentity,
    pub(super) slot: watch::Sender<Desired>,
    wanted: BTreeSet<WorkloadName>,
    /// Those of them that exist.
    found: BTreeMap<ResourceName, Encoded>,
    /// Those that do not lie over its state yet.
    news: BTreeSet<ResourceName>,
    /// Those that may lie over its state still, and should not.
    gone: BTreeSet<ResourceName>,
    /// How often what it wants has changed.
    looked_up: u64,
}

impl Proxy {
    /// One that wants these workloads.
    pub(super) fn new(
        who: ProxyIdentity,
        slot: watch::Sender<Desired>,
        wanted: BTreeSet<WorkloadName>,
        world: &World,
    ) -> Self {
        let mut proxy = Self {
            who,
            slot,
            wanted: BTreeSet::new(),
            found: BTreeMap::new(),
            news: BTreeSet::new(),
            gone: BTreeSet::new(),
            looked_up: 0,
        };
        for name in wanted {
            proxy.wanted.insert(name);
            proxy.look_up(name, world);
        }
        proxy
    }

    /// Takes in what it wants now, and does not want any more.
    pub(super) fn want(&mut self, workloads: Workloads, world: &World) {
        self.looked_up += 1;
        for name in workloads.removed {
            self.wanted.remove(&name);
            self.drop(name);
        }
        for name in workloads.added {
            self.wanted.insert(name);
            self.look_up(name, world);
        }
    }

    /// Looks up again those of the wanted workloads that have one of these addresses.
    pub(super) fn look_again(&mut self, addresses: &BTreeSet<IpAddr>, world: &World) {
        // Whichever are fewer: neither is to cost because of the other.
        let touched: Vec<WorkloadName> = if addresses.len() < self.wanted.len() {
            let names = addresses.iter().copied().map(WorkloadName);
            names.filter(|name| self.wanted.contains(name)).collect()
        } else {
            let wanted = self.wanted.iter().copied();
            wanted.filter(|name| addresses.contains(&name.0)).collect()
        };
        for name in touched {
            self.look_up(name, world);
        }
    }

    /// Looks up all wanted workloads again.
    pub(super) fn look_up_all(&mut self, world: &World) {
        for name in self.wanted.clone() {
            self.look_up(name, world);
        }
    }

    fn look_up(&mut self, name: WorkloadName, world: &World) {
        match compile::workload(world, name.0) {
            Some(found) => {
                let name = ResourceName::Workload(name);
                self.gone.remove(&name);
                self.news.insert(name.clone());
                self.found.insert(name, found);
            }
            None => self.drop(name),
        }
    }

    fn drop(&mut self, name: WorkloadName) {
        let name = ResourceName::Workload(name);
        if self.found.remove(&name).is_some() {
            self.news.remove(&name);
            self.gone.insert(name);
        }
    }

    /// A state that was just compiled, with the workloads.
    pub(super) fn with_workloads(
        &mut self,
        state: DesiredState,
        changed: Instant,
        revision: u64,
    ) -> Desired {
        self.news.clear();
        self.gone.clear();
        let state = state.with_replaced(self.found.clone()).unwrap_or(state);
        Desired::State {
            state: Arc::new(state),
            changed,
            revision,
            looked_up: self.looked_up,
        }
    }

    /// Lays the workloads over what the proxy was last told.
    pub(super) fn lay_over_workloads(&mut self) {
        self.lay_over(&[], Instant::now(), "workload");
    }

    /// Lays the workloads and those of these endpoint sets that it has over what it was last told.
    pub(super) fn lay_over(
        &mut self,
        sets: &[(EndpointsName, Encoded)],
        changed: Instant,
        kind: &'static str,
    ) {
        let (news, gone) = (
            std::mem::take(&mut self.news),
            std::mem::take(&mut self.gone),
        );
        let current = self.slot.borrow().clone();
        let Desired::State {
            state,
            revision,
            looked_up,
            ..
        } = current
        else {
            return;
        };
        let without = state.without_laid_over(&gone);
        let base = without.as_ref().unwrap_or(&state);
        let sets = sets
            .iter()
            .map(|(name, set)| (ResourceName::Endpoints(name.clone()), set))
            .filter(|(name, _)| base.get(name).is_some())
            .map(|(name, set)| (name, set.clone()));
        let workloads = news
            .into_iter()
            .filter_map(|name| self.found.get(&name).cloned().map(|found| (name, found)));
        let next = base.with_replaced(sets.chain(workloads));
        let state = match next.or(without) {
            Some(state) => Arc::new(state),
            None if self.looked_up > looked_up => state,
            None => return,
        };
        let desired = Desired::State {
            state,
            changed,
            revision,
            looked_up: self.looked_up,
        };
        offer(&self.slot, desired, kind);
    }
}

/// Whether the name has passed to another pod than the one that proved who it is.
pub(super) fn is_another(known: &WorkloadInfo, who: &ProxyIdentity) -> bool {
    who.uid.is_some() && who.uid != known.uid
}

pub(super) fn another_pod(who: &ProxyIdentity, known: &WorkloadInfo) -> Arc<str> {
    let uid = |uid: &Option<Arc<str>>| uid.as_deref().unwrap_or("(none)").to_owned();
    format!(
        "the token was issued to pod {} with UID {}, but the pod of that name has UID {} now; a \
         pod that was replaced gets no configuration, and one just created tries again",
        who.workload,
        uid(&who.uid),
        uid(&known.uid),
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::{CaptureMode, ProxyRole, ProxyScope, compile};
    use crate::testing::world;

    const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {serviceAccountName: web}
status: {podIP: 10.0.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: web-2, namespace: shop, labels: {app: web}}
spec: {serviceAccountName: web}
status: {podIP: 10.0.0.2}
";

    fn name(address: &str) -> WorkloadName {
        WorkloadName(address.parse().unwrap())
    }

    fn state(proxy: &Proxy) -> Arc<DesiredState> {
        let Desired::State { state, .. } = proxy.slot.borrow().clone() else {
            panic!("it has no state");
        };
        state
    }

    /// A proxy that was told its configuration.
    fn told(world: &World) -> Proxy {
        let who = ProxyIdentity {
            workload: "shop/web-1".parse().unwrap(),
            role: ProxyRole::Sidecar,
            mode: CaptureMode::OriginalDestination,
            software: "test".into(),
            address: None,
            uid: None,
        };
        let scope = ProxyScope::new(world, &who.workload, who.role, who.mode).unwrap();
        let compiled = compile(world, &scope);
        let all = compiled.iter();
        let all = all.map(|(name, encoded)| (name.clone(), encoded.clone()));
        let slot = watch::Sender::new(Desired::State {
            state: Arc::new(DesiredState::new(all)),
            changed: Instant::now(),
            revision: 1,
            looked_up: 0,
        });
        Proxy::new(who, slot, BTreeSet::new(), world)
    }

    #[tokio::test]
    async fn what_is_asked_for_is_laid_over_and_nothing_is_made_again() {
        let world = world(POD);
        let mut proxy = told(&world);
        let before = state(&proxy);
        let ask = |added: &[&str], removed: &[&str]| Workloads {
            added: added.iter().copied().map(name).collect(),
            removed: removed.iter().copied().map(name).collect(),
        };
        let wanted = ResourceName::Workload(name("10.0.0.2"));
        for _ in 0..100 {
            proxy.want(ask(&["10.0.0.2", "10.0.0.9"], &[]), &world);
            proxy.lay_over_workloads();
            assert!(state(&proxy).get(&wanted).is_some());
            assert!(state(&proxy).shares_with(&before));
            proxy.want(ask(&[], &["10.0.0.2"]), &world);
            proxy.lay_over_workloads();
            assert!(state(&proxy).shares_with(&before));
            assert_eq!(state(&proxy).version(), before.version());
        }
    }

    #[tokio::test]
    async fn a_workload_that_comes_and_goes_is_told_to_who_asked() {
        let empty = world("");
        let full = world(POD);
        let mut proxy = told(&full);
        let wanted = Workloads {
            added: BTreeSet::from([name("10.0.0.2")]),
            removed: BTreeSet::new(),
        };
        let there = |proxy: &Proxy| {
            let wanted = ResourceName::Workload(name("10.0.0.2"));
            state(proxy).get(&wanted).is_some()
        };
        let addresses = BTreeSet::from([name("10.0.0.2").0]);
        proxy.want(wanted, &empty);
        proxy.lay_over_workloads();
        assert!(!there(&proxy));
        proxy.look_again(&addresses, &full);
        proxy.lay_over_workloads();
        assert!(there(&proxy));
        proxy.look_again(&addresses, &empty);
        proxy.lay_over_workloads();
        assert!(!there(&proxy));
    }
}
