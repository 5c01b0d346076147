//! A small mesh whose services come, go and change: a source of desired states.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use control_plane::discovery::desired::DesiredState;
use http::StatusCode;
use mesh_api::cluster::{
    Cluster, ClusterEndpoints, ConnectionLimits, LoadBalancer, LocalityPolicy, RetryBudget,
    UpstreamProtocol, UpstreamTls,
};
use mesh_api::encoded::Encoded;
use mesh_api::endpoint::{Endpoint, EndpointAddress, EndpointSet, Health};
use mesh_api::listener::{Bind, Listener, ListenerKind, Outbound, TcpRoutes, TcpRule};
use mesh_api::name::{
    ClusterName, EndpointsName, ListenerName, ResourceName, RouteScope, RoutesName, WorkloadName,
};
use mesh_api::resource::Resource;
use mesh_api::route::{
    Destinations, DirectResponse, Domain, Forward, HeaderEdits, RetryPolicy, Rewrite, RouteAction,
    Rule, Target, VirtualHost,
};
use mesh_api::units::Port;
use mesh_api::version::Version;
use mesh_api::workload::{Labels, Locality, Peer, ServiceIdentity, Workload, WorkloadId};

/// How many services there may be.
pub(crate) const SERVICES: usize = 5;
/// Of the workloads that may be asked for, this many exist.
const WORKLOADS: u8 = 2;

/// A resource of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Endpoints,
    Cluster,
    Routes,
    Listener,
}

const PARTS: [Part; 4] = [Part::Endpoints, Part::Cluster, Part::Routes, Part::Listener];

/// All services.
#[derive(Clone, Debug, Default)]
pub(crate) struct Town {
    services: [Service; SERVICES],
    large: bool,
    /// Whether the workloads are gone.
    deserted: bool,
}

#[derive(Clone, Debug, Default)]
struct Service {
    exists: bool,
    /// A count of changes per part.
    changes: [u32; 4],
    spoilt: [bool; 4],
    /// Whose cluster the route and the listener lead to, if that exists; else the own one's.
    leads_to: Option<usize>,
}

impl Town {
    /// Every service exists.
    pub(crate) fn full() -> Self {
        let mut town = Self::default();
        for service in 0..SERVICES {
            town.toggle(service);
        }
        town
    }

    pub(crate) fn toggle(&mut self, service: usize) {
        let exists = &mut self.services[service].exists;
        *exists = !*exists;
    }

    pub(crate) fn change(&mut self, service: usize, part: Part) {
        // Few versions, so that old ones come back.
        let count = &mut self.services[service].changes[part as usize];
        *count = (*count + 1) % 5;
    }

    pub(crate) fn lead(&mut self, from: usize, to: usize) {
        self.services[from].leads_to = Some(to);
    }

    pub(crate) fn spoil(&mut self, service: usize, part: Part) {
        let spoilt = &mut self.services[service].spoilt[part as usize];
        *spoilt = !*spoilt;
    }

    pub(crate) fn repair(&mut self) {
        for service in &mut self.services {
            service.spoilt = [false; 4];
        }
    }

    /// Makes routes so large that a push needs several messages.
    pub(crate) fn inflate(&mut self) {
        self.large = true;
    }

    /// All workloads go.
    pub(crate) fn desert(&mut self) {
        self.deserted = true;
    }

    /// The name of a part.
    pub(crate) fn name(service: usize, part: Part) -> ResourceName {
        match part {
            Part::Endpoints => endpoints_name(service).into(),
            Part::Cluster => cluster_name(service).into(),
            Part::Routes => RoutesName {
                scope: RouteScope::port(port()),
                host: host(service),
            }
            .into(),
            Part::Listener => listener_name(service).into(),
        }
    }

    /// What a proxy should have that asked for these workloads.
    pub(crate) fn desired(&self, wanted: &BTreeSet<WorkloadName>) -> DesiredState {
        let mut all: Vec<(ResourceName, Encoded)> = Vec::new();
        for (index, service) in self.services.iter().enumerate() {
            if service.exists {
                for part in PARTS {
                    let encoded = self.encode(index, part);
                    all.push((encoded.name.clone(), encoded));
                }
            }
        }
        let workloads = if self.deserted { 0 } else { WORKLOADS };
        for address in 0..workloads {
            let name = WorkloadName(address_of(address));
            if wanted.contains(&name) {
                let encoded = Encoded::new(&workload(name));
                all.push((encoded.name.clone(), encoded));
            }
        }
        DesiredState::new(all)
    }

    fn encode(&self, index: usize, part: Part) -> Encoded {
        let service = &self.services[index];
        let changes = service.changes[part as usize];
        let target = service
            .leads_to
            .filter(|to| self.services[*to].exists)
            .unwrap_or(index);
        let resource = match part {
            Part::Endpoints => endpoints(index, changes),
            Part::Cluster => cluster(index, changes),
            Part::Routes => self.routes(index, changes, target),
            Part::Listener => listener(index, changes, target),
        };
        let mut encoded = Encoded::new(&resource);
        if service.spoilt[part as usize] {
            // A field number with a wire type that does not exist, and a count to tell
            // versions apart.
            encoded.body = Bytes::from(vec![0xff, u8::try_from(changes).unwrap()]);
            encoded.version = Version::of_body(&encoded.body);
        }
        encoded
    }

    fn routes(&self, index: usize, changes: u32, target: usize) -> Resource {
        let rule = |name: String, action| {
            Arc::new(Rule {
                name: name.into(),
                matches: Vec::new(),
                fault: None,
                cors: None,
                headers: HeaderEdits::default(),
                action,
            })
        };
        let forward = RouteAction::Forward(Box::new(Forward {
            destinations: Destinations::one(Target::Cluster(cluster_name(target))),
            timeout: None,
            retry: RetryPolicy::off(),
            rewrite: Rewrite::default(),
            mirrors: Vec::new(),
        }));
        let mut rules = vec![rule(format!("route-{changes}"), forward)];
        if self.large {
            let respond = RouteAction::Respond(DirectResponse {
                status: StatusCode::OK,
                body: Bytes::from(vec![b'x'; 700_000]),
            });
            rules.push(rule("large".to_owned(), respond));
        }
        VirtualHost {
            name: RoutesName {
                scope: RouteScope::port(port()),
                host: host(index),
            },
            domains: vec![Domain::Exact(host(index))],
            service: None,
            rules,
        }
        .into()
    }
}

/// The name of a workload that may be asked for.
pub(crate) fn workload_name(address: u8) -> ResourceName {
    WorkloadName(address_of(address)).into()
}

pub(crate) fn address_of(address: u8) -> IpAddr {
    IpAddr::from([127, 0, 1, address])
}

fn port() -> Port {
    Port::new(80).unwrap()
}

fn host(service: usize) -> Arc<str> {
    format!("s{service}.town.svc.cluster.local").into()
}

fn endpoints_name(service: usize) -> EndpointsName {
    EndpointsName {
        host: host(service),
        port: port(),
        claim: None,
    }
}

fn cluster_name(service: usize) -> ClusterName {
    ClusterName::Outbound {
        port: port(),
        subset: None,
        host: host(service),
    }
}

fn listener_name(service: usize) -> ListenerName {
    ListenerName(format!("tcp-{service}").into())
}

fn endpoints(service: usize, changes: u32) -> Resource {
    let endpoint = |number: u32| {
        let last = u8::try_from(number + 1).unwrap();
        let third = u8::try_from(service).unwrap();
        Arc::new(Endpoint {
            address: EndpointAddress::Socket(SocketAddr::from(([10, 0, third, last], 80))),
            labels: Labels::new(),
            weight: 1,
            health: Health::Healthy,
            locality: Locality::default(),
            network: Arc::default(),
            mesh_tls: false,
            peer: Peer::default(),
        })
    };
    EndpointSet {
        name: endpoints_name(service),
        endpoints: (0..=changes).map(endpoint).collect(),
    }
    .into()
}

fn cluster(service: usize, changes: u32) -> Resource {
    Cluster {
        name: cluster_name(service),
        service: ServiceIdentity {
            host: host(service),
            name: "s".into(),
            namespace: "town".into(),
        },
        endpoints: ClusterEndpoints::Discovered {
            set: endpoints_name(service),
            subset: Labels::new(),
        },
        protocol: UpstreamProtocol::Http1,
        balancer: LoadBalancer::default(),
        locality: LocalityPolicy::default(),
        limits: ConnectionLimits {
            max_connections: Some(changes),
            ..ConnectionLimits::default()
        },
        outlier: None,
        tls: UpstreamTls::default(),
        retry_budget: RetryBudget::default(),
        proxy_protocol: None,
        tunnel: None,
    }
    .into()
}

fn listener(service: usize, changes: u32, target: usize) -> Resource {
    let port = 9_000 + u16::try_from(service).unwrap() * 100 + u16::try_from(changes).unwrap();
    Listener {
        name: listener_name(service),
        bind: Bind::Socket(SocketAddr::from(([127, 0, 0, 1], port))),
        kind: ListenerKind::Outbound(Outbound::tcp(TcpRoutes {
            rules: vec![TcpRule {
                destination_subnets: Vec::new(),
                destinations: Destinations::one(Target::Cluster(cluster_name(target))).into(),
            }],
        })),
    }
    .into()
}

fn workload(name: WorkloadName) -> Resource {
    Workload {
        name,
        id: WorkloadId {
            namespace: "town".into(),
            name: format!("w-{}", name.0).into(),
        },
        peer: Peer::default(),
        locality: Locality::default(),
        labels: Labels::new(),
    }
    .into()
}
