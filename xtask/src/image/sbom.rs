//! What is inside a program: the crates it is linked from, as a CycloneDX document. It says
//! nothing of when or where it was made, so that the same source gives the same document.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// The bill of materials of a package, from what `cargo metadata` printed.
pub(super) fn bill(metadata: &Value, package: &str, image: &str) -> Result<Value> {
    let packages: BTreeMap<&str, &Value> = list(metadata, "/packages")
        .filter_map(|one| Some((text(one, "id")?, one)))
        .collect();
    let nodes: BTreeMap<&str, &Value> = list(metadata, "/resolve/nodes")
        .filter_map(|one| Some((text(one, "id")?, one)))
        .collect();
    let root = packages
        .iter()
        .find(|(_, one)| text(one, "name") == Some(package))
        .map(|(id, _)| *id)
        .with_context(|| format!("cargo metadata has no package {package}"))?;
    let mut waiting = vec![root];
    let mut seen = BTreeSet::new();
    while let Some(id) = waiting.pop() {
        if seen.insert(id)
            && let Some(node) = nodes.get(id)
        {
            waiting.extend(linked(node));
        }
    }
    let mut components: Vec<Value> = seen
        .iter()
        .filter_map(|id| component(packages.get(id)?))
        .collect();
    components.sort_by_key(|one| one.get("purl").map(ToString::to_string));
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": image}},
        "components": components,
    }))
}

/// The packages a node is linked with: neither those of its tests nor those of its build.
fn linked(node: &Value) -> impl Iterator<Item = &str> {
    list(node, "/deps")
        .filter(|one| list(one, "/dep_kinds").any(|kind| kind.get("kind") == Some(&Value::Null)))
        .filter_map(|one| text(one, "pkg"))
}

fn component(package: &Value) -> Option<Value> {
    let (name, version) = (text(package, "name")?, text(package, "version")?);
    let licenses = text(package, "license").map(|license| {
        let expression = license.replace('/', " OR ");
        json!([{"expression": expression}])
    });
    Some(json!({
        "type": "library",
        "name": name,
        "version": version,
        "purl": format!("pkg:cargo/{name}@{version}"),
        "licenses": licenses.unwrap_or_else(|| json!([])),
    }))
}

fn list<'v>(value: &'v Value, pointer: &str) -> impl Iterator<Item = &'v Value> {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.into_iter().flatten()
}

fn text<'v>(value: &'v Value, key: &str) -> Option<&'v str> {
    value.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_listed_and_what_only_builds_or_tests_is_not() {
        let package = |name: &str| json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0"});
        let needs = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        let metadata = json!({
            "packages": [package("proxy"), package("hyper"), package("cc"), package("proptest"),
                         package("bytes"), package("other")],
            "resolve": {"nodes": [
                {"id": "proxy", "deps": [
                    needs("hyper", Value::Null),
                    needs("cc", json!("build")),
                    needs("proptest", json!("dev")),
                ]},
                {"id": "hyper", "deps": [needs("bytes", Value::Null)]},
                {"id": "bytes", "deps": []},
            ]},
        });
        let bill = bill(&metadata, "proxy", "mesh-proxy").unwrap();
        let names: Vec<&str> = list(&bill, "/components")
            .filter_map(|one| text(one, "name"))
            .collect();
        assert_eq!(names, ["bytes", "hyper", "proxy"]);
        assert_eq!(
            bill["components"][0]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        assert!(super::bill(&metadata, "absent", "i").is_err());
    }
}
