//! Checks the settings of a mesh before anybody has to live with them.

use std::io::{self, Read as _, Write as _};
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::args::CheckMeshConfig;
use crate::crd::Severity;
use crate::source::mesh_config::{Found, KEY, resolve};

/// Carries out `control-plane check-mesh-config`.
pub fn check_mesh_config(settings: &CheckMeshConfig) -> anyhow::Result<()> {
    let text = read(&settings.file)?;
    let notes = check(&text)?;
    let mut out = io::stdout().lock();
    for note in notes {
        writeln!(out, "{note}")?;
    }
    Ok(())
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        let read = io::stdin().lock().read_to_string(&mut text);
        read.context("standard input cannot be read")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| file.display().to_string())
}

/// Everything that is wrong as one error, else what is worth knowing.
fn check(text: &str) -> anyhow::Result<Vec<String>> {
    // A document that is no YAML is told as settings that are none.
    let document: Value = serde_saphyr::from_str(text).unwrap_or_default();
    let is_map = document.get("kind").and_then(Value::as_str) == Some("ConfigMap");
    let within = document.get("data").and_then(|data| data.get(KEY));
    let text = if is_map {
        within.and_then(Value::as_str)
    } else {
        Some(text)
    };
    // Here is no mesh that could keep anything: what is said holds where it starts with them.
    let resolved = resolve(Found::There(text), None);
    let (errors, others): (Vec<_>, Vec<_>) = resolved
        .problems
        .iter()
        .partition(|problem| problem.severity == Severity::Error);
    if !errors.is_empty() {
        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
        bail!(
            "the settings are wrong; in a mesh that started with them:\n  {}",
            errors.join("\n  ")
        );
    }
    let others = others.iter().map(ToString::to_string);
    let not_acted_on = resolved.reading.not_acted_on.iter();
    Ok(others
        .chain(not_acted_on.map(|key| format!("{KEY}.{key} is accepted, but not acted on")))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_errors_and_the_rest_is_worth_knowing() {
        assert_eq!(
            check("accessLogFile: /dev/stdout").unwrap(),
            Vec::<String>::new()
        );
        assert_eq!(
            check("enableTracing: true").unwrap(),
            ["mesh.enableTracing is accepted, but not acted on"]
        );
        for (text, told) in [
            (
                "outboundTrafficPolicy: {mode: REGISTRY_ONLLY}",
                "did you mean REGISTRY_ONLY?",
            ),
            (
                "outboundTraficPolicy: {}",
                "did you mean outboundTrafficPolicy?",
            ),
            ("[", "is not YAML"),
            (
                "kind: ConfigMap\ndata: {mesh: 'rootNamespace: 7'}",
                "mesh.rootNamespace",
            ),
            ("kind: ConfigMap\ndata: {}", "has no key"),
        ] {
            let error = check(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
            // There is no mesh here that has been running.
            assert!(!error.contains("keeps its last"), "{text}: {error}");
        }
    }
}
