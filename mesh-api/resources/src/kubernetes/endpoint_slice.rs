//! A Kubernetes EndpointSlice: addresses behind a service, and whether they are ready.

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use super::{Transport, port_number};
use crate::problem::Problem;
use crate::validate::Checker;

/// Label that names the service of a slice.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// An EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubeEndpointSlice {
    /// Service the slice belongs to, from the label `kubernetes.io/service-name`.
    pub service: Option<String>,
    /// `IPv4`, `IPv6` or `FQDN`.
    pub address_type: String,
    /// Addresses.
    pub endpoints: Vec<SliceEndpoint>,
    /// Ports that every address has.
    pub ports: Vec<SlicePort>,
}

/// One workload of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Addresses of the workload; only the first is used by Kubernetes.
    pub addresses: Vec<String>,
    /// Takes new traffic; unknown counts as ready.
    pub ready: bool,
    /// Answers, even if it is terminating; unknown is as `ready`.
    pub serving: bool,
    /// Is being shut down.
    pub terminating: bool,
    /// The object behind the address, as a rule a Pod.
    pub target: Option<TargetRef>,
    /// Host name within the service.
    pub hostname: Option<String>,
    /// Node it runs on.
    pub node_name: Option<String>,
    /// Zone it runs in.
    pub zone: Option<String>,
}

/// Names the object behind an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetRef {
    /// Kind, as a rule `Pod`.
    pub kind: String,
    /// Namespace; empty is that of the slice.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// A port of a slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlicePort {
    /// Name of the service port.
    pub name: String,
    /// Number on the workload; none means all ports.
    pub port: Option<u16>,
    /// Transport.
    pub transport: Transport,
    /// Application protocol, if stated.
    pub app_protocol: Option<String>,
}

impl KubeEndpointSlice {
    /// Converts; problems carry field paths.
    pub(crate) fn from_kubernetes(slice: EndpointSlice) -> Result<Self, Vec<Problem>> {
        let service = slice
            .metadata
            .labels
            .as_ref()
            .and_then(|l| l.get(SERVICE_NAME_LABEL))
            .cloned();
        let mut check = Checker::new("");
        if !matches!(slice.address_type.as_str(), "IPv4" | "IPv6" | "FQDN") {
            check.field("addressType", |check| {
                check.error_hint(
                    format!("{:?} is not a type of address", slice.address_type),
                    "use IPv4, IPv6 or FQDN",
                );
            });
        }
        let literal = slice.address_type != "FQDN";
        check.each("endpoints", &slice.endpoints, |check, endpoint| {
            check.each("addresses", &endpoint.addresses, |check, address| {
                if literal {
                    check.ip_address(address);
                }
            });
        });
        let mut ports = Vec::new();
        check.each(
            "ports",
            slice.ports.as_deref().unwrap_or_default(),
            |check, port| match read_port(port) {
                Ok(port) => ports.push(port),
                Err((field, message)) => check.field(field, |check| check.error(message)),
            },
        );
        check.finish()?;
        Ok(Self {
            service,
            address_type: slice.address_type,
            endpoints: slice.endpoints.into_iter().map(read_endpoint).collect(),
            ports,
        })
    }
}

fn read_endpoint(endpoint: Endpoint) -> SliceEndpoint {
    let conditions = endpoint.conditions.unwrap_or_default();
    let ready = conditions.ready.unwrap_or(true);
    SliceEndpoint {
        addresses: endpoint.addresses,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or_default(),
        target: endpoint.target_ref.map(|target| TargetRef {
            kind: target.kind.unwrap_or_default(),
            namespace: target.namespace.unwrap_or_default(),
            name: target.name.unwrap_or_default(),
        }),
        hostname: endpoint.hostname,
        node_name: endpoint.node_name,
        zone: endpoint.zone,
    }
}

fn read_port(port: &EndpointPort) -> Result<SlicePort, (&'static str, String)> {
    Ok(SlicePort {
        name: port.name.clone().unwrap_or_default(),
        port: port
            .port
            .map(port_number)
            .transpose()
            .map_err(|message| ("port", message))?,
        transport: Transport::read(port.protocol.as_deref())
            .map_err(|message| ("protocol", message))?,
        app_protocol: port.app_protocol.clone(),
    })
}
