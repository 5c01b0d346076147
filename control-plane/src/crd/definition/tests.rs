//! The definitions are structural, complete and carry what `kubectl` shows.

use super::*;

/// Every place of a schema, with its path.
fn walk(schema: &JSONSchemaProps, path: &str, visit: &mut impl FnMut(&str, &JSONSchemaProps)) {
    visit(path, schema);
    for (name, property) in schema.properties.iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        walk(items, &format!("{path}[]"), visit);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        walk(values, &format!("{path}.*"), visit);
    }
}

#[test]
fn every_place_has_one_type_and_no_default() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_mesh_resource()) {
        let mut places = 0;
        walk(spec_schema(kind).unwrap(), "spec", &mut |path, schema| {
            places += 1;
            assert!(schema.type_.is_some(), "{kind} {path} has no type");
            assert!(schema.any_of.is_none() && schema.one_of.is_none() && schema.all_of.is_none());
            assert!(
                schema.default.is_none() && schema.nullable.is_none(),
                "{kind} {path}"
            );
            assert!(schema.additional_properties.is_none() || schema.properties.is_none());
        });
        assert!(places > 5, "{kind} has fields");
    }
}

#[test]
fn all_versions_are_served_and_one_is_stored() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_mesh_resource()) {
        let definition = definition(kind).unwrap();
        let names: Vec<_> = definition
            .spec
            .versions
            .iter()
            .map(|v| v.name.as_str())
            .collect();
        assert_eq!(names, kind.served_versions());
        let stored: Vec<_> = definition
            .spec
            .versions
            .iter()
            .filter(|v| v.storage)
            .map(|v| v.name.as_str())
            .collect();
        assert_eq!(stored, [kind.storage_version()]);
        assert_eq!(definition.spec.group, kind.group());
        assert_eq!(definition.spec.names.kind, kind.as_str());
        assert!(
            definition.spec.versions.iter().all(|v| {
                v.served && v.subresources.as_ref().is_some_and(|s| s.status.is_some())
            })
        );
    }
}

#[test]
fn short_names_and_columns_are_those_people_know() {
    for (kind, short, columns) in [
        (
            Kind::VirtualService,
            Some("vs"),
            vec!["Gateways", "Hosts", "Age"],
        ),
        (Kind::DestinationRule, Some("dr"), vec!["Host", "Age"]),
        (Kind::Gateway, Some("gw"), vec![]),
        (
            Kind::ServiceEntry,
            Some("se"),
            vec!["Hosts", "Location", "Resolution", "Age"],
        ),
        (Kind::Sidecar, None, vec![]),
        (Kind::WorkloadEntry, Some("we"), vec!["Age", "Address"]),
        (Kind::PeerAuthentication, Some("pa"), vec!["Mode", "Age"]),
        (Kind::RequestAuthentication, Some("ra"), vec![]),
        (Kind::AuthorizationPolicy, Some("ap"), vec!["Action", "Age"]),
        (Kind::Telemetry, Some("telemetry"), vec!["Age"]),
    ] {
        let spec = definition(kind).unwrap().spec;
        assert_eq!(
            spec.names
                .short_names
                .unwrap_or_default()
                .first()
                .map(String::as_str),
            short
        );
        let shown: Vec<_> = spec.versions[0]
            .additional_printer_columns
            .iter()
            .flatten()
            .map(|column| column.name.clone())
            .collect();
        assert_eq!(shown, columns, "{kind}");
        assert!(
            spec.names
                .categories
                .unwrap_or_default()
                .contains(&"istio-io".to_owned())
        );
    }
}
