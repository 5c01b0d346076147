//! A Kubernetes Service: a name, ports, and which workloads stand behind it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Transport, port_number};
use crate::problem::Problem;
use crate::validate::Checker;

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeService {
    /// How the service is reached.
    pub service_type: ServiceType,
    /// Virtual addresses; empty for a headless service.
    pub cluster_ips: Vec<String>,
    /// Whether the service is headless (`clusterIP: None`).
    pub headless: bool,
    /// Name an `ExternalName` service stands for.
    pub external_name: Option<String>,
    /// Ports.
    pub ports: Vec<KubeServicePort>,
    /// Labels of the workloads behind the service; empty selects none.
    pub selector: BTreeMap<String, String>,
    /// Whether workloads that are not ready count too.
    pub publish_not_ready_addresses: bool,
    /// Which endpoints clients prefer.
    pub preferences: Preferences,
}

/// Which endpoints of a Service clients prefer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    /// One and the same for a client (`sessionAffinity: ClientIP`).
    pub client_affinity: bool,
    /// Only those on the client's node (`internalTrafficPolicy: Local`).
    pub own_node_only: bool,
    /// Near ones (`trafficDistribution`).
    pub near: bool,
}

/// How a service is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// By an address inside the cluster.
    #[default]
    ClusterIp,
    /// Also by a port of every node.
    NodePort,
    /// Also by a load balancer.
    LoadBalancer,
    /// It is only another name.
    ExternalName,
}

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubeServicePort {
    /// Name; empty when the only port has none.
    pub name: String,
    /// Port clients use.
    pub port: u16,
    /// Port of the workloads.
    pub target_port: AppPort,
    /// Transport.
    pub transport: Transport,
    /// Application protocol, if stated.
    pub app_protocol: Option<String>,
}

/// The port of a workload a service port leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppPort {
    /// By number.
    Number(u16),
    /// By the name of a container port.
    Name(String),
}

impl KubeService {
    /// Converts; problems carry field paths.
    pub(crate) fn from_kubernetes(service: Service) -> Result<Self, Vec<Problem>> {
        let spec = service.spec.unwrap_or_default();
        let mut check = Checker::new("spec");
        let service_type = match spec.type_.as_deref() {
            None | Some("" | "ClusterIP") => ServiceType::ClusterIp,
            Some("NodePort") => ServiceType::NodePort,
            Some("LoadBalancer") => ServiceType::LoadBalancer,
            Some("ExternalName") => ServiceType::ExternalName,
            Some(other) => {
                check.field("type", |check| {
                    check.error_hint(
                        format!("{other:?} is not a type of Service"),
                        "use ClusterIP, NodePort, LoadBalancer or ExternalName",
                    );
                });
                ServiceType::ClusterIp
            }
        };
        let mut addresses = spec.cluster_ips.unwrap_or_default();
        if let Some(address) = spec.cluster_ip
            && !addresses.contains(&address)
        {
            addresses.insert(0, address);
        }
        let headless = addresses.iter().any(|address| address == "None");
        addresses.retain(|address| !address.is_empty() && address != "None");
        check.field("clusterIPs", |check| {
            for address in &addresses {
                check.ip_address(address);
            }
        });
        let mut ports = Vec::new();
        check.each(
            "ports",
            spec.ports.as_deref().unwrap_or_default(),
            |check, port| match read_port(port) {
                Ok(port) => ports.push(port),
                Err((field, message)) => check.field(field, |check| check.error(message)),
            },
        );
        check.finish()?;
        Ok(Self {
            service_type,
            cluster_ips: addresses,
            headless,
            external_name: spec.external_name.filter(|name| !name.is_empty()),
            ports,
            selector: spec.selector.unwrap_or_default(),
            publish_not_ready_addresses: spec.publish_not_ready_addresses.unwrap_or_default(),
            preferences: Preferences {
                client_affinity: spec.session_affinity.as_deref() == Some("ClientIP"),
                own_node_only: spec.internal_traffic_policy.as_deref() == Some("Local"),
                near: spec
                    .traffic_distribution
                    .is_some_and(|text| !text.is_empty()),
            },
        })
    }
}

fn read_port(port: &ServicePort) -> Result<KubeServicePort, (&'static str, String)> {
    let number = port_number(port.port).map_err(|message| ("port", message))?;
    let target_port = match &port.target_port {
        None | Some(IntOrString::Int(0)) => AppPort::Number(number),
        Some(IntOrString::Int(target)) => {
            AppPort::Number(port_number(*target).map_err(|message| ("targetPort", message))?)
        }
        Some(IntOrString::String(name)) if name.is_empty() => AppPort::Number(number),
        Some(IntOrString::String(name)) => AppPort::Name(name.clone()),
    };
    Ok(KubeServicePort {
        name: port.name.clone().unwrap_or_default(),
        port: number,
        target_port,
        transport: Transport::read(port.protocol.as_deref())
            .map_err(|message| ("protocol", message))?,
        app_protocol: port.app_protocol.clone(),
    })
}
