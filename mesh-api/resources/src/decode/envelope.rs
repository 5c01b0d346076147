//! What every object has around its specification: the top-level fields and the metadata.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::near::nearest;
use super::walk::describe;
use crate::Kind;
use crate::meta::{DEFAULT_NAMESPACE, ObjectKey, ObjectMeta};
use crate::problem::{FieldPath, Problem, Severity};

const TOP_LEVEL: [&str; 5] = ["apiVersion", "kind", "metadata", "spec", "status"];

/// Fields of metadata, as Kubernetes knows them.
const METADATA: [&str; 15] = [
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// An object whose surroundings have been read.
#[derive(Debug)]
pub(super) struct Envelope {
    /// Which object it is.
    pub(super) key: ObjectKey,
    /// What is known of every object.
    pub(super) meta: ObjectMeta,
    /// The specification; an empty object if there is none.
    pub(super) spec: Value,
    /// The whole document, for the kinds whose fields are not all under `spec`.
    pub(super) document: Value,
}

/// Reads only which object a document is, from a document that is otherwise refused.
pub(super) fn key(kind: Kind, document: &Map<String, Value>) -> Option<ObjectKey> {
    let metadata = document.get("metadata")?;
    let name = metadata
        .get("name")?
        .as_str()
        .filter(|name| !name.is_empty())?;
    let namespace = match metadata.get("namespace") {
        _ if !kind.is_namespaced() => "",
        Some(Value::String(namespace)) if !namespace.is_empty() => namespace,
        _ => DEFAULT_NAMESPACE,
    };
    Some(ObjectKey::new(kind, namespace, name))
}

/// Reads the surroundings; none if even the name cannot be read.
pub(super) fn open(
    kind: Kind,
    mut document: Map<String, Value>,
    problems: &mut Vec<Problem>,
) -> Option<Envelope> {
    if kind.is_mesh_resource() {
        for field in document
            .keys()
            .filter(|field| !TOP_LEVEL.contains(&field.as_str()))
        {
            problems.push(unknown_field(field, field, TOP_LEVEL));
        }
    }
    let key = key(kind, &document);
    let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut) else {
        problems.push(
            Problem::new(Severity::Error, "is missing or not an object")
                .at("metadata")
                .hint("write metadata: with a name below it"),
        );
        return None;
    };
    let meta = read_metadata(kind, metadata, problems);
    if key.is_none() {
        problems.push(
            Problem::new(Severity::Error, "is missing or not text")
                .at("metadata.name")
                .hint("every object needs a name"),
        );
    }
    let key = key?;
    check_name(&key, problems);
    let spec = match document.get("spec") {
        None => Value::Object(Map::new()),
        Some(spec) if kind.is_mesh_resource() => spec.clone(),
        Some(_) => Value::Null,
    };
    Some(Envelope {
        key,
        meta,
        spec,
        document: Value::Object(document),
    })
}

fn read_metadata(
    kind: Kind,
    metadata: &mut Map<String, Value>,
    problems: &mut Vec<Problem>,
) -> ObjectMeta {
    // Tools write `creationTimestamp: null` and the like; here nothing and null are the same.
    metadata.retain(|_, value| !value.is_null());
    for field in metadata
        .keys()
        .filter(|field| !METADATA.contains(&field.as_str()))
    {
        problems.push(unknown_field(field, &format!("metadata.{field}"), METADATA));
    }
    if kind.is_namespaced()
        && metadata
            .get("namespace")
            .is_some_and(|value| !value.is_string())
    {
        let found = metadata.get("namespace").map(describe).unwrap_or_default();
        problems.push(
            Problem::new(Severity::Error, format!("expected text, found {found}"))
                .at("metadata.namespace"),
        );
    }
    ObjectMeta {
        labels: text_map(metadata, "labels", problems),
        annotations: text_map(metadata, "annotations", problems),
        creation_timestamp: creation(metadata, problems),
        generation: metadata.get("generation").and_then(Value::as_i64),
        stands_in: false,
    }
}

fn creation(metadata: &Map<String, Value>, problems: &mut Vec<Problem>) -> Option<jiff::Timestamp> {
    let value = metadata.get("creationTimestamp")?;
    let read = value.as_str().and_then(|text| text.parse().ok());
    if read.is_none() {
        problems.push(
            Problem::new(
                Severity::Error,
                format!("expected a time, found {}", describe(value)),
            )
            .at("metadata.creationTimestamp")
            .hint("write it as 2006-01-02T15:04:05Z, or leave it out"),
        );
    }
    read
}

fn text_map(
    metadata: &Map<String, Value>,
    field: &str,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, String> {
    let mut path = FieldPath::default();
    path.push_field("metadata");
    path.push_field(field);
    let Some(value) = metadata.get(field) else {
        return BTreeMap::new();
    };
    let Some(entries) = value.as_object() else {
        problems.push(
            Problem::new(
                Severity::Error,
                format!("expected an object, found {}", describe(value)),
            )
            .at(path.as_str()),
        );
        return BTreeMap::new();
    };
    let mut texts = BTreeMap::new();
    for (name, value) in entries {
        if let Some(text) = value.as_str() {
            texts.insert(name.clone(), text.to_owned());
            continue;
        }
        path.push_field(name);
        problems.push(
            Problem::new(
                Severity::Error,
                format!("expected text, found {}", describe(value)),
            )
            .at(path.as_str())
            .hint("put the value in quotes"),
        );
        path.pop();
    }
    texts
}

fn check_name(key: &ObjectKey, problems: &mut Vec<Problem>) {
    for (field, text) in [
        ("metadata.name", &key.name),
        ("metadata.namespace", &key.namespace),
    ] {
        let legal = text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
        });
        let ends = |byte: Option<u8>| byte.is_none_or(|byte| byte.is_ascii_alphanumeric());
        if !legal || text.len() > 253 || !ends(text.bytes().next()) || !ends(text.bytes().last()) {
            problems.push(
                Problem::new(Severity::Error, format!("{text:?} is not a legal name"))
                    .at(field)
                    .hint("use lower-case letters, digits, '-' and '.', at most 253 of them"),
            );
        }
    }
}

/// An unknown field, with the near match there may be.
pub(super) fn unknown_field<'a>(
    written: &str,
    path: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Problem {
    let problem = Problem::new(Severity::Error, "unknown field").at(path);
    match nearest(written, candidates) {
        Some(near) => problem.hint(format!("did you mean {near:?}?")),
        None => problem,
    }
}
