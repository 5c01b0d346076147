//! Findings about what service entries declare: hosts and addresses that are others', and what
//! several objects say of one host.

use std::sync::Arc;

use super::World;
use crate::compile::diagnostics::{Diagnostic, Report, codes};
use crate::model::{Service, ownership};

/// Checks every declaration.
pub(crate) fn check(world: &World, report: &mut Report) {
    for service in world.services().filter(|one| !one.is_kubernetes) {
        foreign_host(world, service, report);
    }
    for service in world.declarations().filter(|one| !one.is_kubernetes) {
        foreign_addresses(world, service, report);
    }
    for (written, joined) in world.rivals() {
        for service in written {
            if ownership::is_claim(world, service) {
                rival(service, joined, report);
            }
        }
    }
}

fn foreign_host(world: &World, service: &Service, report: &mut Report) {
    if ownership::is_claim(world, service) {
        return;
    }
    let home = ownership::kubernetes_namespace(world, &service.host).unwrap_or_default();
    for backing in &service.backings {
        report.push(
            Diagnostic::new(
                codes::FOREIGN_HOST,
                &backing.key,
                "spec.hosts",
                format!(
                    "{} is, or covers, what Kubernetes calls things in namespace {home}; nobody is \
                     told of what others declare for it",
                    service.host
                ),
            )
            .hint(format!(
                "declare it in namespace {home}, or give the service a name of its own"
            )),
        );
    }
}

fn foreign_addresses(world: &World, service: &Service, report: &mut Report) {
    for address in service.vips() {
        if let Some(holder) = ownership::holder(world, service, address) {
            report.push(
                Diagnostic::new(
                    codes::FOREIGN_ADDRESS,
                    &service.key,
                    "spec.addresses",
                    format!(
                        "{address} is the address of {}, which keeps it; the entry is not reached \
                         there",
                        holder.key
                    ),
                )
                .hint("leave the address out, or use one that nobody has"),
            );
        }
    }
}

/// What one of several declarations of a host loses against the others.
fn rival(service: &Service, joined: &[Arc<Service>], report: &mut Report) {
    let key = &service.key;
    let Some(place) = joined
        .iter()
        .position(|one| one.backings.iter().any(|backing| backing.key == *key))
    else {
        return;
    };
    let (older, own) = joined.split_at(place);
    if let Some(own) = own.first() {
        for port in &service.ports {
            let counts = own.port(port.number);
            if counts.is_some_and(|counts| counts.protocol != port.protocol) {
                let mut backings = own.backings.iter();
                let winner = backings.find(|one| one.port(port.number).is_some());
                let winner = winner.map_or(&own.key, |winner| &winner.key);
                report.push(Diagnostic::new(
                    codes::DUPLICATE_SERVICE,
                    key,
                    "spec.ports",
                    format!(
                        "port {} of {} speaks what {winner} says, which is older",
                        port.number, service.host
                    ),
                ));
            }
        }
    }
    // Each counts for the clients of its own namespace, unless a Service has the host. What a
    // namespace keeps to itself is nobody else's loss.
    let loses = |winner: &&Arc<Service>| {
        let both = winner.visibility.both(&service.visibility);
        let at_home = winner.is_kubernetes || winner.namespace() == service.namespace();
        both.reaches_beyond(&[service.namespace(), winner.namespace()])
            || (at_home && both.includes(service.namespace()))
    };
    if let Some(winner) = older.iter().find(loses) {
        let at_home = winner.is_kubernetes || winner.namespace() == service.namespace();
        let except = if at_home || !service.visibility.includes(service.namespace()) {
            String::new()
        } else {
            format!(", except in namespace {}", service.namespace())
        };
        report.push(Diagnostic::new(
            codes::DUPLICATE_SERVICE,
            key,
            "spec.hosts",
            format!(
                "{} is declared by {} too, which counts wherever both are seen{except}",
                service.host, winner.key
            ),
        ));
    }
}
