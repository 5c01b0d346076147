//! Reads settings key by key: what is wrong is named and left out, the rest counts.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

/// Past this a document is not taken for settings with mistakes any more.
const MAX_PROBLEMS: usize = 100;

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key, such as `defaultConfig.concurrency`; empty for the document as a whole.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.key, self.message)
        }
    }
}

impl std::error::Error for ConfigProblem {}

/// Reads a value. A key that is unknown or has a value of the wrong type is taken out and named,
/// then reading goes on.
///
/// A mistake inside a list takes out the list, since half a list can mean the opposite of it.
pub(super) fn lenient<T: DeserializeOwned + Default>(
    mut document: Value,
) -> Result<(T, Vec<ConfigProblem>), ConfigProblem> {
    without_nulls(&mut document);
    if document.is_null() {
        return Ok((T::default(), Vec::new()));
    }
    let whole = |message: String| ConfigProblem {
        key: String::new(),
        message,
    };
    if !document.is_object() {
        return Err(whole("expected keys with values".to_owned()));
    }
    let mut problems = Vec::new();
    while problems.len() <= MAX_PROBLEMS {
        match serde_path_to_error::deserialize::<_, T>(document.clone()) {
            Ok(read) => return Ok((read, problems)),
            Err(error) => {
                let message = plain(&error.inner().to_string());
                problems.push(ConfigProblem {
                    key: written(error.path()),
                    message: message.clone(),
                });
                if !take_out(&mut document, error.path()) {
                    return Err(whole(message));
                }
            }
        }
    }
    Err(whole(format!("more than {MAX_PROBLEMS} mistakes")))
}

/// Every key of a document that has a value, as `a.b.c`, with lists as values.
pub fn keys(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(document, "", &mut found);
    found
}

fn collect(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) if !entries.is_empty() || path.is_empty() => {
            for (key, value) in entries {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                collect(value, &path, found);
            }
        }
        Value::Null => {}
        Value::Object(_)
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_) => found.push(path.to_owned()),
    }
}

/// In settings nothing and null are the same.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.retain(|_, value| !value.is_null());
            entries.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A list of all keys there are helps nobody.
fn plain(message: &str) -> String {
    if message.starts_with("unknown field") {
        "unknown key; check the spelling".to_owned()
    } else {
        message.to_owned()
    }
}

fn written(path: &Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                text.push('[');
                text.push_str(&index.to_string());
                text.push(']');
            }
            Segment::Map { key } if text.is_empty() => text.push_str(key),
            Segment::Map { key } => {
                text.push('.');
                text.push_str(key);
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

/// Takes a key out, or the list its value is in; false where there is none.
fn take_out(document: &mut Value, path: &Path) -> bool {
    let mut keys: Vec<&str> = path
        .iter()
        .map_while(|segment| match segment {
            Segment::Map { key } => Some(key.as_str()),
            Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    let Some(last) = keys.pop() else {
        return false;
    };
    let mut place = document;
    for key in keys {
        match place.get_mut(key) {
            Some(next) => place = next,
            None => return false,
        }
    }
    place
        .as_object_mut()
        .is_some_and(|entries| entries.remove(last).is_some())
}
