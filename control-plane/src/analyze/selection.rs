//! Selectors that select nothing: what is written there has no effect, and may have been meant
//! to protect.

use std::sync::Arc;

use mesh_api::route::Domain;
use mesh_api::workload::Labels;

use crate::compile::diagnostics::{Diagnostic, Report, codes};
use crate::compile::security::extension::guards;
use crate::crd::destination_rule::DestinationRuleSpec;
use crate::crd::object::Resource;
use crate::crd::selector::WorkloadSelector;
use crate::meta::ObjectKey;
use crate::model::endpoints::endpoint_set;
use crate::model::workload::{Readiness, labels_of, pairs, selects};
use crate::model::{Service, World, host};

/// Checks every selector.
pub(super) fn check(world: &World, report: &mut Report) {
    for gateway in world.gateways.iter() {
        let selected = world
            .workloads()
            .any(|workload| selects(pairs(&gateway.spec.selector), &workload.labels));
        if !selected {
            report.push(
                Diagnostic::new(
                    codes::GATEWAY_WITHOUT_WORKLOAD,
                    &gateway.key,
                    "spec.selector",
                    "no workload carries these labels; nothing listens for this gateway",
                )
                .hint("the bundled ingress gateway carries istio: ingressgateway"),
            );
        }
    }
    policies(world, report);
    for sidecar in world.sidecars.iter() {
        if let Some(selector) = &sidecar.spec.workload_selector {
            let labels = labels_of(&selector.labels);
            let place = (&sidecar.key, "spec.workloadSelector");
            nobody(world, report, place, Some(&labels));
        }
    }
    for rule in world.destination_rules.iter() {
        if let Some(selector) = &rule.spec.workload_selector {
            let labels = labels_of(&selector.match_labels);
            let place = (&rule.key, "spec.workloadSelector");
            nobody(world, report, place, Some(&labels));
        }
        subsets(world, rule, report);
    }
}

/// Security objects that protect nobody.
fn policies(world: &World, report: &mut Report) {
    fn labels(selector: Option<&WorkloadSelector>) -> Option<Labels> {
        selector.map(|one| labels_of(&one.match_labels))
    }
    let peers = world.peer_authentications.iter();
    let tokens = world.request_authentications.iter();
    let rules = world.authorization_policies.iter();
    let all = peers
        .map(|one| (&one.key, labels(one.spec.selector.as_ref())))
        .chain(tokens.map(|one| (&one.key, labels(one.spec.selector.as_ref()))))
        .chain(rules.map(|one| (&one.key, labels(one.spec.selector.as_ref()))));
    for (key, labels) in all {
        nobody(world, report, (key, "spec.selector"), labels.as_ref());
    }
    for guard in guards(world).filter(|guard| guard.attached_by.is_none()) {
        let labels = guard.labels.map(labels_of);
        let place = (guard.key, guard.selector);
        nobody(world, report, place, labels.as_ref());
    }
}

/// Names an object that selects no workload: of its namespace, or of any if it stands in the
/// root namespace. Without labels it selects all of them.
fn nobody(
    world: &World,
    report: &mut Report,
    (object, field): (&ObjectKey, &str),
    labels: Option<&Labels>,
) {
    let anywhere = object.namespace == *world.settings().root_namespace;
    let selected = world.workloads().any(|workload| {
        workload.readiness != Readiness::Gone
            && (anywhere || *workload.id.namespace == *object.namespace)
            && labels.is_none_or(|labels| {
                let wanted = labels.iter().map(|(key, value)| (&**key, &**value));
                selects(wanted, &workload.labels)
            })
    });
    if selected {
        return;
    }
    let place = if anywhere {
        "the mesh".to_owned()
    } else {
        format!("namespace {}", object.namespace)
    };
    let message = if labels.is_none_or(Labels::is_empty) {
        format!("there is no workload in {place}; it has no effect until there is one")
    } else {
        format!("no workload in {place} carries these labels; it has no effect until one does")
    };
    report.push(Diagnostic::new(codes::NO_WORKLOAD, object, field, message));
}

/// Subsets that no endpoint belongs to: calls there get 503.
fn subsets(world: &World, rule: &Resource<DestinationRuleSpec>, report: &mut Report) {
    let domain = &world.settings().cluster_domain;
    let full = host::resolve(&rule.spec.host, rule.namespace(), domain);
    let Some(Domain::Exact(exact)) = Domain::parse(&full) else {
        return;
    };
    let services = world.claims(&exact);
    if services.is_empty() {
        return;
    }
    for (index, subset) in rule.spec.subsets.iter().enumerate() {
        let labels = labels_of(&subset.labels);
        let populated = |service: &Arc<Service>| is_populated(world, service, &labels);
        if labels.is_empty() || services.iter().any(populated) {
            continue;
        }
        report.push(
            Diagnostic::new(
                codes::EMPTY_SUBSET,
                &rule.key,
                format!("spec.subsets[{index}].labels"),
                format!(
                    "no endpoint of {exact} carries the labels of subset {}; calls routed to it get 503",
                    subset.name
                ),
            )
            .hint("compare with the labels of the pods behind the service"),
        );
    }
}

fn is_populated(world: &World, service: &Service, labels: &Labels) -> bool {
    service.ports.iter().any(|port| {
        let name = service.endpoints_name(port.number);
        endpoint_set(world, &name).is_some_and(|set| {
            set.endpoints.iter().any(|endpoint| {
                let wanted = labels.iter().map(|(key, value)| (&**key, &**value));
                selects(wanted, &endpoint.labels)
            })
        })
    })
}
