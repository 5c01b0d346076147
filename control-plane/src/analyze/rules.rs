//! Findings about destination rules that hold for nobody, or for fewer than their author may think.

use std::sync::Arc;

use mesh_api::route::Domain;

use super::World;
use crate::compile::diagnostics::{Diagnostic, Report, codes};
use crate::crd::destination_rule::DestinationRuleSpec;
use crate::crd::object::Resource;
use crate::model::ownership::{is_claim, may_speak, owner_of};
use crate::model::visibility::Visibility;
use crate::model::{Service, host};

type Rule = Resource<DestinationRuleSpec>;

/// Checks every rule.
pub(super) fn check(world: &World, report: &mut Report) {
    for rule in world.destination_rules.iter() {
        one(world, rule, report);
    }
}

/// Checks one rule.
pub(crate) fn one(world: &World, rule: &Rule, report: &mut Report) {
    let domain = &world.settings().cluster_domain;
    let full = host::resolve(&rule.spec.host, rule.namespace(), domain);
    let Some(wanted) = Domain::parse(&full) else {
        return;
    };
    let services: Vec<&Arc<Service>> = match &wanted {
        Domain::Exact(exact) => {
            let claims = world.claims(exact).iter();
            claims.filter(|service| is_claim(world, service)).collect()
        }
        Domain::Suffix(_) | Domain::Any => {
            let covered = |service: &&Arc<Service>| {
                Domain::parse(&service.host).is_some_and(|host| wanted.covers(&host))
                    && is_claim(world, service)
            };
            world.services().filter(covered).collect()
        }
    };
    if services.is_empty() {
        without_service(world, rule, &full, report);
        return;
    }
    for_strangers(world, rule, &services, report);
    if let Domain::Exact(exact) = &wanted {
        unknown_ports(rule, exact, &services, report);
    }
}

fn without_service(world: &World, rule: &Rule, full: &str, report: &mut Report) {
    let hosts = world.hosts().map(|(host, _)| &**host);
    let near = host::nearest(full, hosts);
    report.push(
        Diagnostic::new(
            codes::RULE_WITHOUT_SERVICE,
            &rule.key,
            "spec.host",
            format!("no service is called {full}; the rule has no effect"),
        )
        .maybe_hint(near.map(|near| format!("did you mean {near}?"))),
    );
}

/// A rule of a namespace that has none of the services holds for its own clients only, however it
/// is exported.
fn for_strangers(world: &World, rule: &Rule, services: &[&Arc<Service>], report: &mut Report) {
    let namespace = rule.namespace();
    let settings = world.settings();
    let visibility = Visibility::of(
        &rule.spec.export_to,
        &settings.exports.destination_rules,
        &Arc::from(namespace),
    );
    let meant_for_others =
        rule.spec.workload_selector.is_none() && visibility.reaches_beyond(&[namespace]);
    let at_home = services
        .iter()
        .any(|service| may_speak(world, &service.host, namespace));
    let Some(first) = services.first().filter(|_| meant_for_others && !at_home) else {
        return;
    };
    let clients = if world.workloads_of_namespace(namespace).next().is_some() {
        "holds for clients in its own namespace only"
    } else {
        "has no effect: it would hold for clients in its own namespace, and there are none"
    };
    report.push(
        Diagnostic::new(
            codes::RULE_OF_STRANGER,
            &rule.key,
            "spec.host",
            format!(
                "{clients}; {} belongs to namespace {}",
                first.host,
                owner_of(world, first)
            ),
        )
        .hint(format!(
            "for clients elsewhere write it in namespace {}, or in the root namespace",
            owner_of(world, first)
        )),
    );
}

fn unknown_ports(rule: &Rule, host: &str, services: &[&Arc<Service>], report: &mut Report) {
    let Some(policy) = &rule.spec.traffic_policy else {
        return;
    };
    for (index, entry) in policy.port_level_settings.iter().enumerate() {
        let number = entry.port.as_ref().map_or(0, |port| port.number);
        let mut ports = services.iter().flat_map(|service| &service.ports);
        if ports.any(|port| port.number.value() == number) {
            continue;
        }
        report.push(
            Diagnostic::new(
                codes::RULE_UNKNOWN_PORT,
                &rule.key,
                format!("spec.trafficPolicy.portLevelSettings[{index}].port"),
                format!("{host} has no port {number}; the entry has no effect"),
            )
            .hint("name the port of the Service, not of the workload"),
        );
    }
}
