//! A Kubernetes Service as a service of the mesh.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use mesh_api::units::Port;
use mesh_api::workload::ServiceIdentity;

use super::{Asks, Backing, Resolution, Service, ServicePort, TargetPort};
use crate::crd::kubernetes::{AppPort, KubeService, KubeServicePort, ServiceType, Transport};
use crate::crd::object::Resource;
use crate::crd::service_entry::Location;
use crate::meta::ObjectMeta;
use crate::model::host;
use crate::model::protocol::Protocol;
use crate::model::settings::MeshSettings;
use crate::model::visibility::Visibility;
use crate::model::workload::labels_of;

/// The annotation that stands for `exportTo`.
const EXPORT_TO: &str = "networking.istio.io/exportTo";

/// The service a Kubernetes Service is.
pub fn service(object: &Resource<KubeService>, settings: &MeshSettings) -> Service {
    let cluster_domain = &*settings.cluster_domain;
    let spec = &object.spec;
    let namespace: Arc<str> = Arc::from(object.namespace());
    let host = host::service_host(object.name(), &namespace, cluster_domain);
    let export_to: Vec<String> = object
        .meta
        .annotations
        .get(EXPORT_TO)
        .iter()
        .flat_map(|list| list.split(','))
        .map(|one| one.trim().to_owned())
        .collect();
    let ports: Vec<ServicePort> = spec.ports.iter().filter_map(service_port).collect();
    Service {
        identity: ServiceIdentity {
            host: Arc::clone(&host),
            name: Arc::from(object.name()),
            namespace: Arc::clone(&namespace),
        },
        host,
        key: object.key.clone(),
        meta: ObjectMeta {
            creation_timestamp: object.meta.creation_timestamp,
            ..ObjectMeta::default()
        },
        ports: ports.clone(),
        location: Location::MeshInternal,
        addresses: spec
            .cluster_ips
            .iter()
            .filter_map(|ip| ip.parse::<IpAddr>().ok().map(IpNet::from))
            .collect(),
        resolution: resolution(spec, &namespace, cluster_domain),
        backings: vec![Backing {
            key: object.key.clone(),
            ports,
            selector: (!spec.selector.is_empty()).then(|| labels_of(&spec.selector)),
            endpoints: Vec::new(),
        }],
        visibility: Visibility::of(&export_to, &settings.exports.services, &namespace),
        default_visibility: export_to.is_empty(),
        publish_not_ready: spec.publish_not_ready_addresses,
        is_kubernetes: true,
        claim: None,
        asks: Asks {
            preferences: spec.preferences,
            ..Asks::default()
        },
    }
}

fn resolution(spec: &KubeService, namespace: &str, cluster_domain: &str) -> Resolution {
    match (&spec.external_name, spec.service_type) {
        (Some(name), ServiceType::ExternalName) => {
            Resolution::Alias(host::resolve(name, namespace, cluster_domain))
        }
        _ if spec.headless => Resolution::Headless,
        _ => Resolution::Known,
    }
}

fn service_port(port: &KubeServicePort) -> Option<ServicePort> {
    if port.transport != Transport::Tcp {
        return None;
    }
    Some(ServicePort {
        number: Port::new(port.port)?,
        name: Arc::from(port.name.as_str()),
        protocol: Protocol::of_port(port.app_protocol.as_deref(), &port.name, port.port)?,
        target: match &port.target_port {
            AppPort::Number(number) => TargetPort::Number(Port::new(*number)?),
            AppPort::Name(name) => TargetPort::Name(Arc::from(name.as_str())),
        },
    })
}
