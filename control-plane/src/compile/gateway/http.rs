//! HTTP ports of a gateway: a table of virtual hosts, filled by the virtual services bound to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::listener::GatewayProtocol;
use mesh_api::name::{RouteScope, RoutesName};
use mesh_api::route::{Domain, VirtualHost};
use mesh_api::units::Port;

use super::ownership::{Bound, acting};
use super::servers::ServerAt;
use crate::compile::context::Context;
use crate::compile::diagnostics::{Diagnostic, codes};
use crate::compile::routes::candidates::domains;
use crate::compile::routes::joined;

/// Fills the table of a port.
pub(super) fn protocol<'w>(
    cx: &mut Context<'w>,
    address: Option<IpAddr>,
    port: Port,
    servers: &[&ServerAt<'w>],
) -> GatewayProtocol {
    let scope = RouteScope {
        port,
        server: address.map(|address| Arc::from(address.to_string())),
    };
    let mut redirected: BTreeMap<Domain, bool> = BTreeMap::new();
    for (domain, bound) in bindings(cx, servers) {
        let acting = acting(cx, servers, &domain, bound);
        let redirects = acting.iter().any(|one| one.redirects);
        redirected.insert(domain.clone(), redirects);
        let bound: Vec<_> = acting
            .into_iter()
            .map(|one| (one.candidate, one.via))
            .collect();
        let rules = joined(cx, &domain, &bound);
        if rules.is_empty() {
            continue;
        }
        cx.add_virtual_host(VirtualHost {
            name: RoutesName {
                scope: scope.clone(),
                host: Arc::from(domain.to_string()),
            },
            domains: vec![domain],
            service: None,
            rules,
        });
    }
    GatewayProtocol::Http {
        scope,
        https_redirect: https_redirect(cx, servers, &redirected),
    }
}

/// The hosts whose clients are sent to https: those of servers that ask for it, unless that would
/// send away the clients of hosts that are routed through other servers.
fn https_redirect(
    cx: &mut Context<'_>,
    servers: &[&ServerAt<'_>],
    routed: &BTreeMap<Domain, bool>,
) -> Vec<Domain> {
    let asked = routed.iter().filter(|(_, redirects)| **redirects);
    let mut domains: BTreeSet<Domain> = asked.map(|(domain, _)| domain.clone()).collect();
    for server in servers.iter().filter(|server| server.redirects()) {
        for host in &server.hosts {
            let mut others = routed.iter().filter(|(_, redirects)| !**redirects);
            let other = others.find(|(domain, _)| host.domain.covers(domain));
            let Some((other, _)) = other else {
                domains.insert(host.domain.clone());
                continue;
            };
            cx.report(Diagnostic::new(
                codes::GATEWAY_CONFLICT,
                &server.gateway.key,
                format!("{}.tls.httpsRedirect", server.field),
                format!(
                    "holds for hosts that are routed through this server only, not for all of {}: \
                     {other} on port {} is routed through another",
                    host.domain, server.port
                ),
            ));
        }
    }
    let all: Vec<Domain> = domains.into_iter().collect();
    let needed = |one: &&Domain| !all.iter().any(|other| other != *one && other.covers(one));
    all.iter().filter(needed).cloned().collect()
}

/// Which virtual services serve which hosts: every one that names a server's gateway and shares
/// a host with it, oldest first.
fn bindings<'a, 'w>(
    cx: &Context<'w>,
    servers: &[&'a ServerAt<'w>],
) -> BTreeMap<Domain, Vec<Bound<'a, 'w>>> {
    let mut bound: BTreeMap<Domain, Vec<Bound<'a, 'w>>> = BTreeMap::new();
    for candidate in cx.candidates.all() {
        let written = domains(cx.world, candidate.object);
        for server in servers {
            let via = server.via();
            if !via.applies_at_all(candidate.object) {
                continue;
            }
            for host in &server.hosts {
                for domain in &written {
                    let Some(common) = host.common(candidate.object.namespace(), domain) else {
                        continue;
                    };
                    let list = bound.entry(common).or_default();
                    match list.last_mut() {
                        Some(last) if last.candidate.object.key == candidate.object.key => {
                            last.redirects |= server.redirects();
                        }
                        Some(_) | None => list.push(Bound {
                            candidate: candidate.clone(),
                            via,
                            redirects: server.redirects(),
                        }),
                    }
                }
            }
        }
    }
    bound
}
