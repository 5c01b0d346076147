//! The CustomResourceDefinitions, made from the Rust types.
//!
//! The same schema serves three ends: it is what we install, what strict decoding walks, and thus
//! what a near match for a misspelled field is taken from.

mod rules;
mod yaml;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, JSONSchemaProps,
    JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube_core::CustomResourceExt;

use super::Kind;
use super::authorization_policy::AuthorizationPolicy;
use super::decode::alias;
use super::destination_rule::DestinationRule;
use super::envoy_filter::EnvoyFilter;
use super::gateway::Gateway;
use super::peer_authentication::PeerAuthentication;
use super::proxy_config::ProxyConfig;
use super::request_authentication::RequestAuthentication;
use super::service_entry::ServiceEntry;
use super::sidecar::Sidecar;
use super::telemetry::Telemetry;
use super::traffic_extension::TrafficExtension;
use super::virtual_service::VirtualService;
use super::wasm_plugin::WasmPlugin;
use super::workload_entry::WorkloadEntry;
use super::workload_group::WorkloadGroup;

static SPEC_SCHEMAS: LazyLock<BTreeMap<Kind, JSONSchemaProps>> = LazyLock::new(|| {
    Kind::ALL
        .into_iter()
        .filter_map(|kind| {
            let version = base(kind)?.spec.versions.into_iter().next()?;
            let mut root = version.schema?.open_api_v3_schema?;
            Some((kind, root.properties.as_mut()?.remove("spec")?))
        })
        .collect()
});

/// What the files begin with.
const HEADER: &str = "# Made from the types in mesh-api/resources by `cargo xtask codegen`; \
                      edit those.\n";
/// The file among [`files`] that lists the others.
pub const KUSTOMIZATION: &str = "kustomization.yaml";

/// The definition of a kind with all of its served versions, as it is installed; none for the
/// kinds of Kubernetes.
pub fn definition(kind: Kind) -> Option<CustomResourceDefinition> {
    let mut definition = base(kind)?;
    let labels = [("app.kubernetes.io/managed-by", "mesh")];
    let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
    definition.metadata.labels = Some(labels.into());
    let mut stored = definition.spec.versions.pop()?;
    let columns = stored.additional_printer_columns.get_or_insert_default();
    say_what_became_of_it(columns);
    let schema = stored.schema.as_mut();
    let root = schema.and_then(|schema| schema.open_api_v3_schema.as_mut())?;
    let properties = root.properties.get_or_insert_default();
    if let Some(spec) = properties.get_mut("spec") {
        alias::publish(kind, spec);
        rules::add(kind, spec);
    }
    if let Some(status) = properties.get_mut("status") {
        status_of(status);
    }
    definition.spec.versions = kind
        .served_versions()
        .iter()
        .map(|name| {
            let mut version = stored.clone();
            (*name).clone_into(&mut version.name);
            version.storage = *name == kind.storage_version();
            version
        })
        .collect();
    Some(definition)
}

/// What `kubectl get` shows of every kind before the age: whether it is accepted, and in force.
fn say_what_became_of_it(columns: &mut Vec<CustomResourceColumnDefinition>) {
    let column = |name: &str, meaning: &str| CustomResourceColumnDefinition {
        name: name.to_owned(),
        type_: "string".to_owned(),
        json_path: format!(".status.conditions[?(@.type==\"{name}\")].status"),
        description: Some(meaning.to_owned()),
        ..CustomResourceColumnDefinition::default()
    };
    let age = columns.iter().position(|one| one.name == "Age");
    let place = age.unwrap_or(columns.len());
    columns.splice(
        place..place,
        [
            column("Accepted", "Whether the object counts as it is written"),
            column("Programmed", "Whether the proxies it concerns act on it"),
        ],
    );
    if age.is_none() {
        columns.push(CustomResourceColumnDefinition {
            name: "Age".to_owned(),
            type_: "date".to_owned(),
            json_path: ".metadata.creationTimestamp".to_owned(),
            ..CustomResourceColumnDefinition::default()
        });
    }
}

/// One condition of a type, whoever applies it; and times that are times.
fn status_of(status: &mut JSONSchemaProps) {
    let properties = status.properties.iter_mut();
    let Some(conditions) = properties
        .flatten()
        .find_map(|(name, property)| (name == "conditions").then_some(property))
    else {
        return;
    };
    conditions.x_kubernetes_list_type = Some("map".to_owned());
    conditions.x_kubernetes_list_map_keys = Some(vec!["type".to_owned()]);
    if let Some(JSONSchemaPropsOrArray::Schema(condition)) = &mut conditions.items
        && let Some(time) = condition
            .properties
            .as_mut()
            .and_then(|fields| fields.get_mut("lastTransitionTime"))
    {
        time.format = Some("date-time".to_owned());
    }
}

/// The definition as the type says it, in the version that is stored.
fn base(kind: Kind) -> Option<CustomResourceDefinition> {
    let mut definition = match kind {
        Kind::VirtualService => VirtualService::crd(),
        Kind::DestinationRule => DestinationRule::crd(),
        Kind::Gateway => Gateway::crd(),
        Kind::ServiceEntry => ServiceEntry::crd(),
        Kind::Sidecar => Sidecar::crd(),
        Kind::WorkloadEntry => WorkloadEntry::crd(),
        Kind::WorkloadGroup => WorkloadGroup::crd(),
        Kind::ProxyConfig => ProxyConfig::crd(),
        Kind::EnvoyFilter => EnvoyFilter::crd(),
        Kind::PeerAuthentication => PeerAuthentication::crd(),
        Kind::RequestAuthentication => RequestAuthentication::crd(),
        Kind::AuthorizationPolicy => AuthorizationPolicy::crd(),
        Kind::Telemetry => Telemetry::crd(),
        Kind::WasmPlugin => WasmPlugin::crd(),
        Kind::TrafficExtension => TrafficExtension::crd(),
        Kind::Service | Kind::EndpointSlice | Kind::Pod | Kind::Namespace | Kind::Node => {
            return None;
        }
    };
    let schema = definition.spec.versions.first_mut()?.schema.as_mut()?;
    let root = schema.open_api_v3_schema.as_mut()?;
    plain(root);
    root.required = None;
    Some(definition)
}

/// The definitions of all kinds that have one.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    Kind::ALL.into_iter().filter_map(definition).collect()
}

/// The files that install the definitions: names and contents, in a fixed order.
pub fn files() -> Result<Vec<(String, String)>, serde_json::Error> {
    let mut files = Vec::new();
    for definition in definitions() {
        let name = definition.metadata.name.as_deref().unwrap_or_default();
        let (plural, group) = name.split_once('.').unwrap_or((name, ""));
        let file = format!("{group}_{plural}.yaml");
        let document = yaml::write(&serde_json::to_value(&definition)?);
        files.push((file, format!("{HEADER}{document}")));
    }
    files.sort();
    let mut list = format!(
        "{HEADER}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
    );
    for (name, _) in &files {
        // Writing to a String cannot fail.
        let _written = writeln!(list, "- {name}");
    }
    files.push((KUSTOMIZATION.to_owned(), list));
    Ok(files)
}

/// The schema of `spec` of one of the mesh's own kinds.
pub(crate) fn spec_schema(kind: Kind) -> Option<&'static JSONSchemaProps> {
    SPEC_SCHEMAS.get(&kind)
}

/// Takes out what says more than the API does: defaults would be written into users' objects,
/// `nullable` would let `field:` with nothing behind it pass, and the API server knows no
/// unsigned formats.
fn plain(schema: &mut JSONSchemaProps) {
    schema.default = None;
    schema.nullable = None;
    if schema
        .format
        .as_deref()
        .is_some_and(|format| format.starts_with("uint"))
    {
        schema.format = None;
    }
    for property in schema.properties.iter_mut().flat_map(BTreeMap::values_mut) {
        plain(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        plain(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        plain(values);
    }
}

#[cfg(test)]
mod tests;
