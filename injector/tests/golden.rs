//! Files and what injection makes of them, word for word. `UPDATE_GOLDEN=1` writes them anew.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

use std::path::{Path, PathBuf};

use injector::documents::inject_documents;
use injector::{ClusterVersion, Configuration, Home, Values};
use mesh_api::mesh_config::MeshConfig;
use serde_json::Value;

fn configuration() -> Configuration {
    let values = r#"{"global":{"tag":"test","imagePullSecrets":["registry"]}}"#;
    let (values, unknown) = Values::read(values).unwrap();
    assert_eq!(unknown, Vec::<String>::new());
    let mesh = MeshConfig {
        access_log_file: Some("/dev/stdout".to_owned()),
        ..MeshConfig::default()
    };
    Configuration::new(values, mesh, ClusterVersion::CURRENT, Home::default())
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.to_string_lossy().contains(".injected."))
        .collect();
    files.sort();
    assert!(files.len() >= 4, "{files:?}");
    files
}

fn parsed(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

#[test]
fn files_become_what_is_written_beside_them() {
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let injected = inject_documents(&configuration(), "default", &text).unwrap();
        let mut found = String::new();
        for note in &injected.notes {
            found.push_str("# ");
            found.push_str(note);
            found.push('\n');
        }
        found.push_str(&injected.text);
        let golden = path.with_extension("injected.yaml");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap();
        assert_eq!(
            found,
            expected,
            "{}: UPDATE_GOLDEN=1 accepts it",
            path.display()
        );
    }
}

#[test]
fn injecting_what_was_injected_changes_nothing() {
    for path in files() {
        let text = std::fs::read_to_string(&path).unwrap();
        let once = inject_documents(&configuration(), "default", &text).unwrap();
        let twice = inject_documents(&configuration(), "default", &once.text).unwrap();
        assert_eq!(
            parsed(&once.text),
            parsed(&twice.text),
            "{}",
            path.display()
        );
        assert_eq!(twice.workloads, 0, "{}", path.display());
    }
}
