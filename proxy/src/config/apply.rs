//! From one configuration to the next: everything unchanged is kept, the rest is built.
//!
//! A function of its arguments: no clock, no I/O. What requests count (limits, statistics) is
//! carried over by name and address, so that a push never resets a circuit breaker.

use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::cluster::{
    Cluster, ClusterEndpoints, ConnectionLimits, LoadBalancer, LocalityPolicy, RetryBudget,
    UpstreamProtocol, UpstreamTls,
};
use mesh_api::destination::{AtPort, Table};
use mesh_api::endpoint::{Endpoint, EndpointAddress, EndpointSet, Health};
use mesh_api::listener::{
    Bind, InboundListener, InboundProtocol, InboundTarget, Listener, ListenerKind,
};
use mesh_api::name::{ClusterName, ListenerName, RoutesName, SettingsName};
use mesh_api::settings::ProxySettings;
use mesh_api::snapshot::Snapshot;
use mesh_api::workload::{Labels, Locality, Peer, ServiceIdentity};

use super::{
    ActiveConfig, ClusterTable, FastMap, HostRoutes, HostTables, PeerWorkload, inbound_port,
};
use crate::upstream::{ClusterId, ClusterState, EndpointState};

impl ActiveConfig {
    /// The configuration that follows `previous` when `snapshot` takes effect.
    ///
    /// `own_address` finds the workload this proxy stands for.
    pub fn next(previous: Option<&Self>, snapshot: Arc<Snapshot>, own_address: IpAddr) -> Self {
        let empty = Self::default();
        let before = previous.unwrap_or(&empty);
        let workloads = workloads(before, &snapshot);
        let own = workloads
            .get(&own_address.to_canonical())
            .map(|own| Arc::clone(&own.peer))
            .unwrap_or_default();
        let clusters = ClusterTable::next(&before.clusters, &snapshot, &own);
        let hosts = HostTables::build(hosts(before, &snapshot, &clusters).into_iter());
        let listeners: FastMap<ListenerName, Arc<Listener>> = snapshot
            .listeners()
            .map(|listener| (listener.name.clone(), Arc::clone(listener)))
            .collect();
        Self {
            sequence: before.sequence + 1,
            own,
            destinations: destinations(before, &snapshot),
            rules: snapshot
                .listeners()
                .filter(|listener| matches!(listener.bind, Bind::Socket(_)))
                .filter_map(|listener| {
                    Some((listener.name.clone(), Arc::new(AtPort::of(listener)?)))
                })
                .collect(),
            inbound: listeners
                .values()
                .filter_map(|listener| Some((inbound_port(listener)?, Arc::clone(listener))))
                .collect(),
            unmatched: listeners
                .values()
                .find_map(|listener| match &listener.kind {
                    ListenerKind::OutboundCapture { unmatched } => Some(*unmatched),
                    ListenerKind::Outbound(_)
                    | ListenerKind::Inbound(_)
                    | ListenerKind::InboundCapture { .. }
                    | ListenerKind::Gateway(_) => None,
                }),
            listeners,
            hosts,
            clusters,
            policies: snapshot
                .policies()
                .map(|policy| (policy.name.clone(), Arc::clone(policy)))
                .collect(),
            workloads,
            settings: snapshot
                .settings(&SettingsName)
                .map(|settings| ProxySettings::clone(settings))
                .unwrap_or_default(),
            snapshot,
        }
    }
}

/// What redirected connections meet; built again only if a listener changed.
fn destinations(before: &ActiveConfig, snapshot: &Snapshot) -> Arc<Table> {
    let (mut old, mut new) = (before.snapshot.listeners(), snapshot.listeners());
    let unchanged = loop {
        match (old.next(), new.next()) {
            (None, None) => break true,
            (Some(old), Some(new)) if same(old, new) => {}
            (_, _) => break false,
        }
    };
    if unchanged {
        Arc::clone(&before.destinations)
    } else {
        Arc::new(Table::of(snapshot.listeners()))
    }
}

/// The workloads of a snapshot; a peer that did not change stays the same object, so that metric
/// series keyed by it stay cached.
fn workloads(before: &ActiveConfig, snapshot: &Snapshot) -> FastMap<IpAddr, Arc<PeerWorkload>> {
    snapshot
        .workloads()
        .map(|workload| {
            let address = workload.name.0.to_canonical();
            let known = before.workloads.get(&address);
            let kept = known.filter(|known| same(&known.workload, workload));
            let entry = kept.map_or_else(
                || {
                    Arc::new(PeerWorkload {
                        peer: Arc::new(workload.peer.clone()),
                        workload: Arc::clone(workload),
                    })
                },
                Arc::clone,
            );
            (address, entry)
        })
        .collect()
}

fn hosts(
    before: &ActiveConfig,
    snapshot: &Snapshot,
    clusters: &ClusterTable,
) -> Vec<Arc<HostRoutes>> {
    let mut known: FastMap<RoutesName, &Arc<HostRoutes>> = FastMap::default();
    for (_, table) in before.hosts.tables() {
        for routes in table.routes() {
            known.insert(routes.host().name.clone(), routes);
        }
    }
    snapshot
        .virtual_hosts()
        .map(|host| match known.get(&host.name) {
            // Clusters keep their numbers, so an unchanged host still finds them.
            Some(kept) if same(kept.host(), host) => Arc::clone(kept),
            Some(_) | None => Arc::new(HostRoutes::new(Arc::clone(host), &|name| {
                clusters.by_name.get(name).copied()
            })),
        })
        .collect()
}

impl ClusterTable {
    fn next(before: &Self, snapshot: &Snapshot, own: &Arc<Peer>) -> Self {
        let mut table = Self {
            states: vec![None; before.states.len()],
            ..Self::default()
        };
        let mut free = before
            .states
            .iter()
            .enumerate()
            .filter(|(_, state)| state.is_none())
            .map(|(index, _)| index)
            .collect::<Vec<_>>();
        for cluster in snapshot.clusters() {
            let number = before.by_name.get(&cluster.name).copied();
            let kept = number.and_then(|id| before.state(id));
            let id = number.unwrap_or_else(|| table.free_slot(&mut free));
            let endpoints = endpoints_of(cluster, snapshot);
            table.by_name.insert(cluster.name.clone(), id);
            table.put(id, next_state(id, kept, cluster, &endpoints));
        }
        if !table.by_name.contains_key(&ClusterName::Passthrough) {
            // Always there: who may use it is the listener's business.
            let number = before.by_name.get(&ClusterName::Passthrough).copied();
            let kept = number.and_then(|id| before.state(id));
            let id = number.unwrap_or_else(|| table.free_slot(&mut free));
            table.by_name.insert(ClusterName::Passthrough, id);
            table.put(id, next_state(id, kept, &Arc::new(passthrough()), &[]));
        }
        for listener in snapshot.listeners() {
            let ListenerKind::Inbound(inbound) = &listener.kind else {
                continue;
            };
            let (cluster, endpoints) = application(inbound, own);
            let number = before.inbound.get(&listener.name).copied();
            let kept = number.and_then(|id| before.state(id));
            let id = number.unwrap_or_else(|| table.free_slot(&mut free));
            table.inbound.insert(listener.name.clone(), id);
            table.put(id, next_state(id, kept, &Arc::new(cluster), &endpoints));
        }
        table
    }

    fn free_slot(&mut self, free: &mut Vec<usize>) -> ClusterId {
        let index = free.pop().unwrap_or_else(|| {
            self.states.push(None);
            self.states.len() - 1
        });
        ClusterId::new(index)
    }

    fn put(&mut self, id: ClusterId, state: Arc<ClusterState>) {
        if let Some(slot) = self.states.get_mut(id.index()) {
            *slot = Some(state);
        }
    }
}

/// The state of a cluster: the one before if nothing changed, else a new one that shares what
/// requests count.
fn next_state(
    id: ClusterId,
    before: Option<&Arc<ClusterState>>,
    cluster: &Arc<Cluster>,
    endpoints: &[Arc<Endpoint>],
) -> Arc<ClusterState> {
    let known: FastMap<&EndpointAddress, &Arc<EndpointState>> = before
        .into_iter()
        .flat_map(|before| before.endpoints())
        .map(|known| (&known.endpoint().address, known))
        .collect();
    let next: Vec<Arc<EndpointState>> = endpoints
        .iter()
        .map(|endpoint| match known.get(&endpoint.address) {
            Some(kept) if same(kept.endpoint(), endpoint) => Arc::clone(kept),
            Some(changed) => Arc::new(changed.with(Arc::clone(endpoint))),
            None => Arc::new(EndpointState::new(Arc::clone(endpoint))),
        })
        .collect();
    match before {
        Some(kept) if same(kept.cluster(), cluster) && kept.has_endpoints(&next) => {
            Arc::clone(kept)
        }
        Some(changed) => Arc::new(changed.with(Arc::clone(cluster), next)),
        None => Arc::new(ClusterState::new(id, Arc::clone(cluster), next)),
    }
}

fn same<T: PartialEq>(a: &Arc<T>, b: &Arc<T>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// The endpoints of a cluster: those of its set whose labels include the subset's.
fn endpoints_of(cluster: &Cluster, snapshot: &Snapshot) -> Vec<Arc<Endpoint>> {
    match &cluster.endpoints {
        ClusterEndpoints::Discovered { set, subset }
        | ClusterEndpoints::Dns { set, subset, .. } => snapshot
            .endpoint_set(set)
            .map(|set| select(set, subset))
            .unwrap_or_default(),
        ClusterEndpoints::OriginalDestination | ClusterEndpoints::Refused(_) => Vec::new(),
    }
}

fn select(set: &EndpointSet, subset: &Labels) -> Vec<Arc<Endpoint>> {
    let includes = |endpoint: &Endpoint| {
        subset
            .iter()
            .all(|(key, value)| endpoint.labels.get(key) == Some(value))
    };
    let chosen = set.endpoints.iter().filter(|endpoint| includes(endpoint));
    chosen.map(Arc::clone).collect()
}

/// The cluster of outbound traffic to where it was going anyway.
fn passthrough() -> Cluster {
    Cluster {
        name: ClusterName::Passthrough,
        service: nameless(),
        endpoints: ClusterEndpoints::OriginalDestination,
        protocol: UpstreamProtocol::MatchDownstream,
        balancer: LoadBalancer::Passthrough,
        locality: LocalityPolicy::Off,
        limits: ConnectionLimits::default(),
        outlier: None,
        tls: UpstreamTls::Plaintext,
        retry_budget: RetryBudget::default(),
        proxy_protocol: None,
        tunnel: None,
    }
}

fn nameless() -> ServiceIdentity {
    ServiceIdentity {
        host: Arc::from(""),
        name: Arc::from(""),
        namespace: Arc::from(""),
    }
}

/// The cluster that stands for the application behind an inbound port.
fn application(inbound: &InboundListener, own: &Arc<Peer>) -> (Cluster, Vec<Arc<Endpoint>>) {
    let protocol = match inbound.protocol {
        InboundProtocol::Http1 => UpstreamProtocol::Http1,
        InboundProtocol::Http2 => UpstreamProtocol::Http2,
        InboundProtocol::Tcp => UpstreamProtocol::Tcp,
        InboundProtocol::Detect => UpstreamProtocol::MatchDownstream,
    };
    let (endpoints, list) = match inbound.target {
        InboundTarget::OriginalDestination => (ClusterEndpoints::OriginalDestination, Vec::new()),
        InboundTarget::Address(address) => (
            ClusterEndpoints::Discovered {
                set: mesh_api::name::EndpointsName {
                    host: Arc::from("application"),
                    port: inbound.port,
                    claim: None,
                },
                subset: Labels::default(),
            },
            vec![Arc::new(Endpoint {
                address: EndpointAddress::Socket(address),
                labels: Labels::default(),
                weight: 1,
                health: Health::Healthy,
                locality: Locality::default(),
                network: Arc::from(""),
                mesh_tls: false,
                peer: Peer::clone(own),
            })],
        ),
    };
    let cluster = Cluster {
        name: ClusterName::Inbound { port: inbound.port },
        service: inbound.service.clone().unwrap_or_else(nameless),
        endpoints,
        protocol,
        balancer: LoadBalancer::default(),
        locality: LocalityPolicy::Off,
        limits: inbound.limits.clone(),
        outlier: None,
        tls: UpstreamTls::Plaintext,
        retry_budget: RetryBudget::default(),
        proxy_protocol: None,
        tunnel: None,
    };
    (cluster, list)
}
