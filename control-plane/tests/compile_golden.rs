//! Whole compilations: `testdata/compile/*.yaml` against the `.json` beside it.
//!
//! Comment lines `# proxy: ROLE MODE NAMESPACE/NAME` in a file say which proxies are compiled.
//! `UPDATE_GOLDEN=1` rewrites the expected results.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first thing that is not as it should be"
)]

use std::path::{Path, PathBuf};

use control_plane::compile::{CaptureMode, ProxyRole, ProxyScope, compile};
use control_plane::model::{Change, MeshSettings, World};
use mesh_api::convert;
use mesh_api::snapshot::{Entry, Snapshot};
use mesh_resources::decode;
use serde_json::{Map, Value, json};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/compile");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    files
}

fn world(text: &str, path: &Path) -> World {
    // Some files are meshes on one machine, where endpoints are at loopback.
    let mut world = World::new(MeshSettings {
        one_machine: true,
        ..MeshSettings::default()
    });
    let mut changes = Vec::new();
    for document in text.split("\n---\n") {
        if document
            .lines()
            .all(|line| line.starts_with('#') || line.trim().is_empty())
        {
            continue;
        }
        let value: Value = serde_saphyr::from_str(document)
            .unwrap_or_else(|error| panic!("{}: {error}\n{document}", path.display()));
        let decoded = decode(value);
        match decoded.object() {
            Some(object) => changes.push(Change::Applied(object.clone())),
            None => panic!("{}: {:?}\n{document}", path.display(), decoded.problems),
        }
    }
    world.apply(changes);
    world
}

fn scopes(text: &str, world: &World) -> Vec<(String, ProxyScope)> {
    text.lines()
        .filter_map(|line| line.strip_prefix("# proxy: "))
        .map(|line| {
            let [role, mode, id] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
            let role = match role {
                "sidecar" => ProxyRole::Sidecar,
                "gateway" => ProxyRole::Gateway,
                other => panic!("role {other}"),
            };
            let mode = match mode {
                "explicit" => CaptureMode::Explicit,
                "captured" => CaptureMode::OriginalDestination,
                other => panic!("mode {other}"),
            };
            let scope = ProxyScope::new(world, &id.parse().unwrap(), role, mode)
                .unwrap_or_else(|| panic!("no workload {id}"));
            (line.to_owned(), scope)
        })
        .collect()
}

fn compiled(world: &World, scope: &ProxyScope, path: &Path) -> Value {
    let compiled = compile(world, scope);
    let mut entries: Vec<Entry> = Vec::new();
    let mut resources = Map::new();
    for (name, encoded) in compiled.iter() {
        let entry = convert::decode(&encoded.to_wire())
            .unwrap_or_else(|rejection| panic!("{}: {rejection:?}", path.display()));
        resources.insert(name.to_string(), body(&entry));
        entries.push(entry);
    }
    // What a proxy would take is what it gets: no reference dangles, nothing clashes.
    let whole = Snapshot::of(entries.iter().map(|entry| entry.resource.clone()));
    assert!(whole.is_ok(), "{}: {:?}", path.display(), whole.err());
    let diagnostics: Vec<String> = compiled.diagnostics().map(ToString::to_string).collect();
    json!({ "resources": resources, "diagnostics": diagnostics })
}

/// The resource as JSON, without its kind around it.
fn body(entry: &Entry) -> Value {
    match serde_json::to_value(&entry.resource).unwrap() {
        Value::Object(kinds) => kinds.into_iter().next().unwrap().1,
        other @ (Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)) => other,
    }
}

#[test]
fn compilations_are_as_recorded() {
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(!cases.is_empty());
    for path in cases {
        let text = std::fs::read_to_string(&path).unwrap();
        let world = world(&text, &path);
        let mut result = Map::new();
        for (proxy, scope) in scopes(&text, &world) {
            result.insert(proxy, compiled(&world, &scope, &path));
        }
        assert!(!result.is_empty(), "{} compiles no proxy", path.display());
        let mut text = serde_json::to_string_pretty(&result).unwrap();
        text.push('\n');
        let golden = path.with_extension("json");
        if update {
            std::fs::write(&golden, text).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != text {
            wrong.push(golden);
        }
    }
    assert!(
        wrong.is_empty(),
        "results differ from {wrong:?}; look at them with UPDATE_GOLDEN=1 and git diff"
    );
}
