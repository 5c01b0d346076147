//! HTTP ports of a gateway: a table of virtual hosts, filled by the virtual services bound to it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::listener::GatewayProtocol;
use mesh_api::name::{RouteScope, RoutesName};
use mesh_api::route::{Domain, VirtualHost};
use mesh_api::units::Port;

use super::servers::ServerAt;
use crate::compile::context::Context;
use crate::compile::routes::candidates::{Candidate, domains};
use crate::compile::routes::{Via, joined};

/// Virtual services by host, each with the server it is bound to.
type Bound<'a, 'w> = BTreeMap<Domain, Vec<(Candidate<'w>, Via<'a>)>>;

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
    for (domain, bound) in bindings(cx, servers) {
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
    let mut https_redirect: Vec<Domain> = servers
        .iter()
        .filter(|server| {
            server
                .server
                .tls
                .as_ref()
                .is_some_and(|tls| tls.https_redirect)
        })
        .flat_map(|server| server.hosts.iter().map(|host| host.domain.clone()))
        .collect();
    https_redirect.sort();
    https_redirect.dedup();
    GatewayProtocol::Http {
        scope,
        https_redirect,
    }
}

/// Which virtual services serve which hosts: every one that names a server's gateway and shares
/// a host with it, oldest first.
fn bindings<'a, 'w>(cx: &Context<'w>, servers: &[&'a ServerAt<'w>]) -> Bound<'a, 'w> {
    let mut bound = Bound::new();
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
                    if list
                        .last()
                        .is_none_or(|(last, _)| last.object.key != candidate.object.key)
                    {
                        list.push((candidate.clone(), via));
                    }
                }
            }
        }
    }
    bound
}
