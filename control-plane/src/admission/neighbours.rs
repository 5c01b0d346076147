//! What an object would do among the objects there are: take a host or an address of others, which
//! is refused, or act on hosts of others only until they say something, or give way to them, which
//! whoever writes it is told.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_api::route::Domain;
use mesh_api::units::Port;
use mesh_api::workload::Labels;

use crate::analyze::{clients, objects, rules, services};
use crate::compile::diagnostics::{Code, Report, codes};
use crate::compile::routes::candidates::{CandidateIndex, domains};
use crate::compile::routes::strangers::Strangers;
use crate::compile::routes::{Via, gateways_of_matches};
use crate::compile::{Diagnostic, ProxyRole, shared};
use crate::crd::Object;
use crate::crd::object::Resource;
use crate::crd::virtual_service::VirtualServiceSpec;
use crate::model::ownership::Viewer;
use crate::model::{Change, Effective, World};

/// What is said here; the rest depends on objects that may still come.
const FOREIGN: [Code; 9] = [
    codes::FOREIGN_HOST,
    codes::FOREIGN_ADDRESS,
    codes::DUPLICATE_SERVICE,
    codes::RULE_OF_STRANGER,
    codes::SHADOWED,
    codes::BY_STRANGER,
    codes::GATEWAY_HOST_MISMATCH,
    codes::DUPLICATE_SNI,
    codes::SEVERAL_SIDECARS,
];

/// What is said about the object, the first field first.
pub(super) fn findings(object: &Object, world: &World) -> Vec<Diagnostic> {
    let mut world = world.clone();
    world.apply([Change::Applied(object.clone())]);
    let mut report = Report::default();
    match object {
        Object::ServiceEntry(_) => services::check(&world, &mut report),
        Object::DestinationRule(rule) => rules::one(&world, rule, &mut report),
        Object::VirtualService(route) => {
            at_sidecars(&world, route, &mut report);
            at_gateways(&world, route, &mut report);
        }
        Object::Gateway(_) => of_gateways(&world, &mut report),
        Object::Sidecar(_) => objects::rival_sidecars(&world, &mut report),
        Object::WorkloadEntry(_)
        | Object::WorkloadGroup(_)
        | Object::PeerAuthentication(_)
        | Object::RequestAuthentication(_)
        | Object::AuthorizationPolicy(_)
        | Object::ProxyConfig(_)
        | Object::EnvoyFilter(_)
        | Object::Telemetry(_)
        | Object::WasmPlugin(_)
        | Object::TrafficExtension(_)
        | Object::Service(_)
        | Object::EndpointSlice(_)
        | Object::Pod(_)
        | Object::Namespace(_)
        | Object::Node(_) => {}
    }
    let mut said = report.into_sorted();
    said.retain(|one| one.object.as_ref() == Some(object.key()) && FOREIGN.contains(&one.code));
    said
}

/// Asks, for a client in every namespace, who is heard about the hosts of a route.
fn at_sidecars(world: &World, route: &Resource<VirtualServiceSpec>, report: &mut Report) {
    let Some(port) = Port::new(80) else { return };
    let via = Via {
        gateway: None,
        port,
    };
    if !via.applies_at_all(route) {
        return;
    }
    let own = domains(world, route);
    let hosts = called(world, &own);
    let rivals: Vec<Effective<'_>> = world
        .effective_virtual_services()
        .filter(|one| {
            let theirs = domains(world, one.object);
            let meets = |domain: &Domain| own.iter().any(|own| meet(own, domain));
            theirs.iter().any(meets)
        })
        .collect();
    let mut strangers = Strangers::default();
    for namespace in world.namespaces() {
        let namespace = Arc::from(namespace);
        let viewer = Viewer::sidecar(world, &namespace, &Labels::new());
        let objects = rivals.iter().cloned();
        let index = CandidateIndex::among(world, &namespace, objects, &mut Report::default());
        for host in &hosts {
            strangers.note(&viewer, host, &index.about(world, &viewer, host, &via));
        }
    }
    strangers.report(report);
}

fn meet(one: &Domain, other: &Domain) -> bool {
    one.covers(other) || other.covers(one)
}

/// The hosts that clients call by these names: the services a wildcard covers, else the name
/// itself.
fn called(world: &World, own: &[Domain]) -> BTreeSet<Domain> {
    let mut hosts = BTreeSet::new();
    for domain in own {
        let covered: Vec<Domain> = match domain {
            Domain::Exact(_) => Vec::new(),
            Domain::Suffix(_) | Domain::Any => {
                let services = world.hosts().filter_map(|(host, _)| Domain::parse(host));
                services.filter(|host| domain.covers(host)).collect()
            }
        };
        if covered.is_empty() {
            hosts.insert(domain.clone());
        }
        hosts.extend(covered);
    }
    hosts
}

/// Asks the gateways it is bound to.
fn at_gateways(world: &World, route: &Resource<VirtualServiceSpec>, report: &mut Report) {
    let of_matches = gateways_of_matches(&route.spec).flatten();
    let mut gateways = route.spec.gateways.iter().chain(of_matches);
    if gateways.all(|name| name == "mesh") {
        return;
    }
    of_gateways(world, report);
}

/// Asks all gateways.
fn of_gateways(world: &World, report: &mut Report) {
    for client in clients(world) {
        if client.role == ProxyRole::Gateway {
            report.extend(shared(world, &client).diagnostics);
        }
    }
}
