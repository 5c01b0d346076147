//! From the mesh to the local application: the listeners and policies of one sidecar.

mod ingress;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use mesh_api::cluster::ConnectionLimits;
use mesh_api::encoded::Encoded;
use mesh_api::listener::{
    Bind, InboundListener, InboundProtocol, InboundTarget, Listener, ListenerKind,
};
use mesh_api::name::{ListenerName, PolicyName};
use mesh_api::reserved::{INBOUND_PORT, is_proxy_port};
use mesh_api::resource::Resource as Compiled;
use mesh_api::units::Port;

use super::ResourceMap;
use super::clusters::limits;
use super::destination_rules::{Block, join};
use super::diagnostics::{Diagnostic, Report, codes};
use super::outbound::{any_address, name};
use super::scope::{CaptureMode, Client, ProxyRole, ProxyScope};
use super::security::Protection;
use super::sidecar;
use crate::crd::object::Resource;
use crate::crd::sidecar::SidecarSpec;
use crate::meta::ObjectKey;
use crate::model::protocol::Protocol;
use crate::model::rules::RuleIndex;
use crate::model::service::ServicePort;
use crate::model::{Service, WorkloadInfo, World};

/// A compilation of one sidecar's inbound side.
struct Inbound<'a> {
    world: &'a World,
    scope: &'a ProxyScope,
    sidecar: Option<&'a Arc<Resource<SidecarSpec>>>,
    services: Vec<&'a Arc<Service>>,
    protection: Protection,
    parts: &'a mut Parts,
}

/// A port of the application.
struct Served<'a> {
    port: Port,
    bind: Bind,
    target: InboundTarget,
    protocol: Protocol,
    service: Option<(&'a Arc<Service>, &'a ServicePort)>,
    limits: ConnectionLimits,
}

/// What has been made for one proxy so far.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) resources: ResourceMap,
    pub(crate) report: Report,
    /// Sockets that are taken, and by what.
    pub(crate) sockets: BTreeMap<SocketAddr, ListenerName>,
}

impl Parts {
    fn insert(&mut self, resource: impl Into<Compiled>) {
        let encoded = Encoded::new(&resource.into());
        self.resources.insert(encoded.name.clone(), encoded);
    }
}

/// Compiles the inbound side of a sidecar.
pub(crate) fn compile(world: &World, scope: &ProxyScope, parts: &mut Parts) {
    let workload = &scope.workload;
    let namespace = &*workload.id.namespace;
    let protection = Protection::of(
        world,
        (namespace, &workload.labels),
        ProxyRole::Sidecar,
        &mut parts.report,
    );
    let mut inbound = Inbound {
        world,
        scope,
        sidecar: sidecar::select(world, namespace, &workload.labels),
        services: services_of(world, workload),
        protection,
        parts,
    };
    let ingress = inbound.sidecar.map_or(0, |one| one.spec.ingress.len());
    for index in 0..ingress {
        inbound.ingress(index);
    }
    match scope.capture {
        CaptureMode::Explicit if ingress == 0 => inbound.report_no_ingress(),
        CaptureMode::Explicit => {}
        CaptureMode::OriginalDestination => {
            if ingress == 0 {
                inbound.service_ports();
            }
            inbound.capture();
        }
    }
    let Inbound {
        protection, parts, ..
    } = inbound;
    let policy = protection.into_policy(policy_name(), &mut parts.report);
    parts.insert(policy);
}

/// The services a workload stands behind, oldest first.
fn services_of<'w>(world: &'w World, workload: &WorkloadInfo) -> Vec<&'w Arc<Service>> {
    let mut services: Vec<_> = world
        .services()
        .filter(|service| service.namespace() == &*workload.id.namespace)
        .filter(|service| {
            service.selects(&workload.id.namespace, &workload.labels)
                || lists(service, workload)
                || in_slices(world, service, workload)
        })
        .collect();
    services.sort_by(|a, b| {
        let (_, a_age) = a.precedence();
        let (_, b_age) = b.precedence();
        a_age.cmp(&b_age).then_with(|| a.host.cmp(&b.host))
    });
    services
}

/// Whether an address of a workload is among the endpoints written in a service's objects.
fn lists(service: &Service, workload: &WorkloadInfo) -> bool {
    let endpoints = service.backings.iter().flat_map(|one| &one.endpoints);
    let mut addresses = endpoints.flat_map(|endpoint| &endpoint.addresses);
    addresses.any(|address| workload.addresses.contains(address))
}

/// Whether a workload is in the slices of a service that selects none.
fn in_slices(world: &World, service: &Service, workload: &WorkloadInfo) -> bool {
    if !service.is_kubernetes || service.backings.iter().any(|one| one.selector.is_some()) {
        return false;
    }
    let Some(slices) = world.slices_of(service) else {
        return false;
    };
    slices
        .flat_map(|slice| &slice.spec.endpoints)
        .flat_map(|endpoint| &endpoint.addresses)
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .any(|address| workload.addresses.contains(&address))
}

impl<'a> Inbound<'a> {
    /// The oldest service that leads to a port of the workload.
    fn service_at(&self, port: Port) -> Option<(&'a Arc<Service>, &'a ServicePort)> {
        self.services.iter().copied().find_map(|service| {
            let found = service
                .ports
                .iter()
                .find(|one| one.target.on(&self.scope.workload) == Some(port))?;
            Some((service, found))
        })
    }

    /// A listener for every port a service leads to.
    fn service_ports(&mut self) {
        let mut owners: BTreeMap<Port, (ObjectKey, Protocol)> = BTreeMap::new();
        let services = self.services.clone();
        for service in services {
            for service_port in &service.ports {
                let Some(port) = service_port.target.on(&self.scope.workload) else {
                    continue;
                };
                if is_proxy_port(port.value()) {
                    // Answered by the proxy itself; the application is not there.
                    continue;
                }
                if let Some((owner, protocol)) = owners.get(&port) {
                    if *protocol != service_port.protocol {
                        self.parts.report.push(Diagnostic::new(
                            codes::LISTENER_CONFLICT,
                            &service.key,
                            "spec.ports",
                            format!(
                                "port {port} of workload {} speaks what {owner} says, which is \
                                 older",
                                self.scope.workload.id
                            ),
                        ));
                    }
                    continue;
                }
                owners.insert(port, (service.key.clone(), service_port.protocol));
                let bind = Bind::OriginalDestination {
                    address: None,
                    port,
                };
                let limits = self.rule_limits(service, service_port);
                let target = self.application(port);
                let served = Some((service, service_port));
                self.add(Served {
                    port,
                    bind,
                    target,
                    protocol: service_port.protocol,
                    service: served,
                    limits,
                });
            }
        }
    }

    /// Where the application of a captured port listens.
    fn application(&self, port: Port) -> InboundTarget {
        if !self.world.settings().inbound_localhost {
            return InboundTarget::OriginalDestination;
        }
        let own = self.scope.workload.addresses.first();
        let loopback = if own.is_some_and(IpAddr::is_ipv6) {
            IpAddr::V6(Ipv6Addr::LOCALHOST)
        } else {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        };
        InboundTarget::Address(SocketAddr::new(loopback, port.value()))
    }

    fn add(&mut self, served: Served<'_>) {
        let port = served.port;
        let name = name(format!("inbound/{port}"));
        let listener = InboundListener {
            port,
            protocol: match served.protocol {
                Protocol::Http => InboundProtocol::Http1,
                Protocol::Http2 => InboundProtocol::Http2,
                Protocol::Tcp | Protocol::Tls => InboundProtocol::Tcp,
                Protocol::Detect => InboundProtocol::Detect,
            },
            target: served.target,
            service: served.service.map(|(service, _)| service.identity.clone()),
            policy: policy_name(),
            limits: served.limits,
        };
        if let Bind::Socket(socket) = served.bind {
            self.parts.sockets.insert(socket, name.clone());
        }
        self.parts.insert(Listener {
            name,
            bind: served.bind,
            kind: ListenerKind::Inbound(Box::new(listener)),
        });
    }

    /// The listener redirected connections arrive at. Ports no listener is for are looked up in
    /// the same policy as the others.
    fn capture(&mut self) {
        self.parts.insert(Listener {
            name: name("inbound-capture"),
            bind: Bind::Socket(any_address(INBOUND_PORT)),
            kind: ListenerKind::InboundCapture {
                policy: policy_name(),
            },
        });
    }

    /// Limits towards the application: those of the port, of the `Sidecar`, of the service's
    /// destination rule; the first that is there.
    fn limits(
        &mut self,
        index: usize,
        service: Option<(&Arc<Service>, &ServicePort)>,
    ) -> ConnectionLimits {
        if let Some(sidecar) = self.sidecar {
            let port = sidecar.spec.ingress.get(index);
            let of_port = port
                .and_then(|one| one.connection_pool.as_ref())
                .map(|value| (value, format!("spec.ingress[{index}].connectionPool")));
            let of_all = sidecar
                .spec
                .inbound_connection_pool
                .as_ref()
                .map(|value| (value, "spec.inboundConnectionPool".to_owned()));
            if let Some((value, field)) = of_port.or(of_all) {
                let block = Block {
                    value,
                    object: &sidecar.key,
                    field,
                };
                return limits(self.world.settings(), Some(&block));
            }
        }
        match service {
            Some((service, port)) => self.rule_limits(service, port),
            None => ConnectionLimits::default(),
        }
    }

    fn rule_limits(&self, service: &Service, port: &ServicePort) -> ConnectionLimits {
        let client = Client {
            role: self.scope.role,
            capture: self.scope.capture,
            namespace: Arc::clone(&self.scope.workload.id.namespace),
            labels: self.scope.workload.labels.clone(),
            ports: BTreeMap::new(),
        };
        // What is wrong with the rule is reported where clients use it.
        let mut unheard = Report::default();
        let (rules, kept) = (RuleIndex::of(self.world), RuleIndex::kept(self.world));
        let rule = join(&rules, &kept, &client, service, &mut unheard);
        let policy = rule.policy(port.number, None);
        limits(self.world.settings(), policy.connection_pool.as_ref())
    }

    fn report_no_ingress(&mut self) {
        let Some(service) = self.services.first() else {
            return;
        };
        let id = &self.scope.workload.id;
        let ports: Vec<String> = service
            .ports
            .iter()
            .filter_map(|port| port.target.on(&self.scope.workload))
            .map(|port| port.to_string())
            .collect();
        self.parts.report.push(
            Diagnostic::new(
                codes::NO_INGRESS,
                &service.key,
                "spec.selector",
                format!(
                    "leads to workload {id}, whose proxy is called explicitly and has no port \
                     for it ({})",
                    ports.join(", ")
                ),
            )
            .hint(
                "add a Sidecar with an ingress entry for the port and the application's address \
                 as defaultEndpoint",
            ),
        );
    }
}

/// The policy of every port of a sidecar's workload.
fn policy_name() -> PolicyName {
    PolicyName(Arc::from("inbound"))
}
