//! TCP and unterminated TLS ports of a gateway.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::StatusCode;
use ipnet::IpNet;
use mesh_api::listener::{TcpRoutes, TcpRule, TlsRoutes, TlsRule};
use mesh_api::route::{Destinations, Domain, Failure, FailureFlag, Target};

use super::ownership::{Bound, Names, acting};
use super::servers::{Class, ServerAt};
use crate::compile::context::Context;
use crate::compile::diagnostics::{Diagnostic, codes};
use crate::compile::routes::candidates::{Candidate, domains};
use crate::compile::routes::connections::is_hidden_behind;
use crate::compile::tcp::{tcp_rules_of, tls_rules_of};

/// Whether a virtual service shares a host with a server and names its gateway.
fn is_bound(cx: &Context<'_>, candidate: &Candidate<'_>, server: &ServerAt<'_>) -> bool {
    let namespace = candidate.object.namespace();
    server.via().applies_at_all(candidate.object)
        && domains(cx.world, candidate.object).iter().any(|domain| {
            server
                .hosts
                .iter()
                .any(|host| host.common(namespace, domain).is_some())
        })
}

/// The virtual services that act on a port where nothing tells hosts apart.
fn bound<'a, 'w>(cx: &mut Context<'w>, servers: &[&'a ServerAt<'w>]) -> Vec<Bound<'a, 'w>> {
    let all = cx.candidates.all();
    let bound = all.into_iter().filter_map(|candidate| {
        let server = servers
            .iter()
            .find(|server| is_bound(cx, &candidate, server))?;
        Some(Bound {
            via: server.via(),
            candidate,
            redirects: false,
        })
    });
    let bound = bound.collect();
    acting(cx, servers, &Domain::Any, bound)
}

/// The TCP routes of a port: the first that takes every connection ends the list.
pub(super) fn tcp<'w>(cx: &mut Context<'w>, servers: &[&ServerAt<'w>]) -> TcpRoutes {
    let mut rules: Vec<TcpRule> = Vec::new();
    let vias: Vec<_> = servers.iter().map(|server| server.via()).collect();
    let mut before = Vec::new();
    for Bound { candidate, .. } in bound(cx, servers) {
        for server in servers {
            if !is_bound(cx, &candidate, server) {
                continue;
            }
            for (index, rule) in tcp_rules_of(cx, candidate.object, &server.via()) {
                if rules.contains(&rule) {
                    continue;
                }
                if !rules.iter().any(|one| one.destination_subnets.is_empty()) {
                    rules.push(rule);
                } else if is_hidden_behind(&before, (candidate.object, index), &vias) {
                    report_hidden(cx, &candidate, index, server);
                }
            }
        }
        before.push(candidate.object);
    }
    TcpRoutes { rules }
}

fn report_hidden(
    cx: &mut Context<'_>,
    candidate: &Candidate<'_>,
    index: usize,
    server: &ServerAt<'_>,
) {
    cx.report(Diagnostic::new(
        codes::UNREACHABLE_ROUTE,
        &candidate.object.key,
        format!("spec.tcp[{index}]"),
        format!(
            "is never reached on port {} of {}: a route of a virtual service before it takes every \
             connection",
            server.port, server.gateway.key
        ),
    ));
}

/// The TLS routes of a port: only server names the servers have hosts for; the first to claim a
/// name has it. Names of servers whose TLS cannot be done are refused, so that no wildcard of
/// another server takes them.
pub(super) fn tls<'w>(cx: &mut Context<'w>, all: &[ServerAt<'w>]) -> TlsRoutes {
    let mut rules: Vec<TlsRule> = Vec::new();
    let mut claimed: BTreeSet<(Domain, Vec<IpNet>)> = BTreeSet::new();
    for server in all {
        if let Class::Refused(reason) = &server.class {
            let rule = refused(server, reason);
            let names = rule.sni_hosts.iter().cloned();
            claimed.extend(names.map(|name| (name, Vec::new())));
            rules.push(rule);
        }
    }
    let servers: Vec<&ServerAt<'w>> = all
        .iter()
        .filter(|server| server.class == Class::Passthrough)
        .collect();
    let names = Names::of(cx, &servers);
    for candidate in cx.candidates.all() {
        for server in &servers {
            if !is_bound(cx, &candidate, server) {
                continue;
            }
            let (namespace, key) = (candidate.object.namespace(), &candidate.object.key);
            for mut rule in tls_rules_of(cx, candidate.object, &server.via()) {
                let written = rule.sni_hosts.iter();
                let served: BTreeSet<Domain> = written
                    .filter(|sni| names.let_claim(sni, key))
                    .flat_map(|sni| {
                        let hosts = server.hosts.iter();
                        hosts.filter_map(|host| host.common(namespace, sni))
                    })
                    .collect();
                let claim = |sni: &Domain| (sni.clone(), rule.destination_subnets.clone());
                let (taken, free): (Vec<Domain>, Vec<Domain>) = served
                    .into_iter()
                    .partition(|sni| claimed.contains(&claim(sni)));
                claimed.extend(free.iter().map(claim));
                rule.sni_hosts = free;
                if rule.sni_hosts.is_empty() {
                    report_taken(cx, &candidate, server, &taken, &rules, &rule);
                } else {
                    rules.push(rule);
                }
            }
        }
    }
    TlsRoutes { rules }
}

/// What becomes of greetings for a server whose TLS cannot be done.
fn refused(server: &ServerAt<'_>, reason: &str) -> TlsRule {
    let failure = Failure {
        status: StatusCode::SERVICE_UNAVAILABLE,
        flag: FailureFlag::NotEnforceable,
        reason: format!("{} {}: {reason}", server.gateway.key, server.field).into(),
    };
    TlsRule {
        sni_hosts: server
            .hosts
            .iter()
            .map(|host| host.domain.clone())
            .collect(),
        destination_subnets: Vec::new(),
        destinations: Arc::new(Destinations::one(Target::Fail(failure))),
    }
}

fn report_taken(
    cx: &mut Context<'_>,
    candidate: &Candidate<'_>,
    server: &ServerAt<'_>,
    taken: &[Domain],
    rules: &[TlsRule],
    rule: &TlsRule,
) {
    // The same route reached through two servers of one port is no conflict.
    let same = rules
        .iter()
        .any(|one| one.destinations == rule.destinations);
    if taken.is_empty() || same {
        return;
    }
    let names: Vec<String> = taken.iter().map(Domain::to_string).collect();
    cx.report(Diagnostic::new(
        codes::DUPLICATE_SNI,
        &candidate.object.key,
        "spec.tls",
        format!(
            "{} on port {} of {} belongs to an older virtual service",
            names.join(", "),
            server.port,
            server.gateway.key
        ),
    ));
}
