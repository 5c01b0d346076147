//! A `ServiceEntry` as services of the mesh, one for each host.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::units::Port;
use mesh_api::workload::{ServiceIdentity, WorkloadId};

use super::{Asks, Backing, Resolution, Service, ServicePort, TargetPort};
use crate::crd::object::Resource;
use crate::crd::service_entry::{Resolution as Declared, ServiceEntrySpec};
use crate::meta::ObjectMeta;
use crate::model::protocol::Protocol;
use crate::model::settings::MeshSettings;
use crate::model::visibility::Visibility;
use crate::model::workload::{WorkloadInfo, entry, labels_of};

/// The services an entry declares.
pub fn services(object: &Resource<ServiceEntrySpec>, settings: &MeshSettings) -> Vec<Service> {
    let cluster = &settings.cluster_id;
    let namespace: Arc<str> = Arc::from(object.namespace());
    let spec = &object.spec;
    let endpoints = inline_endpoints(object, &namespace, cluster);
    let ports: Vec<_> = spec.ports.iter().filter_map(port).collect();
    let addresses: Vec<_> = spec.addresses.iter().filter_map(|a| network(a)).collect();
    let mut services: Vec<Service> = Vec::new();
    for host in &spec.hosts {
        let host: Arc<str> = Arc::from(host.trim_end_matches('.').to_ascii_lowercase());
        if host.is_empty() || services.iter().any(|service| service.host == host) {
            continue;
        }
        services.push(Service {
            identity: ServiceIdentity {
                host: Arc::clone(&host),
                name: Arc::clone(&host),
                namespace: Arc::clone(&namespace),
            },
            host,
            key: object.key.clone(),
            meta: ObjectMeta {
                creation_timestamp: object.meta.creation_timestamp,
                ..ObjectMeta::default()
            },
            ports: ports.clone(),
            location: spec.location,
            addresses: addresses.clone(),
            resolution: match spec.resolution {
                Declared::None => Resolution::OriginalDestination,
                Declared::Static => Resolution::Known,
                Declared::Dns => Resolution::Dns { first_only: false },
                Declared::DnsRoundRobin => Resolution::Dns { first_only: true },
                Declared::DynamicDns => Resolution::DynamicDns,
            },
            backings: vec![Backing {
                key: object.key.clone(),
                ports: ports.clone(),
                selector: spec
                    .workload_selector
                    .as_ref()
                    .map(|selector| labels_of(&selector.labels)),
                endpoints: endpoints.clone(),
            }],
            visibility: Visibility::of(&spec.export_to, &settings.exports.services, &namespace),
            default_visibility: spec.export_to.is_empty(),
            publish_not_ready: false,
            is_kubernetes: false,
            claim: None,
            asks: Asks {
                names_in_certificates: !spec.subject_alt_names.is_empty(),
                ..Asks::default()
            },
        });
    }
    services
}

fn port(port: &crate::crd::service_entry::ServicePort) -> Option<ServicePort> {
    let number = Port::new(port.number)?;
    Some(ServicePort {
        number,
        name: Arc::from(port.name.as_str()),
        protocol: Protocol::declared(port.protocol.as_deref().unwrap_or_default(), port.number)?,
        target: TargetPort::Number(port.target_port.and_then(Port::new).unwrap_or(number)),
    })
}

fn inline_endpoints(
    object: &Resource<ServiceEntrySpec>,
    namespace: &Arc<str>,
    cluster: &Arc<str>,
) -> Vec<Arc<WorkloadInfo>> {
    object
        .spec
        .endpoints
        .iter()
        .map(|endpoint| {
            let id = WorkloadId {
                namespace: Arc::clone(namespace),
                name: Arc::from(object.name()),
            };
            Arc::new(entry::workload(&id, endpoint, cluster))
        })
        .collect()
}

fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpAddr>()
        .map(IpNet::from)
        .or_else(|_| text.parse())
        .ok()
}
