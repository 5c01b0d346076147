//! TCP and unterminated TLS ports of a gateway.

use mesh_api::listener::{TcpRoutes, TcpRule, TlsRoutes, TlsRule};
use mesh_api::route::Domain;

use super::ownership::{Bound, Names, acting};
use super::servers::ServerAt;
use crate::compile::context::Context;
use crate::compile::diagnostics::{Diagnostic, codes};
use crate::compile::routes::candidates::{Candidate, domains};
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
    for Bound { candidate, .. } in bound(cx, servers) {
        for server in servers {
            if !is_bound(cx, &candidate, server) {
                continue;
            }
            for (index, rule) in tcp_rules_of(cx, candidate.object, &server.via()) {
                if rules.contains(&rule) {
                    continue;
                }
                if rules.iter().any(|one| one.destination_subnets.is_empty()) {
                    cx.report(Diagnostic::new(
                        codes::UNREACHABLE_ROUTE,
                        &candidate.object.key,
                        format!("spec.tcp[{index}]"),
                        format!(
                            "is never reached on port {} of {}: a route before it takes every \
                             connection",
                            server.port, server.gateway.key
                        ),
                    ));
                    continue;
                }
                rules.push(rule);
            }
        }
    }
    TcpRoutes { rules }
}

/// The TLS routes of a port: only server names the servers have hosts for; the first to claim a
/// name has it.
pub(super) fn tls<'w>(cx: &mut Context<'w>, servers: &[&ServerAt<'w>]) -> TlsRoutes {
    let mut rules: Vec<TlsRule> = Vec::new();
    let mut claimed: Vec<Domain> = Vec::new();
    let names = Names::of(cx, servers);
    for candidate in cx.candidates.all() {
        for server in servers {
            if !is_bound(cx, &candidate, server) {
                continue;
            }
            for mut rule in tls_rules_of(cx, candidate.object, &server.via()) {
                let key = &candidate.object.key;
                let served = |sni: &Domain| {
                    server.serves(candidate.object.namespace(), sni) && names.let_claim(sni, key)
                };
                rule.sni_hosts.retain(served);
                let narrowed = rule.destination_subnets.is_empty();
                let taken: Vec<Domain> = rule
                    .sni_hosts
                    .iter()
                    .filter(|sni| narrowed && claimed.contains(sni))
                    .cloned()
                    .collect();
                rule.sni_hosts.retain(|sni| !taken.contains(sni));
                if rule.sni_hosts.is_empty() {
                    report_taken(cx, &candidate, server, &taken, &rules, &rule);
                    continue;
                }
                if narrowed {
                    claimed.extend(rule.sni_hosts.iter().cloned());
                }
                rules.push(rule);
            }
        }
    }
    TlsRoutes { rules }
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
