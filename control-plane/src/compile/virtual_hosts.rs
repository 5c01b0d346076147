//! The tables of virtual hosts a sidecar routes HTTP by: one per service port.

mod pods;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use mesh_api::listener::UnmatchedTraffic;
use mesh_api::name::{RouteScope, RoutesName};
use mesh_api::route::{
    Destinations, DirectResponse, Domain, Forward, HeaderEdits, RetryPolicy, Rewrite, RouteAction,
    Rule, Target, VirtualHost,
};
use mesh_api::units::Port;

use super::context::Context;
use super::destination::no_cluster;
use super::diagnostics::{Diagnostic, codes};
use super::routes::{self, Via};
use crate::meta::ObjectKey;
use crate::model::service::Resolution;
use crate::model::{Service, World, ownership};

/// The port of hosts that are no service.
const HTTP_PORT: u16 = 80;

/// Who claims which host in which table.
#[derive(Default)]
struct Claims(BTreeMap<(Port, Domain), ObjectKey>);

impl Claims {
    /// Claims a domain; the first to come has it.
    fn claim(&mut self, port: Port, domain: &Domain, object: &ObjectKey) -> Result<(), ObjectKey> {
        match self.0.get(&(port, domain.clone())) {
            Some(owner) if owner != object => Err(owner.clone()),
            Some(_) => Ok(()),
            None => {
                self.0.insert((port, domain.clone()), object.clone());
                Ok(())
            }
        }
    }

    fn is_free(&self, port: Port, domain: &Domain) -> bool {
        !self.0.contains_key(&(port, domain.clone()))
    }

    fn tables(&self) -> BTreeSet<Port> {
        self.0.keys().map(|(port, _)| *port).collect()
    }
}

/// A virtual host that still lacks its further names.
struct Draft<'w> {
    service: &'w Arc<Service>,
    port: Port,
    host: VirtualHost,
}

/// A host that is no service and so has no address of its own.
pub(crate) struct Unplaced {
    /// The port it is called at.
    pub(crate) port: Port,
    /// The virtual service that routes it.
    pub(crate) object: ObjectKey,
}

/// Makes all tables and returns the hosts in them that are no service.
pub(crate) fn compile<'w>(
    cx: &mut Context<'w>,
    services: &[&'w Arc<Service>],
    unmatched: UnmatchedTraffic,
) -> Vec<Unplaced> {
    let mut claims = Claims::default();
    let mut drafts = Vec::new();
    for service in services {
        for port in http_ports(cx, service) {
            drafts.extend(draft(cx, &mut claims, service, port));
        }
    }
    // Full names first, so that nobody's short name takes another's full name.
    for mut draft in drafts {
        let aliases = further_names(cx.world, draft.service, &cx.client.namespace);
        if draft.service.resolution == Resolution::Headless {
            let names = pods::names(cx.world, draft.service, &cx.client.namespace);
            if cx.client.knows_original_destination() {
                // Which pod was meant, the connection still knows.
                claim_all(cx, &mut claims, &mut draft, names);
            } else {
                pods::refuse(cx, &mut claims, &draft, names);
            }
        }
        claim_all(cx, &mut claims, &mut draft, aliases);
        cx.add_virtual_host(draft.host);
    }
    let without_service = hosts_without_service(cx, &mut claims, services);
    if cx.client.knows_original_destination() {
        for port in claims.tables() {
            if claims.is_free(port, &Domain::Any) {
                let host = catch_all(cx, port, unmatched);
                cx.add_virtual_host(host);
            }
        }
    }
    without_service
}

/// Adds names to a virtual host as far as nobody else has them.
fn claim_all(cx: &mut Context<'_>, claims: &mut Claims, draft: &mut Draft<'_>, names: Vec<Domain>) {
    for domain in names {
        if draft.host.domains.contains(&domain) {
            continue;
        }
        match claims.claim(draft.port, &domain, &draft.service.key) {
            Ok(()) => draft.host.domains.push(domain),
            Err(owner) => {
                let message = format!(
                    "is not reached as {domain} on port {}: that is {owner}",
                    draft.port
                );
                cx.report(Diagnostic::new(
                    codes::DOMAIN_CONFLICT,
                    &draft.service.key,
                    "",
                    message,
                ));
            }
        }
    }
}

/// The ports of a service that may carry HTTP: those of what is behind it. The ports an alias lists
/// itself do not count, since a name has none.
fn http_ports<'w>(cx: &Context<'w>, service: &'w Arc<Service>) -> Vec<Port> {
    cx.behind(service)
        .ports
        .iter()
        .filter(|port| port.protocol.may_be_http())
        .map(|port| port.number)
        .collect()
}

fn draft<'w>(
    cx: &mut Context<'w>,
    claims: &mut Claims,
    service: &'w Arc<Service>,
    port: Port,
) -> Option<Draft<'w>> {
    let domain = Domain::parse(&service.host)?;
    claims.claim(port, &domain, &service.key).ok()?;
    cx.tells_of(service);
    let via = Via {
        gateway: None,
        port,
    };
    let behind = cx.behind(service);
    let mut rules = routes::rules(cx, &domain, &via);
    if rules.is_none() && behind.host != service.host {
        // Another name of a service is routed as the service is.
        let target = Domain::parse(&behind.host);
        rules = target.and_then(|target| routes::rules(cx, &target, &via));
    }
    let rules = rules.unwrap_or_else(|| {
        let target = service_target(cx, behind, port);
        vec![routes::default_rule(cx.world.settings(), target)]
    });
    Some(Draft {
        service,
        port,
        host: VirtualHost {
            name: RoutesName {
                scope: RouteScope::port(port),
                host: Arc::clone(&service.host),
            },
            domains: vec![domain],
            service: Some(behind.identity.clone()),
            rules,
        },
    })
}

/// The cluster of a service for calls to `port`.
fn service_target(cx: &mut Context<'_>, service: &Arc<Service>, port: Port) -> Target {
    let found = match (service.port(port), service.ports.as_slice()) {
        (Some(found), _) => Some(found.number),
        (None, [only]) => Some(only.number),
        (None, _) => None,
    };
    match found {
        Some(port) => Target::Cluster(cx.cluster(service, port, None)),
        None => Target::Fail(no_cluster(format!("{} has no port {port}", service.host))),
    }
}

/// The names besides its full one that a service answers to for callers in `namespace`.
fn further_names(world: &World, service: &Service, namespace: &str) -> Vec<Domain> {
    let mut names = Vec::new();
    if service.is_kubernetes {
        let name = &service.identity.name;
        let home = service.namespace();
        names.push(format!("{name}.{home}.svc"));
        names.push(format!("{name}.{home}"));
        if home == namespace {
            names.push(name.to_string());
        }
    }
    names.extend(
        ownership::addresses(world, service).map(|address| match address {
            std::net::IpAddr::V4(address) => address.to_string(),
            std::net::IpAddr::V6(address) => format!("[{address}]"),
        }),
    );
    names
        .iter()
        .filter_map(|name| Domain::parse(name))
        .collect()
}

/// Hosts of virtual services that are no service: found on port 80 only.
fn hosts_without_service<'w>(
    cx: &mut Context<'w>,
    claims: &mut Claims,
    services: &[&'w Arc<Service>],
) -> Vec<Unplaced> {
    let Some(port) = Port::new(HTTP_PORT) else {
        return Vec::new();
    };
    let via = Via {
        gateway: None,
        port,
    };
    let known: BTreeSet<Domain> = services
        .iter()
        .filter_map(|service| Domain::parse(&service.host))
        .collect();
    let mut wanted: Vec<Domain> = Vec::new();
    for (domain, candidates) in cx.candidates.hosts() {
        let is_service = match domain {
            Domain::Exact(_) => known.contains(domain),
            Domain::Suffix(_) | Domain::Any => known.iter().any(|host| domain.covers(host)),
        };
        let imported = candidates.iter().any(|candidate| {
            cx.viewer.imports(candidate.object.namespace(), domain)
                && via.applies_at_all(candidate.object)
        });
        if !is_service && imported && *domain != Domain::Any {
            wanted.push(domain.clone());
        }
    }
    let mut made = Vec::new();
    for domain in wanted {
        let host = domain.to_string();
        let is_service = cx.destination(&host).is_some();
        let mut declared = cx.world.claims(&host).iter();
        if is_service || declared.any(|service| service.is_kubernetes) {
            // A service that is not imported, or one of Kubernetes that is not visible: its
            // virtual service says nothing. What others keep to themselves hides nothing.
            continue;
        }
        let Some(object) = report_unroutable(cx, &domain, &via) else {
            continue;
        };
        let Some(rules) = routes::rules(cx, &domain, &via) else {
            continue;
        };
        if let Err(owner) = claims.claim(port, &domain, &object) {
            cx.report(Diagnostic::new(
                codes::DOMAIN_CONFLICT,
                &object,
                "spec.hosts",
                format!("{domain} on port {port} is {owner} already"),
            ));
            continue;
        }
        cx.add_virtual_host(VirtualHost {
            name: RoutesName {
                scope: RouteScope::port(port),
                host: Arc::from(domain.to_string()),
            },
            domains: vec![domain],
            service: None,
            rules,
        });
        made.push(Unplaced { port, object });
    }
    made
}

/// Says of the virtual services for a host that is no service what becomes of their routes, and
/// returns the first of them.
fn report_unroutable(cx: &mut Context<'_>, host: &Domain, via: &Via<'_>) -> Option<ObjectKey> {
    let groups = cx.routing(host, via);
    let heard = groups.into_iter().next()?;
    for candidate in &heard {
        let spec = &candidate.object.spec;
        let instead = match (
            spec.http.is_empty(),
            spec.tcp.is_empty() && spec.tls.is_empty(),
        ) {
            (false, true) => "sidecars route it on port 80 only",
            (false, false) => {
                "sidecars route its HTTP on port 80 only, and its tcp and tls routes nowhere"
            }
            (true, _) => "its tcp and tls routes have no effect at sidecars",
        };
        cx.report(
            Diagnostic::new(
                codes::UNROUTABLE_HOST,
                &candidate.object.key,
                "spec.hosts",
                format!("{host} is no service the mesh knows; {instead}"),
            )
            .hint("declare it with a ServiceEntry to route other ports"),
        );
    }
    heard.first().map(|first| first.object.key.clone())
}

/// The host for everything no other host takes, where connections know where they were going.
fn catch_all(cx: &mut Context<'_>, port: Port, unmatched: UnmatchedTraffic) -> VirtualHost {
    let (name, action) = match unmatched {
        UnmatchedTraffic::Passthrough => {
            let target = Target::Cluster(cx.passthrough_cluster());
            let forward = Forward {
                destinations: Destinations::one(target),
                timeout: None,
                retry: RetryPolicy::off(),
                rewrite: Rewrite::default(),
                mirrors: Vec::new(),
            };
            ("allow_any", RouteAction::Forward(Box::new(forward)))
        }
        UnmatchedTraffic::Refuse => {
            let response = DirectResponse {
                status: StatusCode::BAD_GATEWAY,
                body: Bytes::new(),
            };
            ("block_all", RouteAction::Respond(response))
        }
    };
    let rule = Rule {
        name: Arc::from(name),
        matches: Vec::new(),
        fault: None,
        cors: None,
        headers: HeaderEdits::default(),
        action,
    };
    VirtualHost {
        name: RoutesName {
            scope: RouteScope::port(port),
            host: Arc::from("*"),
        },
        domains: vec![Domain::Any],
        service: None,
        rules: vec![Arc::new(rule)],
    }
}
