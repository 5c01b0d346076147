//! Reads a value into its type and names the field where that fails.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::{Path, Segment};

use crate::problem::{FieldPath, Problem, Severity};

/// Past this a document says enough about itself.
const MAX_ATTEMPTS: usize = 50;

/// Reads a value. A field that fails is reported and taken out, then reading goes on, so that all
/// such fields are found.
pub(super) fn read<T: DeserializeOwned>(
    mut value: Value,
    root: &str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let mut failed = false;
    for _ in 0..MAX_ATTEMPTS {
        match serde_path_to_error::deserialize::<_, T>(value.clone()) {
            Ok(_) if failed => return None,
            Ok(read) => return Some(read),
            Err(error) => {
                failed = true;
                let field = field_path(root, error.path());
                let problem = Problem::new(Severity::Error, error.inner().to_string());
                problems.push(if field.is_empty() {
                    problem
                } else {
                    problem.at(field)
                });
                if !take_out(&mut value, error.path()) {
                    return None;
                }
            }
        }
    }
    None
}

/// Reports fields of the document that its type does not have: what was read is written out again
/// and compared.
pub(super) fn unknown_fields<T: Serialize>(
    document: &Value,
    read: &T,
    problems: &mut Vec<Problem>,
) {
    if let Ok(known) = serde_json::to_value(read) {
        compare(document, &known, &mut FieldPath::default(), problems);
    }
}

fn compare(written: &Value, known: &Value, path: &mut FieldPath, problems: &mut Vec<Problem>) {
    match (written, known) {
        (Value::Object(written), Value::Object(known)) => {
            for (name, value) in written.iter().filter(|(_, value)| !value.is_null()) {
                path.push_field(name);
                match known.get(name) {
                    Some(known) => compare(value, known, path, problems),
                    None => problems.push(
                        Problem::new(Severity::Warning, "unknown field; it has no effect")
                            .at(path.as_str())
                            .hint("check the spelling"),
                    ),
                }
                path.pop();
            }
        }
        (Value::Array(written), Value::Array(known)) => {
            for (index, (written, known)) in written.iter().zip(known).enumerate() {
                path.push_index(index);
                compare(written, known, path, problems);
                path.pop();
            }
        }
        _ => {}
    }
}

fn field_path(root: &str, path: &Path) -> String {
    let mut fields = FieldPath::default();
    if !root.is_empty() {
        fields.push_field(root);
    }
    for segment in path {
        match segment {
            Segment::Seq { index } => fields.push_index(*index),
            Segment::Map { key } => fields.push_field(key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    fields.as_str().to_owned()
}

/// Takes the field at the path out of its object; false where that is not possible.
fn take_out(value: &mut Value, path: &Path) -> bool {
    let mut segments: Vec<&Segment> = path.iter().collect();
    let Some(Segment::Map { key: last }) = segments.pop() else {
        return false;
    };
    let mut place = value;
    for segment in segments {
        let next = match segment {
            Segment::Seq { index } => place.get_mut(*index),
            Segment::Map { key } => place.get_mut(key.as_str()),
            Segment::Enum { .. } | Segment::Unknown => None,
        };
        match next {
            Some(next) => place = next,
            None => return false,
        }
    }
    place
        .as_object_mut()
        .is_some_and(|object| object.remove(last).is_some())
}
