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
            let open = schema.x_kubernetes_preserve_unknown_fields == Some(true);
            let closed = schema.additional_properties.is_some() || schema.properties.is_some();
            let object = schema.type_.as_deref() == Some("object");
            assert!(!object || open != closed, "{kind} {path} keeps what?");
            let may_be_open = path.ends_with(".patch.value") || path.ends_with("pluginConfig");
            assert!(!open || may_be_open, "{kind} {path} keeps unknown fields");
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
        (Kind::WorkloadGroup, Some("wg"), vec!["Age"]),
        (Kind::ProxyConfig, None, vec![]),
        (Kind::EnvoyFilter, None, vec![]),
        (Kind::WasmPlugin, None, vec!["Age"]),
        (Kind::TrafficExtension, None, vec!["Age"]),
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
        let mut columns = columns;
        let age = columns.iter().position(|one| *one == "Age");
        let place = age.unwrap_or(columns.len());
        columns.splice(place..place, ["Accepted", "Programmed"]);
        if age.is_none() {
            columns.push("Age");
        }
        assert_eq!(shown, columns, "{kind}");
        assert!(
            spec.names
                .categories
                .unwrap_or_default()
                .contains(&"istio-io".to_owned())
        );
    }
}

fn published(kind: Kind) -> JSONSchemaProps {
    let version = definition(kind).unwrap().spec.versions.remove(0);
    version.schema.unwrap().open_api_v3_schema.unwrap()
}

#[test]
fn aliases_pass_the_api_server() {
    let mut seen = Vec::new();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_mesh_resource()) {
        walk(&published(kind), "", &mut |path, schema| {
            let alias = schema.description.as_deref();
            if alias.is_some_and(|text| text.starts_with("Another name of")) {
                assert!(schema.type_.is_some(), "{path}");
                seen.push(path.to_owned());
            }
        });
    }
    for path in [
        ".spec.trafficPolicy.connectionPool.tcp.maxRetries",
        ".spec.subsets[].trafficPolicy.portLevelSettings[].connectionPool.http.pendingRequests",
        ".spec.ingress[].connectionPool.tcp.maxRetries",
        ".spec.http[].mirror_percent",
        ".spec.jwtRules[].jwks_uri",
    ] {
        assert!(seen.iter().any(|seen| seen == path), "{path} of {seen:#?}");
    }
    assert_eq!(seen.len(), 2 * 4 + 2 * 2 + 2);
    // Decoding moves them first, so the schema it walks does not have them.
    walk(
        spec_schema(Kind::VirtualService).unwrap(),
        "",
        &mut |path, _| {
            assert!(!path.ends_with("mirror_percent"));
        },
    );
}

#[test]
fn conditions_are_told_apart_by_their_type() {
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_mesh_resource()) {
        let root = published(kind);
        let status = &root.properties.as_ref().unwrap()["status"];
        let conditions = &status.properties.as_ref().unwrap()["conditions"];
        assert_eq!(conditions.x_kubernetes_list_type.as_deref(), Some("map"));
        let keys = conditions.x_kubernetes_list_map_keys.as_ref().unwrap();
        assert_eq!(*keys, ["type"]);
        let Some(JSONSchemaPropsOrArray::Schema(condition)) = &conditions.items else {
            panic!("{kind} has no conditions");
        };
        let required = condition.required.as_ref().unwrap();
        assert!(required.contains(&"type".to_owned()));
        let time = &condition.properties.as_ref().unwrap()["lastTransitionTime"];
        assert_eq!(time.format.as_deref(), Some("date-time"));
    }
}

/// Rules may only name fields there are, or the API server refuses the definition.
#[test]
fn rules_name_fields_there_are() {
    let mut count = 0;
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_mesh_resource()) {
        let root = published(kind);
        let spec = &root.properties.as_ref().unwrap()["spec"];
        for rule in spec.x_kubernetes_validations.iter().flatten() {
            count += 1;
            for named in rule.rule.split("self.").skip(1) {
                let path = named.split(|c: char| !c.is_ascii_alphanumeric() && c != '.');
                let mut place = spec;
                for name in path.take(1).flat_map(|path| path.split('.')) {
                    place = &place.properties.as_ref().unwrap()[name];
                }
            }
        }
    }
    assert!(count > 10);
}

#[test]
fn the_files_in_the_repository_are_these() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    let expected: BTreeMap<_, _> = files().unwrap().into_iter().collect();
    let found: BTreeMap<_, _> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask codegen`", folder.display()))
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    let mut differing: Vec<_> = expected.keys().chain(found.keys()).collect();
    differing.retain(|name| expected.get(*name) != found.get(*name));
    differing.dedup();
    assert!(
        differing.is_empty(),
        "{differing:?} in deploy/crds differ from the types they are made from; run `cargo xtask \
         codegen`"
    );
}

#[test]
fn files_say_what_the_definitions_say() {
    let files = files().unwrap();
    assert_eq!(files.len(), 15 + 1);
    let (_, list) = files.last().unwrap();
    for (name, yaml) in &files[..15] {
        assert!(list.contains(&format!("- {name}\n")), "{name}");
        assert!(yaml.starts_with("# Made from the types"));
        let read: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
        let definition = definitions()
            .into_iter()
            .find(|one| one.metadata.name.as_deref() == read["metadata"]["name"].as_str())
            .unwrap();
        assert_eq!(read, serde_json::to_value(definition).unwrap());
    }
}
