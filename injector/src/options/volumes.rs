//! Volumes a user gives to the proxy: annotations with JSON.

use serde_json::{Map, Value};

use super::Reading;
use crate::draft;
use crate::refusal::Refusal;

const VOLUMES: &str = "sidecar.istio.io/userVolume";
const MOUNTS: &str = "sidecar.istio.io/userVolumeMount";

/// Volumes and mounts of them.
pub(super) fn read(reading: &Reading<'_>) -> Result<(Vec<Value>, Vec<Value>), Refusal> {
    let volumes = named(reading, VOLUMES, r#"[{"name":"v","emptyDir":{}}]"#)?;
    let mounts = named(reading, MOUNTS, r#"[{"name":"v","mountPath":"/v"}]"#)?;
    if let Some(mount) = mounts
        .iter()
        .find(|mount| draft::text(mount, "mountPath").is_empty())
    {
        return Err(Refusal::new(format!(
            "annotation {MOUNTS}: the mount of volume {} needs a mountPath",
            draft::name(mount)
        )));
    }
    Ok((volumes, mounts))
}

/// A list of objects with names, or an object whose keys are the names.
fn named(reading: &Reading<'_>, name: &str, example: &str) -> Result<Vec<Value>, Refusal> {
    let Some(text) = reading.annotation(name) else {
        return Ok(Vec::new());
    };
    let refuse = |why: &str| {
        Refusal::annotation(name, text, &format!("{why}; write JSON such as {example}"))
    };
    let elements = match serde_json::from_str(text) {
        Ok(Value::Array(elements)) => elements,
        Ok(Value::Object(by_name)) => by_name.into_iter().map(with_name).collect(),
        Ok(_) => return Err(refuse("it is no list")),
        Err(error) => return Err(refuse(&error.to_string())),
    };
    if elements
        .iter()
        .any(|element| draft::name(element).is_empty())
    {
        return Err(refuse("an element has no name"));
    }
    Ok(elements)
}

fn with_name((name, value): (String, Value)) -> Value {
    let mut object = match value {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    object.insert("name".to_owned(), Value::String(name));
    Value::Object(object)
}
