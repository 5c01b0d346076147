//! What we read out of Cargo's JSON, on small inputs.

use serde_json::json;

use super::*;

fn package(name: &str, kinds: &[&str]) -> Value {
    let targets: Vec<Value> = kinds.iter().map(|kind| json!({ "kind": [kind] })).collect();
    json!({ "id": name, "name": name, "targets": targets })
}

fn edge(to: &str, kind: Option<&str>) -> Value {
    json!({ "pkg": to, "dep_kinds": [{ "kind": kind, "target": null }] })
}

#[test]
fn counts_what_the_roots_need_and_nothing_else() {
    let metadata = Metadata(json!({
        "packages": [
            package("app", &["lib", "bin", "bin", "test"]),
            package("dependency", &["lib", "custom-build", "bin"]),
            package("tests-only", &["lib"]),
            package("unrelated", &["lib"]),
        ],
        "resolve": { "nodes": [
            { "id": "app", "deps": [edge("dependency", None), edge("tests-only", Some("dev"))] },
            { "id": "dependency", "deps": [edge("app", None)] },
        ] },
    }));
    // app: a library and one of its programs; dependency: a library and a build script, run.
    assert_eq!(metadata.expected_reports(&["app"], &["first"]), 5);
}

#[test]
fn an_artifact_counts_and_a_warning_does_not() {
    let artifact = json!({ "reason": "compiler-artifact" }).to_string();
    assert!(matches!(read_message(&artifact), Some(Event::Built)));
    let warning = json!({ "reason": "compiler-message",
        "message": { "level": "warning", "rendered": "w" } });
    assert!(read_message(&warning.to_string()).is_none());
    assert!(read_message("not json").is_none());
}

#[test]
fn an_error_keeps_its_rendered_text() {
    let error = json!({ "reason": "compiler-message",
        "message": { "level": "error", "rendered": "error: no such thing" } });
    match read_message(&error.to_string()) {
        Some(Event::Error(rendered)) => assert_eq!(rendered, "error: no such thing"),
        _ => panic!("an error was not recognised"),
    }
}

#[test]
fn the_total_grows_with_what_was_not_expected() {
    let mut progress = Progress::new(1, Instant::now());
    progress.built();
    progress.built();
    assert_eq!((progress.done, progress.total), (2, 2));
}
