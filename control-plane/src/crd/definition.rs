//! The CustomResourceDefinitions, made from the Rust types.
//!
//! The same schema serves three ends: it is what we install, what strict decoding walks, and thus
//! what a near match for a misspelled field is taken from.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::Kind;
use super::authorization_policy::AuthorizationPolicy;
use super::destination_rule::DestinationRule;
use super::gateway::Gateway;
use super::peer_authentication::PeerAuthentication;
use super::request_authentication::RequestAuthentication;
use super::service_entry::ServiceEntry;
use super::sidecar::Sidecar;
use super::telemetry::Telemetry;
use super::virtual_service::VirtualService;
use super::workload_entry::WorkloadEntry;

static SPEC_SCHEMAS: LazyLock<BTreeMap<Kind, JSONSchemaProps>> = LazyLock::new(|| {
    Kind::ALL
        .into_iter()
        .filter_map(|kind| {
            let version = definition(kind)?.spec.versions.into_iter().next()?;
            let mut root = version.schema?.open_api_v3_schema?;
            Some((kind, root.properties.as_mut()?.remove("spec")?))
        })
        .collect()
});

/// The definition of a kind with all of its served versions; none for the kinds of Kubernetes.
pub fn definition(kind: Kind) -> Option<CustomResourceDefinition> {
    let mut definition = match kind {
        Kind::VirtualService => VirtualService::crd(),
        Kind::DestinationRule => DestinationRule::crd(),
        Kind::Gateway => Gateway::crd(),
        Kind::ServiceEntry => ServiceEntry::crd(),
        Kind::Sidecar => Sidecar::crd(),
        Kind::WorkloadEntry => WorkloadEntry::crd(),
        Kind::PeerAuthentication => PeerAuthentication::crd(),
        Kind::RequestAuthentication => RequestAuthentication::crd(),
        Kind::AuthorizationPolicy => AuthorizationPolicy::crd(),
        Kind::Telemetry => Telemetry::crd(),
        Kind::Service | Kind::EndpointSlice | Kind::Pod | Kind::Namespace => return None,
    };
    let mut stored = definition.spec.versions.pop()?;
    if let Some(root) = stored
        .schema
        .as_mut()
        .and_then(|schema| schema.open_api_v3_schema.as_mut())
    {
        plain(root);
        root.required = None;
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

/// The definitions of all kinds that have one.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    Kind::ALL.into_iter().filter_map(definition).collect()
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
