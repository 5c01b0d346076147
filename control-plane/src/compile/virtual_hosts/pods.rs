//! The names of single pods behind a headless service.

use std::sync::Arc;

use mesh_api::name::{RouteScope, RoutesName};
use mesh_api::route::{Domain, HeaderEdits, RouteAction, Rule, VirtualHost};

use super::{Claims, Draft};
use crate::compile::context::Context;
use crate::compile::destination::no_cluster;
use crate::model::{Service, World};

/// The names of the single pods of a headless service.
pub(super) fn names(world: &World, service: &Service, namespace: &str) -> Vec<Domain> {
    if !service.is_kubernetes {
        return Vec::new();
    }
    let name = &service.identity.name;
    let home = service.namespace();
    let domain = &world.settings().cluster_domain;
    let mut names = vec![
        format!("*.{name}.{home}.svc.{domain}"),
        format!("*.{name}.{home}.svc"),
        format!("*.{name}.{home}"),
    ];
    if home == namespace {
        names.push(format!("*.{name}"));
    }
    names
        .iter()
        .filter_map(|name| Domain::parse(name))
        .collect()
}

/// Single pods of a headless service are found by their addresses. A proxy that is called
/// explicitly sees the name only, and must not let any other pod answer for the one that is meant.
pub(super) fn refuse(
    cx: &mut Context<'_>,
    claims: &mut Claims,
    draft: &Draft<'_>,
    names: Vec<Domain>,
) {
    let (port, host) = (draft.port, &draft.service.host);
    let free = names
        .into_iter()
        .filter(|name| claims.claim(port, name, &draft.service.key).is_ok());
    let domains: Vec<Domain> = free.collect();
    if domains.is_empty() {
        return;
    }
    let reason = format!(
        "a single pod of the headless service {host} cannot be reached through a proxy that is \
         called explicitly; call {host}, or give the pod a Service of its own"
    );
    let rule = Rule {
        name: Arc::from("pod"),
        matches: Vec::new(),
        fault: None,
        cors: None,
        headers: HeaderEdits::default(),
        action: RouteAction::Fail(no_cluster(reason)),
    };
    cx.add_virtual_host(VirtualHost {
        name: RoutesName {
            scope: RouteScope::port(port),
            host: Arc::from(format!("*.{host}")),
        },
        domains,
        service: Some(draft.service.identity.clone()),
        rules: vec![Arc::new(rule)],
    });
}
