//! A proxy inside the test: real worker threads and sockets, configuration given by the test.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mesh_api::cluster::{
    Cluster, ClusterEndpoints, ConnectionLimits, LoadBalancer, LocalityPolicy, RetryBudget,
    UpstreamProtocol, UpstreamTls,
};
use mesh_api::endpoint::{Endpoint, EndpointAddress, EndpointSet, Health};
use mesh_api::error::Rejection;
use mesh_api::listener::{
    Bind, GatewayListener, GatewayProtocol, Listener, ListenerKind, Outbound, TcpRoutes, TcpRule,
};
use mesh_api::name::{ClusterName, EndpointsName, ListenerName, PolicyName};
use mesh_api::policy::{Policy, PolicyRule};
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::resource::Resource;
use mesh_api::route::{Destination, Destinations, HeaderEdits, Target};
use mesh_api::snapshot::Snapshot;
use mesh_api::units::Port;
use mesh_api::workload::{Labels, Locality, Peer, ServiceIdentity, WorkloadId};
use mesh_runtime::logging::{Levels, LogFormat};
use mesh_runtime::prometheus::ScrapeSection;
use proxy::bootstrap::{AtDeadline, Http10, MeshTime, Settings};
use proxy::budgets::{Budgets, Resources};
use proxy::config::live::LiveConfig;
use proxy::control::ControlPlane;
use proxy::listeners::{self, Applier};
use proxy::pod::PodSettings;
use proxy::runtimes::{WorkerThread, spawn_worker};
use proxy::telemetry::{AccessLogMode, Telemetry};
use proxy::worker::drains::Drains;
use proxy::worker::{Shared, Worker};

/// Settings of a sidecar on this machine.
pub fn settings() -> Settings {
    Settings {
        role: ProxyRole::Sidecar,
        mode: CaptureMode::Explicit,
        workload: WorkloadId {
            namespace: "test".into(),
            name: "proxy-1".into(),
        },
        address: "127.0.0.1".parse().unwrap(),
        control_plane: ControlPlane::new("http://127.0.0.1:1", None, None).unwrap(),
        data_dir: PathBuf::from("/nonexistent"),
        concurrency: NonZeroUsize::new(2).unwrap(),
        access_log: AccessLogMode::Off,
        min_drain: Duration::ZERO,
        drain_timeout: Duration::from_secs(5),
        at_deadline: AtDeadline::Cut,
        max_connections: 1000,
        header_read_timeout: Duration::from_secs(10),
        stream_idle_timeout: MeshTime {
            own: None,
            default: Duration::from_mins(5),
        },
        idle_timeout: MeshTime {
            own: None,
            default: Duration::from_mins(65),
        },
        detect_timeout: None,
        http10: Http10::Refused,
        pod: PodSettings::default(),
        bind_source: false,
        log_format: LogFormat::Text,
        log_level: Levels::default(),
        exit_on_stdin_close: false,
    }
}

/// A proxy that runs in this process.
pub struct TestProxy {
    pub live: Arc<LiveConfig>,
    pub drain: Drains,
    pub telemetry: Telemetry,
    pub budgets: Budgets,
    applier: Applier,
    workers: Vec<WorkerThread>,
}

impl TestProxy {
    pub fn start() -> Self {
        Self::with(settings())
    }

    pub fn with(settings: Settings) -> Self {
        Self::telling(settings, Telemetry::new())
    }

    /// One that tells what it does to `telemetry`.
    pub fn telling(settings: Settings, telemetry: Telemetry) -> Self {
        Self::within(settings, telemetry, Resources::default())
    }

    /// One that has no more than these.
    pub fn within(settings: Settings, telemetry: Telemetry, resources: Resources) -> Self {
        let settings = Arc::new(settings);
        let (live, drain) = (LiveConfig::new(), Drains::default());
        let budgets = Budgets::new(&settings, resources);
        let shared = Shared {
            settings: Arc::clone(&settings),
            live: Arc::clone(&live),
            budgets: budgets.clone(),
            drains: drain.watches(),
        };
        let workers: Vec<WorkerThread> = (0..settings.concurrency.get())
            .map(|id| {
                let (shared, telemetry) = (shared.clone(), telemetry.clone());
                spawn_worker(id, move || Worker::new(id, shared, telemetry.worker(id))).unwrap()
            })
            .collect();
        let senders = workers
            .iter()
            .map(|worker| worker.commands.clone())
            .collect();
        let applier = Applier::new(settings, Arc::clone(&live), senders)
            .switching(telemetry.access_log().cloned());
        Self {
            live,
            drain,
            telemetry,
            budgets,
            applier,
            workers,
        }
    }

    pub async fn apply(&mut self, resources: Vec<Resource>) {
        self.try_apply(resources).await.unwrap();
    }

    /// Puts these resources into effect, and beside them a policy that lets everything in.
    pub async fn try_apply(&mut self, mut resources: Vec<Resource>) -> Result<(), Vec<Rejection>> {
        resources.push(policy(OPEN, PolicyRule::Allow));
        let snapshot = Snapshot::of(resources).unwrap();
        self.applier.put_into_effect(Arc::new(snapshot)).await
    }

    pub async fn stop_accepting(&self) {
        let senders: Vec<_> = self
            .workers
            .iter()
            .map(|worker| worker.commands.clone())
            .collect();
        listeners::stop_accepting(&senders).await;
    }

    /// The sum of all series of a metric whose labels contain all of these.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let mut page = String::new();
        self.telemetry.render(&mut page);
        page.lines()
            .filter(|line| {
                line.starts_with(name) && labels.iter().all(|label| line.contains(label))
            })
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    }

    pub async fn metric_reaches(&self, name: &str, labels: &[&str], value: f64) {
        // A connection is counted once its peer is known, or known to be nobody's.
        for _ in 0..1_000 {
            if self.metric(name, labels) >= value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut page = String::new();
        self.telemetry.render(&mut page);
        panic!(
            "{name} {labels:?} is {}, not {value}:\n{page}",
            self.metric(name, labels)
        );
    }
}

/// The policy of every proxy in a test that lets everything in.
pub const OPEN: &str = "open";

pub fn open() -> PolicyName {
    PolicyName(OPEN.into())
}

/// A policy with one rule for every port.
pub fn policy(name: &str, rule: PolicyRule) -> Resource {
    Policy::uniform(PolicyName(name.into()), rule).into()
}

pub fn refusal(reason: &str) -> PolicyRule {
    PolicyRule::Refuse {
        reason: reason.into(),
    }
}

/// A gateway's port where everything may come in.
pub fn gateway(protocol: GatewayProtocol) -> ListenerKind {
    let policy = open();
    ListenerKind::Gateway(GatewayListener { policy, protocol })
}

/// An address of this machine nobody listens on just now.
pub fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn service(host: &str) -> ServiceIdentity {
    ServiceIdentity {
        host: host.into(),
        name: host.split('.').next().unwrap().into(),
        namespace: "test".into(),
    }
}

pub fn cluster_name(host: &str) -> ClusterName {
    ClusterName::Outbound {
        port: Port::new(80).unwrap(),
        subset: None,
        host: host.into(),
    }
}

/// A TCP cluster and its endpoints.
pub fn cluster(host: &str, addresses: &[SocketAddr], limits: ConnectionLimits) -> Vec<Resource> {
    let set = EndpointsName {
        host: host.into(),
        port: Port::new(80).unwrap(),
        claim: None,
    };
    let endpoints = addresses
        .iter()
        .map(|address| {
            Arc::new(Endpoint {
                address: EndpointAddress::Socket(*address),
                labels: Labels::default(),
                weight: 1,
                health: Health::Healthy,
                locality: Locality::default(),
                network: "".into(),
                mesh_tls: false,
                peer: Peer {
                    workload: format!("w{}", address.port()).into(),
                    ..Peer::default()
                },
            })
        })
        .collect();
    let cluster = Cluster {
        name: cluster_name(host),
        service: service(host),
        endpoints: ClusterEndpoints::Discovered {
            set: set.clone(),
            subset: Labels::default(),
        },
        protocol: UpstreamProtocol::Tcp,
        balancer: LoadBalancer::RoundRobin { warmup: None },
        locality: LocalityPolicy::Off,
        limits,
        outlier: None,
        tls: UpstreamTls::Plaintext,
        retry_budget: RetryBudget::default(),
        proxy_protocol: None,
        tunnel: None,
    };
    vec![
        Resource::Endpoints(Arc::new(EndpointSet {
            name: set,
            endpoints,
        })),
        Resource::Cluster(Arc::new(cluster)),
    ]
}

/// Destinations by host and weight.
pub fn destinations(hosts: &[(&str, u32)]) -> Destinations {
    let list = hosts.iter().map(|(host, weight)| Destination {
        target: Target::Cluster(cluster_name(host)),
        weight: *weight,
        headers: HeaderEdits::default(),
    });
    Destinations::new(list.collect()).unwrap()
}

pub fn routes(hosts: &[(&str, u32)]) -> TcpRoutes {
    TcpRoutes {
        rules: vec![TcpRule {
            destination_subnets: Vec::new(),
            destinations: destinations(hosts).into(),
        }],
    }
}

pub fn listener(name: &str, bind: SocketAddr, kind: ListenerKind) -> Resource {
    Resource::Listener(Arc::new(Listener {
        name: ListenerName(name.into()),
        bind: Bind::Socket(bind),
        kind,
    }))
}

/// An outbound TCP listener to one host.
pub fn tcp_listener(name: &str, bind: SocketAddr, host: &str) -> Resource {
    let protocol = Outbound::tcp(routes(&[(host, 1)]));
    listener(name, bind, ListenerKind::Outbound(protocol))
}
