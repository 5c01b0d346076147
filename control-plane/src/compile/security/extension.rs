//! `WasmPlugin`, `TrafficExtension` and `EnvoyFilter`: programs and filters that this mesh does not
//! run. Those that are there to keep somebody out are asked for as protection is.
//!
//! A program asks for that by its phase (AUTHN, AUTHZ), or by refusing traffic when it cannot run,
//! which is its `failStrategy` unless it says FAIL_OPEN. A patch asks for it by adding a filter
//! whose purpose that is; of other patches nothing is known but that nobody applies them.

use std::collections::BTreeMap;

use mesh_api::units::Port;
use mesh_api::workload::Labels;
use serde_json::Value;

use super::Ask;
use crate::compile::scope::ProxyRole;
use crate::crd::envoy_filter::{ConfigPatch, FilterClass, PatchOperation, PlaceContext};
use crate::crd::selector::WorkloadSelector;
use crate::crd::wasm_plugin::{FailStrategy, Phase, Side, TrafficSelector};
use crate::meta::ObjectKey;
use crate::model::World;
use crate::model::workload::{pairs, selects};

/// Filters whose purpose is to keep somebody out, as their names and types write it.
const GUARDS: [&str; 9] = [
    ".filters.http.api_key_auth",
    ".filters.http.basic_auth",
    ".filters.http.csrf",
    ".filters.http.ext_authz",
    ".filters.http.jwt_authn",
    ".filters.http.oauth2",
    ".filters.http.rbac",
    ".filters.network.ext_authz",
    ".filters.network.rbac",
];

/// Where an extension is to guard a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Guarded {
    /// At every port.
    Everywhere,
    /// At these.
    Ports(Vec<Port>),
}

/// What the extensions that select a workload ask for.
pub(super) fn asks(
    world: &World,
    (namespace, labels): (&str, &Labels),
    role: ProxyRole,
) -> Vec<(Guarded, Ask)> {
    let root = &*world.settings().root_namespace;
    let none = BTreeMap::new();
    let concerns = |key: &ObjectKey, wanted: Option<&BTreeMap<String, String>>, attached: bool| {
        let near = *key.namespace == *namespace || *key.namespace == *root;
        // Attached ones are for gateways and waypoints of another interface.
        near && !attached && selects(pairs(wanted.unwrap_or(&none)), labels)
    };
    let by_labels = |selector: &Option<WorkloadSelector>| {
        selector
            .as_ref()
            .map(|selector| selector.match_labels.clone())
    };
    let mut asks = Vec::new();
    for plugin in world.wasm_plugins.iter() {
        let spec = &plugin.spec;
        let attached = spec.target_ref.is_some() || !spec.target_refs.is_empty();
        let wanted = by_labels(&spec.selector);
        let why = reason(spec.phase, Some(spec.fail_strategy));
        if let (Some(why), Some(guarded)) = (why, guarded(&spec.matches, role))
            && concerns(&plugin.key, wanted.as_ref(), attached)
        {
            asks.push((guarded, Ask::new(&plugin.key, "spec", why)));
        }
    }
    for extension in world.traffic_extensions.iter() {
        let spec = &extension.spec;
        let wanted = by_labels(&spec.selector);
        let strategy = spec.wasm.as_ref().map(|program| program.fail_strategy);
        let why = reason(spec.phase, strategy);
        if let (Some(why), Some(guarded)) = (why, guarded(&spec.matches, role))
            && concerns(
                &extension.key,
                wanted.as_ref(),
                !spec.target_refs.is_empty(),
            )
        {
            asks.push((guarded, Ask::new(&extension.key, "spec", why)));
        }
    }
    for filter in world.envoy_filters.iter() {
        let spec = &filter.spec;
        let wanted = spec.workload_selector.as_ref().map(|one| &one.labels);
        if !concerns(&filter.key, wanted, !spec.target_refs.is_empty()) {
            continue;
        }
        for (index, patch) in spec.config_patches.iter().enumerate() {
            if let Some(guard) = guard(patch, role) {
                let field = format!("spec.configPatches[{index}]");
                let ask = Ask::new(&filter.key, field, format!("the filter {guard}"));
                asks.push((Guarded::Everywhere, ask));
            }
        }
    }
    asks
}

/// What a program or script asks for by its settings; `None` if traffic may pass without it.
pub(crate) fn reason(phase: Phase, strategy: Option<FailStrategy>) -> Option<&'static str> {
    match (phase, strategy) {
        (Phase::Authn, _) => Some("a program in phase AUTHN"),
        (Phase::Authz, _) => Some("a program in phase AUTHZ"),
        (Phase::Unspecified | Phase::Stats, Some(FailStrategy::FailClose)) => {
            Some("a program with failStrategy FAIL_CLOSE (the default)")
        }
        (Phase::Unspecified | Phase::Stats, Some(FailStrategy::FailReload)) => {
            Some("a program with failStrategy FAIL_RELOAD")
        }
        (Phase::Unspecified | Phase::Stats, Some(FailStrategy::FailOpen) | None) => None,
    }
}

/// Where a program is to run on what comes in, if at all.
fn guarded(matches: &[TrafficSelector], role: ProxyRole) -> Option<Guarded> {
    if matches.is_empty() {
        return Some(Guarded::Everywhere);
    }
    let comes_in = |one: &&TrafficSelector| match (one.mode, role) {
        (Side::Undefined | Side::ClientAndServer, _)
        | (Side::Server, ProxyRole::Sidecar)
        | (Side::Client, ProxyRole::Gateway) => true,
        (Side::Client, ProxyRole::Sidecar) | (Side::Server, ProxyRole::Gateway) => false,
    };
    let mut ports = Vec::new();
    let mut some = false;
    for one in matches.iter().filter(comes_in) {
        if one.ports.is_empty() {
            return Some(Guarded::Everywhere);
        }
        some = true;
        ports.extend(one.ports.iter().filter_map(|port| Port::new(port.number)));
    }
    some.then_some(Guarded::Ports(ports))
}

/// The guard a patch adds to what comes in at a proxy.
fn guard(patch: &ConfigPatch, role: ProxyRole) -> Option<String> {
    let context = patch
        .matches
        .as_ref()
        .map_or_else(PlaceContext::default, |place| place.context);
    let here = match (context, role) {
        (PlaceContext::Any, _)
        | (PlaceContext::SidecarInbound, ProxyRole::Sidecar)
        | (PlaceContext::Gateway, ProxyRole::Gateway) => true,
        (
            PlaceContext::SidecarInbound
            | PlaceContext::SidecarOutbound
            | PlaceContext::Gateway
            | PlaceContext::Waypoint,
            _,
        ) => false,
    };
    let patch = patch.patch.as_ref().filter(|_| here)?;
    if patch.operation == PatchOperation::Remove {
        return None;
    }
    let value = patch.value.as_ref()?;
    let named = value.0.values().find_map(named_guard);
    match patch.filter_class {
        FilterClass::Authn => named.or_else(|| Some("of class AUTHN".to_owned())),
        FilterClass::Authz => named.or_else(|| Some("of class AUTHZ".to_owned())),
        FilterClass::Unspecified | FilterClass::Stats => named,
    }
}

fn named_guard(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => {
            let found = GUARDS.iter().any(|guard| text.contains(guard));
            found.then(|| text.clone())
        }
        Value::Array(list) => list.iter().find_map(named_guard),
        Value::Object(fields) => fields.values().find_map(named_guard),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}
