//! Findings about objects that no proxy ever meets: references to nothing, rivals for one place.

use std::collections::{BTreeMap, BTreeSet};

use super::scopes::is_gateway;
use super::{World, rules, services};
use crate::compile::ProxyRole;
use crate::compile::diagnostics::{Diagnostic, Report, codes};
use crate::compile::gateway::ServerHost;
use crate::compile::not_acted_on::{self, Feature};
use crate::compile::routes::candidates::domains;
use crate::compile::routes::connections::{self, Hidden};
use crate::compile::routes::{gateways_of_matches, names_gateway};
use crate::compile::security::extension::{Guard, guards, report_idle};
use crate::crd::Kind;
use crate::crd::object::Resource;
use crate::crd::virtual_service::VirtualServiceSpec;
use crate::meta::ObjectKey;
use crate::model::host;
use crate::model::workload::{Readiness, pairs, selects};

/// Checks every object.
pub(super) fn check(world: &World, report: &mut Report) {
    settings(world, report);
    services::check(world, report);
    rules::check(world, report);
    virtual_services(world, report);
    rival_sidecars(world, report);
    for telemetry in world.telemetries.iter() {
        not_acted_on::report(report, Feature::Telemetry, &telemetry.key, "spec");
    }
    extensions(world, report);
    for key in &world.not_acted_on {
        if let Some(feature) = Feature::of_kind(key.kind) {
            not_acted_on::report(report, feature, key, "spec");
        }
    }
}

/// Programs and filters that are not run. Those that ask for protection are refused, and told so
/// there; what of them keeps nobody out is told here.
fn extensions(world: &World, report: &mut Report) {
    let mut guarding: BTreeSet<&ObjectKey> = BTreeSet::new();
    for guard in guards(world) {
        guarding.insert(guard.key);
        report_idle(&guard, &roles(world, &guard), report);
    }
    let plugins = world.wasm_plugins.iter().map(|one| &one.key);
    let extensions = world.traffic_extensions.iter().map(|one| &one.key);
    for key in plugins.chain(extensions) {
        if !guarding.contains(key) {
            not_acted_on::report(report, Feature::Extension, key, "spec");
        }
    }
    for filter in world.envoy_filters.iter() {
        not_acted_on::report(report, Feature::EnvoyFilter, &filter.key, "spec");
    }
}

/// What kinds of proxies the workloads have that a guard selects.
fn roles(world: &World, guard: &Guard<'_>) -> BTreeSet<ProxyRole> {
    let selected = world.workloads().filter(|workload| {
        workload.readiness != Readiness::Gone
            && guard.selects(world, &workload.id.namespace, &workload.labels)
    });
    selected
        .map(|workload| {
            if is_gateway(world, workload) {
                ProxyRole::Gateway
            } else {
                ProxyRole::Sidecar
            }
        })
        .collect()
}

/// Settings of the mesh that nothing acts on.
fn settings(world: &World, report: &mut Report) {
    for key in &world.settings().not_acted_on {
        report.push(Diagnostic {
            object: None,
            field: format!("meshConfig.{key}"),
            code: codes::SETTING_NOT_ACTED_ON,
            message: "accepted, not acted on yet".to_owned(),
            hint: Some("nothing changes by it; it may stay".to_owned()),
        });
    }
}

fn virtual_services(world: &World, report: &mut Report) {
    for object in world.virtual_services.iter() {
        let of_matches = gateways_of_matches(&object.spec).flatten();
        let mut named: Vec<&String> = object.spec.gateways.iter().chain(of_matches).collect();
        named.sort();
        named.dedup();
        for written in named.into_iter().filter(|name| *name != "mesh") {
            gateway_reference(world, object, written, report);
        }
        for (index, route) in object.spec.http.iter().enumerate() {
            http_route(object, index, route, report);
        }
        for Hidden { field, by } in connections::hidden(object) {
            let message = format!(
                "is never reached: all connections it is for are taken by {}",
                by.join(", ")
            );
            report.push(
                Diagnostic::new(codes::UNREACHABLE_ROUTE, &object.key, field, message)
                    .hint("put it first, or make what comes first more specific"),
            );
        }
        for (index, route) in object.spec.tcp.iter().enumerate() {
            for (m, one) in route.matches.iter().enumerate() {
                if one.source_subnet.is_some() {
                    let field = format!("spec.tcp[{index}].match[{m}].sourceSubnet");
                    not_acted_on::report(report, Feature::SourceSubnet, &object.key, &field);
                }
            }
        }
    }
}

fn http_route(
    object: &Resource<VirtualServiceSpec>,
    index: usize,
    route: &crate::crd::virtual_service::HttpRoute,
    report: &mut Report,
) {
    let remote = route
        .retries
        .as_ref()
        .is_some_and(|retries| retries.retry_remote_localities == Some(true));
    if remote {
        let field = format!("spec.http[{index}].retries.retryRemoteLocalities");
        not_acted_on::report(report, Feature::RetryRemoteLocalities, &object.key, &field);
    }
    for (m, one) in route.matches.iter().enumerate() {
        if one.stat_prefix.is_some() {
            let field = format!("spec.http[{index}].match[{m}].statPrefix");
            not_acted_on::report(report, Feature::StatPrefix, &object.key, &field);
        }
    }
}

/// A gateway a virtual service names must be there and have a host in common with it.
fn gateway_reference(
    world: &World,
    object: &Resource<VirtualServiceSpec>,
    written: &str,
    report: &mut Report,
) {
    let full = names_gateway(written, object.namespace());
    let found = full.split_once('/').and_then(|(namespace, name)| {
        let key = ObjectKey::new(Kind::Gateway, namespace, name);
        world.gateways.find(&key)
    });
    let Some(gateway) = found else {
        let names: Vec<String> = world
            .gateways
            .iter()
            .map(|gateway| format!("{}/{}", gateway.namespace(), gateway.name()))
            .collect();
        let near = host::nearest(&full, names.iter().map(String::as_str));
        report.push(
            Diagnostic::new(
                codes::UNKNOWN_GATEWAY,
                &object.key,
                "spec.gateways",
                format!("there is no Gateway {full}; routes for it have no effect"),
            )
            .maybe_hint(near.map(|near| format!("did you mean {near}?"))),
        );
        return;
    };
    let hosts = domains(world, object);
    let servers = gateway.spec.servers.iter().flat_map(|server| &server.hosts);
    let mut servers = servers.filter_map(|host| ServerHost::parse(host, gateway.namespace()));
    let shares = servers.any(|server| {
        let mut common = hosts
            .iter()
            .filter_map(|host| server.common(object.namespace(), host));
        common.next().is_some()
    });
    if !shares && !hosts.is_empty() {
        report.push(
            Diagnostic::new(
                codes::GATEWAY_HOST_MISMATCH,
                &object.key,
                "spec.hosts",
                format!(
                    "{} serves none of these hosts to this namespace",
                    gateway.key
                ),
            )
            .hint("add the host to a server of the Gateway"),
        );
    }
}

/// Of several Sidecars for the same workloads only the oldest counts.
pub(crate) fn rival_sidecars(world: &World, report: &mut Report) {
    let mut defaults: BTreeMap<&str, &ObjectKey> = BTreeMap::new();
    let mut push = |loser: &ObjectKey, winner: &ObjectKey, what: String| {
        report.push(Diagnostic::new(
            codes::SEVERAL_SIDECARS,
            loser,
            "spec.workloadSelector",
            format!("has no effect for {what}: {winner} is older and applies to it too"),
        ));
    };
    for sidecar in world.sidecars.iter() {
        if sidecar.spec.workload_selector.is_none() {
            let namespace = sidecar.namespace();
            if let Some(winner) = defaults.get(namespace) {
                push(&sidecar.key, winner, format!("namespace {namespace}"));
            } else {
                defaults.insert(namespace, &sidecar.key);
            }
        }
    }
    for workload in world.workloads() {
        if is_gateway(world, workload) {
            continue;
        }
        let mut selecting = world
            .sidecars
            .of_namespace(&workload.id.namespace)
            .filter(|sidecar| {
                sidecar
                    .spec
                    .workload_selector
                    .as_ref()
                    .is_some_and(|selector| selects(pairs(&selector.labels), &workload.labels))
            });
        let Some(winner) = selecting.next() else {
            continue;
        };
        for loser in selecting {
            push(&loser.key, &winner.key, format!("workload {}", workload.id));
        }
    }
}
