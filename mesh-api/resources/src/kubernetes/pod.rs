//! A Kubernetes Pod: a workload, its addresses, its ports and its identity.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::{Transport, port_number};
use crate::problem::Problem;
use crate::validate::Checker;

/// A Pod. Its labels are in the metadata of the resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent facts of a Pod"
)]
pub struct KubePod {
    /// Addresses, the main one first; empty while it has none.
    pub ips: Vec<String>,
    /// Whether its `Ready` condition is true. A Pod without any status (as in a file) with an
    /// address counts as ready.
    pub ready: bool,
    /// Whether it has ended (`Succeeded` or `Failed`).
    pub ended: bool,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// Node it runs on.
    pub node_name: Option<String>,
    /// Tells it from any other Pod there ever was of the same name.
    pub uid: Option<String>,
    /// What made it, as a rule a ReplicaSet.
    pub owner: Option<Owner>,
    /// Service account; `default` when none is named.
    pub service_account: String,
    /// Whether it uses the network of its node.
    pub host_network: bool,
    /// Ports its containers declare.
    pub ports: Vec<ContainerPort>,
}

/// What made a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// A port a container declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPort {
    /// Name; empty when it has none.
    pub name: String,
    /// Number.
    pub port: u16,
    /// Transport.
    pub transport: Transport,
}

impl KubePod {
    /// Converts; problems carry field paths.
    pub(crate) fn from_kubernetes(pod: Pod) -> Result<Self, Vec<Problem>> {
        let terminating = pod.metadata.deletion_timestamp.is_some();
        let uid = pod.metadata.uid.filter(|uid| !uid.is_empty());
        let owners = pod.metadata.owner_references.unwrap_or_default();
        let owner = owners
            .into_iter()
            .find(|owner| owner.controller == Some(true))
            .map(|owner| Owner {
                kind: owner.kind,
                name: owner.name,
            });
        let spec = pod.spec.unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        let mut check = Checker::new("");
        let mut ips: Vec<String> = status.pod_ip.into_iter().collect();
        for address in status.pod_ips.unwrap_or_default() {
            if !ips.contains(&address.ip) {
                ips.push(address.ip);
            }
        }
        ips.retain(|address| !address.is_empty());
        check.field("status", |check| {
            check.each("podIPs", &ips, |check, address| check.ip_address(address));
        });
        let mut ports = Vec::new();
        check.field("spec", |check| {
            check.each("containers", &spec.containers, |check, container| {
                read_ports(check, container, &mut ports);
            });
            // A sidecar of the native kind is an init container that keeps running.
            let init = spec.init_containers.as_deref().unwrap_or_default();
            check.each("initContainers", init, |check, container| {
                if container.restart_policy.as_deref() == Some("Always") {
                    read_ports(check, container, &mut ports);
                }
            });
        });
        check.finish()?;
        let ready = match (&status.conditions, status.phase.as_deref()) {
            (None, None | Some("Running")) => !ips.is_empty(),
            (conditions, _) => conditions
                .iter()
                .flatten()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
        };
        Ok(Self {
            ips,
            ready,
            ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            terminating,
            node_name: spec.node_name,
            uid,
            owner,
            service_account: spec
                .service_account_name
                .or(spec.service_account)
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "default".to_owned()),
            host_network: spec.host_network.unwrap_or_default(),
            ports,
        })
    }
}

fn read_ports(check: &mut Checker, container: &Container, ports: &mut Vec<ContainerPort>) {
    check.each(
        "ports",
        container.ports.as_deref().unwrap_or_default(),
        |check, port| {
            let read = port_number(port.container_port)
                .map_err(|message| ("containerPort", message))
                .and_then(|number| {
                    let transport = Transport::read(port.protocol.as_deref())
                        .map_err(|message| ("protocol", message))?;
                    Ok(ContainerPort {
                        name: port.name.clone().unwrap_or_default(),
                        port: number,
                        transport,
                    })
                });
            match read {
                Ok(port) => ports.push(port),
                Err((field, message)) => check.field(field, |check| check.error(message)),
            }
        },
    );
}
