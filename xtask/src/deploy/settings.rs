//! The settings of the mesh are checked before anything is built or applied, by the program that
//! will read them.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::kubectl::{name_of, text_at};
use super::manifests::kind_of;
use crate::cargo;

/// The part of `--set` keys that are settings of the mesh.
const PREFIX: &str = "mesh.";

/// Checks the settings in ConfigMap `istio`, if any was set.
pub(crate) fn check(objects: &[Value], set: &[String]) -> Result<()> {
    match wanted(objects, set) {
        Some(text) => ask(text),
        None => Ok(()),
    }
}

/// The settings, if any was set; the manifests' own are checked by the tests.
fn wanted<'o>(objects: &'o [Value], set: &[String]) -> Option<&'o str> {
    if !set.iter().any(|setting| setting.starts_with(PREFIX)) {
        return None;
    }
    let map = objects
        .iter()
        .find(|one| kind_of(one) == "ConfigMap" && name_of(one) == "istio");
    map.and_then(|map| text_at(map, "/data/mesh"))
}

fn ask(text: &str) -> Result<()> {
    let mut child = cargo::command()
        .args(["run", "--quiet", "--package", "control-plane", "--"])
        .args(["check-mesh-config", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::inherit())
        .stderr(Stdio::piped())
        .spawn()
        .context("cargo could not be started")?;
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever does not read it to its end says why.
        drop(stdin.write_all(text.as_bytes()));
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::deploy::values;

    fn manifests() -> Vec<Value> {
        vec![json!({
            "kind": "ConfigMap", "metadata": {"name": "istio"},
            "data": {"mesh": "outboundTrafficPolicy: {mode: ALLOW_ANY}"}
        })]
    }

    #[test]
    fn what_is_set_is_what_is_checked() {
        let mut objects = manifests();
        let set = "mesh.outboundTrafficPolicy.mode=REGISTRY_ONLLY".to_owned();
        let (key, value) = values::parse(&set).unwrap();
        values::set(&mut objects, &key, &value).unwrap();
        let text = wanted(&objects, &[set]).expect("settings to check");
        assert!(text.contains("REGISTRY_ONLLY"), "{text}");
        assert_eq!(wanted(&objects, &["istiod.replicas=2".to_owned()]), None);
    }
}
