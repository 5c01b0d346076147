//! Whole files: refusals that name their object, and text that comes back as it was.

use super::*;
use crate::{ClusterVersion, Home, Values};

fn configuration() -> Configuration {
    let mesh = mesh_api::mesh_config::MeshConfig::default();
    Configuration::new(
        Values::default(),
        mesh,
        ClusterVersion::CURRENT,
        Home::default(),
    )
}

#[test]
fn a_refusal_names_the_object_and_broken_yaml_its_place() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  annotations:\n    \
                sidecar.istio.io/proxyCPU: lots\nspec:\n  containers: [{name: a}]\n";
    let error = inject_documents(&configuration(), "default", text)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("Pod p: annotation sidecar.istio.io/proxyCPU"),
        "{error}"
    );
    let error = inject_documents(&configuration(), "default", "a: [")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("not YAML") && error.contains("line"),
        "{error}"
    );
}

#[test]
fn objects_that_are_no_workloads_come_back_the_same() {
    let text = "kind: ConfigMap\ndata:\n  a: \"true\"\n  b: \"0123\"\n  c: \"1e3\"\n  d: \"null\"\n  \
                e: |\n    two\n    lines\n  f: \"- x\"\n  g: \"~\"\n  h: \"no\"\n  i: \" padded \"\n  \
                j: \"\"\n  k: \"a: b # c\"\n  l: \"0x1F\"\n  m: \"2020-01-01\"\n  n: \"line\\n\\n\"\n  \
                o: \"tab\\tquote\\\"\"\n";
    let injected = inject_documents(&configuration(), "default", text).unwrap();
    let before: Value = serde_saphyr::from_str(text).unwrap();
    let after: Value = serde_saphyr::from_str(&injected.text).unwrap();
    assert_eq!(before, after, "{}", injected.text);
    // YAML 1.1 readers take more words for something else than text.
    for word in ["a: \"true\"", "h: \"no\"", "k: \"a: b # c\""] {
        let quoted =
            injected.text.contains(word) || injected.text.contains(&word.replace('"', "'"));
        assert!(quoted, "{word}: {}", injected.text);
    }
    assert_eq!((injected.workloads, injected.notes), (0, Vec::new()));
}

#[test]
fn the_workload_names_the_canonical_service() {
    let text = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: import}\nspec:\n  template:\n    \
                spec: {containers: [{name: a, image: b}]}\n";
    let injected = inject_documents(&configuration(), "default", text).unwrap();
    assert!(
        injected.text.contains("canonical-name: import"),
        "{}",
        injected.text
    );
    assert!(!injected.text.contains("sleep:"), "{}", injected.text);
    let other = Configuration {
        settings: crate::Settings {
            revision: "canary".to_owned(),
            ..crate::Settings::default()
        },
        ..configuration()
    };
    assert_eq!(
        inject_documents(&other, "default", text).unwrap().workloads,
        1
    );
}
