//! Which refused resources an object may be the reason of, told from their names. Pure.
//!
//! Where a name does not say, the object counts as not applied: better one object too many is
//! looked at than the one at fault is called programmed.

use mesh_api::route::Domain;

use crate::crd::Object;
use crate::crd::virtual_service::VirtualServiceSpec;
use crate::model::{World, host};

/// The resources an object may be the reason of.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Virtual hosts of these names.
    routes: Vec<Domain>,
    /// Clusters and endpoints of services of these names.
    services: Vec<Domain>,
    /// Virtual hosts of any name.
    any_routes: bool,
    listeners: bool,
    policies: bool,
}

impl Reach {
    /// The resources an object may be the reason of.
    pub fn of(world: &World, object: Option<&Object>) -> Self {
        let Some(object) = object else {
            return Self::default();
        };
        let resolved = |hosts: &mut dyn Iterator<Item = &String>| -> Vec<Domain> {
            let domain = &world.settings().cluster_domain;
            let namespace = &object.key().namespace;
            hosts
                .filter_map(|one| Domain::parse(&host::resolve(one, namespace, domain)))
                .collect()
        };
        let nothing = Self::default();
        match object {
            Object::VirtualService(one) => Self {
                routes: resolved(&mut one.spec.hosts.iter()),
                services: resolved(&mut destinations(&one.spec)),
                // A delegate names no hosts; those of its roots are not looked up.
                any_routes: one.spec.hosts.is_empty(),
                listeners: !one.spec.tcp.is_empty() || !one.spec.tls.is_empty(),
                ..nothing
            },
            Object::DestinationRule(one) => Self {
                services: resolved(&mut std::iter::once(&one.spec.host)),
                ..nothing
            },
            Object::ServiceEntry(one) => {
                let hosts = resolved(&mut one.spec.hosts.iter());
                Self {
                    routes: hosts.clone(),
                    services: hosts,
                    listeners: true,
                    ..nothing
                }
            }
            Object::Gateway(_) => Self {
                any_routes: true,
                listeners: true,
                ..nothing
            },
            Object::Sidecar(_) => Self {
                services: vec![Domain::Any],
                any_routes: true,
                listeners: true,
                ..nothing
            },
            Object::WorkloadEntry(_) => Self {
                services: vec![Domain::Any],
                ..nothing
            },
            Object::PeerAuthentication(_)
            | Object::RequestAuthentication(_)
            | Object::AuthorizationPolicy(_)
            | Object::EnvoyFilter(_)
            | Object::WasmPlugin(_)
            | Object::TrafficExtension(_) => Self {
                listeners: true,
                policies: true,
                ..nothing
            },
            Object::Telemetry(_) => Self {
                listeners: true,
                ..nothing
            },
            Object::WorkloadGroup(_)
            | Object::ProxyConfig(_)
            | Object::Service(_)
            | Object::EndpointSlice(_)
            | Object::Pod(_)
            | Object::Node(_)
            | Object::Namespace(_) => nothing,
        }
    }

    /// Whether the object may be why a resource of this name was refused.
    pub fn includes(&self, resource: &str) -> bool {
        let named = |domains: &[Domain], host: &str| {
            Domain::parse(host).is_none_or(|host| {
                domains
                    .iter()
                    .any(|one| *one == host || one.covers(&host) || host.covers(one))
            })
        };
        match resource.split_once('/') {
            Some(("routes", rest)) => {
                let host = rest.split_once('/').map_or(rest, |(_, host)| host);
                self.any_routes || named(&self.routes, host)
            }
            Some(("cluster", rest)) => {
                let host = rest.rsplit_once('|').map_or(rest, |(_, host)| host);
                // Inbound clusters have no host and are made from Sidecars.
                if host.is_empty() {
                    self.services.contains(&Domain::Any)
                } else {
                    named(&self.services, host)
                }
            }
            Some(("endpoints", rest)) => {
                let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
                named(&self.services, host)
            }
            Some(("listener", _)) => self.listeners,
            Some(("policy", _)) => self.policies,
            Some(("workload", _)) => false,
            Some(_) | None => true,
        }
    }
}

fn destinations(spec: &VirtualServiceSpec) -> impl Iterator<Item = &String> {
    let http = spec.http.iter().flat_map(|one| &one.route);
    let http = http.map(|one| &one.destination.host);
    let mirror = spec.http.iter().flat_map(|one| one.mirror.iter());
    let mirrors = spec.http.iter().flat_map(|one| &one.mirrors);
    let mirrors = mirror.chain(mirrors.map(|one| &one.destination));
    let tls = spec.tls.iter().flat_map(|one| &one.route);
    let tcp = spec.tcp.iter().flat_map(|one| &one.route);
    let streams = tls.chain(tcp).map(|one| &one.destination.host);
    http.chain(mirrors.map(|one| &one.host)).chain(streams)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{objects, world};

    #[test]
    fn names_tell_what_an_object_may_be_the_reason_of() {
        let rows = [
            ("routes/80/backend.shop.svc.cluster.local", true, false),
            ("routes/80/other.shop.svc.cluster.local", false, false),
            (
                "cluster/outbound|80|v1|backend.shop.svc.cluster.local",
                true,
                true,
            ),
            (
                "cluster/outbound|80||other.shop.svc.cluster.local",
                false,
                false,
            ),
            ("endpoints/backend.shop.svc.cluster.local:80", true, true),
            ("listener/0.0.0.0_80", false, false),
            ("policy/inbound", false, false),
            ("workload/10.0.0.1", false, false),
            ("something of a later version", true, true),
        ];
        let yaml = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: shop}
spec: {hosts: [backend], http: [{route: [{destination: {host: backend}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: shop}
spec: {host: backend}
";
        let both = objects(yaml);
        let world = world(yaml);
        for (name, route, rule) in rows {
            let of = |index: usize| Reach::of(&world, both.get(index)).includes(name);
            assert_eq!((of(0), of(1)), (route, rule), "{name}");
        }
    }
}
