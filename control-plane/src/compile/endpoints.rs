//! Endpoint sets: the part of the configuration that changes most often, compiled on its own.

use mesh_api::encoded::Encoded;
use mesh_api::name::{EndpointsName, ResourceName};
use mesh_api::resource::Resource;

use super::ResourceMap;
use super::diagnostics::{Diagnostic, Report, codes};
use crate::crd::Kind;
use crate::meta::ObjectKey;
use crate::model::endpoints::endpoint_set;
use crate::model::service::{Backing, Resolution};
use crate::model::{Service, World, reach};

/// One endpoint set; `None` if its service or port is not there (any more).
pub fn endpoints(world: &World, name: &EndpointsName) -> Option<Encoded> {
    endpoint_set(world, name).map(|set| Encoded::new(&Resource::from(set)))
}

/// Every endpoint set of the world.
pub(crate) fn all(world: &World) -> ResourceMap {
    world
        .endpoint_sets()
        .filter_map(|name| {
            let set = endpoints(world, &name)?;
            Some((ResourceName::Endpoints(name), set))
        })
        .collect()
}

/// Names every endpoint that is left out because of where it is.
pub(crate) fn check(world: &World, report: &mut Report) {
    for workload in world.workloads() {
        let (kind, field) = if workload.is_pod {
            (Kind::Pod, "status.podIP")
        } else {
            (Kind::WorkloadEntry, "spec.address")
        };
        let key = ObjectKey::new(kind, &*workload.id.namespace, &*workload.id.name);
        let addresses = workload.addresses.iter().map(ToString::to_string);
        let names = workload.dns_name.iter().map(ToString::to_string);
        for address in addresses.chain(names) {
            refuse(world, report, (&key, field), &address, None);
        }
    }
    for service in world.declarations() {
        of_service(world, service, report);
    }
}

/// Endpoints written in the object of a service, and those of its slices.
fn of_service(world: &World, service: &Service, report: &mut Report) {
    for backing in &service.backings {
        for (index, endpoint) in backing.endpoints.iter().enumerate() {
            let field = format!("spec.endpoints[{index}].address");
            let addresses = endpoint.addresses.iter().map(ToString::to_string);
            let names = endpoint.dns_name.iter().map(ToString::to_string);
            for address in addresses.chain(names) {
                let ports = backing.ports.iter();
                let known = ports.filter_map(|port| port.target.on(endpoint));
                let known = known.map(|port| Some(port.value()));
                for port in known.chain([None]) {
                    refuse(world, report, (&backing.key, &field), &address, port);
                }
            }
        }
    }
    let is_said = service.backings.iter().any(Backing::is_said);
    let own_name = match &service.resolution {
        Resolution::Dns { .. } if !is_said => Some((&service.host, "spec.hosts")),
        Resolution::OriginalDestination | Resolution::DynamicDns => {
            Some((&service.host, "spec.hosts"))
        }
        Resolution::Alias(target) => Some((target, "spec.externalName")),
        Resolution::Dns { .. } | Resolution::Known | Resolution::Headless => None,
    };
    if let Some((name, field)) = own_name {
        refuse(world, report, (&service.key, field), name, None);
    }
    for slice in world.slices_of(service).into_iter().flatten() {
        for (index, endpoint) in slice.spec.endpoints.iter().enumerate() {
            for address in &endpoint.addresses {
                let field = format!("endpoints[{index}].addresses");
                refuse(world, report, (&slice.key, &field), address, None);
            }
        }
    }
}

fn refuse(
    world: &World,
    report: &mut Report,
    (object, field): (&ObjectKey, &str),
    host: &str,
    port: Option<u16>,
) {
    if let Some(why) = reach::refusal(world.settings(), host, port) {
        report.push(
            Diagnostic::new(
                codes::RESERVED_ADDRESS,
                object,
                field,
                format!("{why}; the endpoint is left out"),
            )
            .hint("give the address other machines reach it at"),
        );
    }
}
