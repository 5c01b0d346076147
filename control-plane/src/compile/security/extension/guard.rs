//! What extensions say of whom they keep out, and where.
//!
//! A program asks for that by its phase (AUTHN, AUTHZ), or by refusing traffic when it cannot run,
//! which is its `failStrategy` unless it says FAIL_OPEN. A patch asks for it by adding a filter
//! whose purpose that is; of other patches nothing is known but that nobody applies them.

use std::collections::BTreeMap;

use mesh_api::units::Port;
use mesh_api::workload::Labels;
use serde_json::Value;

use crate::compile::scope::ProxyRole;
use crate::crd::envoy_filter::{
    ConfigPatch, EnvoyFilterSpec, FilterClass, PatchOperation, PlaceContext,
};
use crate::crd::object::Resource;
use crate::crd::selector::{PolicyTargetReference, WorkloadSelector};
use crate::crd::traffic_extension::TrafficExtensionSpec;
use crate::crd::wasm_plugin::{FailStrategy, Phase, Side, TrafficSelector, WasmPluginSpec};
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
pub(crate) enum Guarded {
    /// At every port.
    Everywhere,
    /// At these.
    Ports(Vec<Port>),
}

/// An extension that is to keep somebody out.
#[derive(Debug)]
pub(crate) struct Guard<'w> {
    pub(crate) key: &'w ObjectKey,
    /// The field it selects workloads with.
    pub(crate) selector: &'static str,
    /// The labels it selects by; `None`: it selects all workloads it reaches.
    pub(crate) labels: Option<&'w BTreeMap<String, String>>,
    /// The field that attaches it to gateways or waypoints of another interface, which this mesh
    /// does not have.
    pub(crate) attached_by: Option<&'static str>,
    pub(super) posts: Vec<Post<'w>>,
}

/// What a guard is to do.
#[derive(Debug)]
pub(super) struct Post<'w> {
    /// The field that says so.
    pub(super) field: String,
    /// What it says, in words.
    pub(super) what: String,
    place: Place<'w>,
}

/// Where: for a program the traffic it selects, for a patch the proxies and their sides.
#[derive(Debug)]
enum Place<'w> {
    Traffic(&'w [TrafficSelector]),
    Context(PlaceContext),
}

/// Which proxies are meant, and which of their traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// All of it.
    Everything,
    /// What comes in at workloads.
    Workloads,
    /// The calls workloads make.
    Calls,
    /// The calls workloads make, and what comes in at gateways, which is written the same.
    CallsAndGateways,
    /// What comes in at gateways.
    Gateways,
    /// Proxies this mesh does not have.
    Waypoints,
}

impl Watched {
    /// Whether that is traffic that comes in at proxies of a role.
    pub(super) fn comes_in(self, role: ProxyRole) -> bool {
        match self {
            Self::Everything => true,
            Self::Workloads => role == ProxyRole::Sidecar,
            Self::Gateways | Self::CallsAndGateways => role == ProxyRole::Gateway,
            Self::Calls | Self::Waypoints => false,
        }
    }

    /// Whether, of the traffic of a sidecar, that is none but the calls of its workload.
    pub(super) fn is_calls_only(self) -> bool {
        matches!(self, Self::Calls | Self::CallsAndGateways)
    }
}

/// All extensions that are to keep somebody out.
pub(crate) fn guards(world: &World) -> impl Iterator<Item = Guard<'_>> {
    let plugins = world.wasm_plugins.iter();
    let extensions = world.traffic_extensions.iter();
    let filters = world.envoy_filters.iter();
    plugins
        .filter_map(|one| plugin(one))
        .chain(extensions.filter_map(|one| extension(one)))
        .chain(filters.filter_map(|one| filter(one)))
}

impl Guard<'_> {
    /// Whether it is for a workload: one of its namespace or of the root namespace is, by labels or
    /// as a whole.
    pub(crate) fn selects(&self, world: &World, namespace: &str, labels: &Labels) -> bool {
        let root = &*world.settings().root_namespace;
        let near = *self.key.namespace == *namespace || *self.key.namespace == *root;
        let wanted = self.labels;
        near && self.attached_by.is_none()
            && wanted.is_none_or(|wanted| selects(pairs(wanted), labels))
    }
}

fn plugin(object: &Resource<WasmPluginSpec>) -> Option<Guard<'_>> {
    let spec = &object.spec;
    Some(Guard {
        key: &object.key,
        selector: "spec.selector",
        labels: by_labels(spec.selector.as_ref()),
        attached_by: attached_by(spec.target_ref.as_ref(), &spec.target_refs),
        posts: vec![Post {
            field: "spec".to_owned(),
            what: reason(spec.phase, Some(spec.fail_strategy))?.to_owned(),
            place: Place::Traffic(&spec.matches),
        }],
    })
}

fn extension(object: &Resource<TrafficExtensionSpec>) -> Option<Guard<'_>> {
    let spec = &object.spec;
    let strategy = spec.wasm.as_ref().map(|program| program.fail_strategy);
    Some(Guard {
        key: &object.key,
        selector: "spec.selector",
        labels: by_labels(spec.selector.as_ref()),
        attached_by: attached_by(None, &spec.target_refs),
        posts: vec![Post {
            field: "spec".to_owned(),
            what: reason(spec.phase, strategy)?.to_owned(),
            place: Place::Traffic(&spec.matches),
        }],
    })
}

fn filter(object: &Resource<EnvoyFilterSpec>) -> Option<Guard<'_>> {
    let spec = &object.spec;
    let patches = spec.config_patches.iter().enumerate();
    let posts = patches.filter_map(|(index, patch)| {
        let matches = patch.matches.as_ref();
        let context = matches.map_or_else(PlaceContext::default, |place| place.context);
        Some(Post {
            field: format!("spec.configPatches[{index}]"),
            what: format!("the filter {}", patched_in(patch)?),
            place: Place::Context(context),
        })
    });
    let posts: Vec<_> = posts.collect();
    let selector = spec.workload_selector.as_ref();
    (!posts.is_empty()).then(|| Guard {
        key: &object.key,
        selector: "spec.workloadSelector",
        labels: selector.map(|one| &one.labels),
        attached_by: attached_by(None, &spec.target_refs),
        posts,
    })
}

fn by_labels(selector: Option<&WorkloadSelector>) -> Option<&BTreeMap<String, String>> {
    selector.map(|selector| &selector.match_labels)
}

fn attached_by(
    one: Option<&PolicyTargetReference>,
    several: &[PolicyTargetReference],
) -> Option<&'static str> {
    let named = (!several.is_empty()).then_some("spec.targetRefs");
    named.or_else(|| one.map(|_| "spec.targetRef"))
}

/// What a program or script asks for by its settings; `None` if traffic may pass without it.
fn reason(phase: Phase, strategy: Option<FailStrategy>) -> Option<&'static str> {
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

impl Post<'_> {
    /// Every part of it that says which traffic is watched, and which that is.
    pub(super) fn sides(&self) -> Vec<(String, Watched)> {
        let field = &self.field;
        match &self.place {
            Place::Traffic([]) => vec![(field.clone(), Watched::Everything)],
            Place::Traffic(matches) => {
                let matches = matches.iter().enumerate();
                matches
                    .map(|(index, one)| (format!("{field}.match[{index}].mode"), of_side(one.mode)))
                    .collect()
            }
            Place::Context(context) => {
                vec![(format!("{field}.match.context"), of_context(*context))]
            }
        }
    }

    /// Where it is to guard what comes in at a proxy of a role, if at all.
    pub(super) fn guarded(&self, role: ProxyRole) -> Option<Guarded> {
        match &self.place {
            Place::Traffic(matches) => guarded(matches, role),
            Place::Context(context) => of_context(*context)
                .comes_in(role)
                .then_some(Guarded::Everywhere),
        }
    }
}

fn of_side(side: Side) -> Watched {
    match side {
        Side::Undefined | Side::ClientAndServer => Watched::Everything,
        Side::Client => Watched::CallsAndGateways,
        Side::Server => Watched::Workloads,
    }
}

fn of_context(context: PlaceContext) -> Watched {
    match context {
        PlaceContext::Any => Watched::Everything,
        PlaceContext::SidecarInbound => Watched::Workloads,
        PlaceContext::SidecarOutbound => Watched::Calls,
        PlaceContext::Gateway => Watched::Gateways,
        PlaceContext::Waypoint => Watched::Waypoints,
    }
}

/// Where a program is to run on what comes in, if at all.
fn guarded(matches: &[TrafficSelector], role: ProxyRole) -> Option<Guarded> {
    if matches.is_empty() {
        return Some(Guarded::Everywhere);
    }
    let mut ports = Vec::new();
    let mut some = false;
    for one in matches
        .iter()
        .filter(|one| of_side(one.mode).comes_in(role))
    {
        if one.ports.is_empty() {
            return Some(Guarded::Everywhere);
        }
        some = true;
        ports.extend(one.ports.iter().filter_map(|port| Port::new(port.number)));
    }
    some.then_some(Guarded::Ports(ports))
}

/// The guard a patch adds.
fn patched_in(patch: &ConfigPatch) -> Option<String> {
    let patch = patch.patch.as_ref()?;
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
