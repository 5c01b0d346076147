//! A pod taken apart for editing, as JSON: it is never read into types and written back, because
//! that would lose fields that are younger than this program.

use serde_json::{Map, Value};

use crate::Labels;
use crate::refusal::Refusal;

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// A pod whose parts that injection edits lie open.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    /// Everything but metadata and specification.
    rest: Object,
    /// The metadata but for labels and annotations.
    pub(crate) metadata: Object,
    /// The labels.
    pub(crate) labels: Object,
    /// The annotations.
    pub(crate) annotations: Object,
    /// The specification but for the lists below.
    pub(crate) spec: Object,
    /// Its init containers.
    pub(crate) init_containers: Vec<Value>,
    /// Its containers.
    pub(crate) containers: Vec<Value>,
    /// Its volumes.
    pub(crate) volumes: Vec<Value>,
    /// Its credentials for registries.
    pub(crate) image_pull_secrets: Vec<Value>,
}

impl Draft {
    /// Takes a pod apart. An absent part and one that is null are the same to the API server.
    pub(crate) fn of(pod: &Value) -> Result<Self, Refusal> {
        let mut rest = expect_object(pod.clone(), "the pod")?;
        let mut metadata = take_object(&mut rest, "metadata")?;
        let mut spec = take_object(&mut rest, "spec")?;
        Ok(Self {
            labels: take_object(&mut metadata, "labels")?,
            annotations: take_object(&mut metadata, "annotations")?,
            init_containers: take_list(&mut spec, "initContainers")?,
            containers: take_list(&mut spec, "containers")?,
            volumes: take_list(&mut spec, "volumes")?,
            image_pull_secrets: take_list(&mut spec, "imagePullSecrets")?,
            metadata,
            spec,
            rest,
        })
    }

    /// Puts the pod together again.
    pub(crate) fn finish(self) -> Value {
        let Self {
            mut rest,
            mut metadata,
            labels,
            annotations,
            mut spec,
            init_containers,
            containers,
            volumes,
            image_pull_secrets,
        } = self;
        put_object(&mut metadata, "labels", labels);
        put_object(&mut metadata, "annotations", annotations);
        put_list(&mut spec, "initContainers", init_containers);
        put_list(&mut spec, "containers", containers);
        put_list(&mut spec, "volumes", volumes);
        put_list(&mut spec, "imagePullSecrets", image_pull_secrets);
        put_object(&mut rest, "metadata", metadata);
        put_object(&mut rest, "spec", spec);
        Value::Object(rest)
    }

    /// Adds names of hosts that the pod's containers know without asking DNS.
    pub(crate) fn name_hosts(&mut self, aliases: Vec<Value>) {
        if aliases.is_empty() {
            return;
        }
        let known = self.spec.entry("hostAliases").or_insert(Value::Null);
        if let Value::Array(known) = known {
            known.extend(aliases);
        } else {
            *known = Value::Array(aliases);
        }
    }

    /// Sets an annotation unless the user did.
    pub(crate) fn annotate_if_absent(&mut self, name: &str, value: impl Into<String>) {
        self.annotations
            .entry(name)
            .or_insert_with(|| Value::String(value.into()));
    }

    /// Sets an annotation.
    pub(crate) fn annotate(&mut self, name: &str, value: impl Into<String>) {
        self.annotations
            .insert(name.to_owned(), Value::String(value.into()));
    }

    /// Sets a label unless the user did.
    pub(crate) fn label_if_absent(&mut self, name: &str, value: impl Into<String>) {
        self.labels
            .entry(name)
            .or_insert_with(|| Value::String(value.into()));
    }
}

/// The texts of an object: labels or annotations.
pub(crate) fn texts(object: &Object) -> Labels {
    object
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The element's name; empty if it has none.
pub(crate) fn name(element: &Value) -> &str {
    text(element, "name")
}

/// The text at `key`; empty if there is none.
pub(crate) fn text<'v>(parent: &'v Value, key: &str) -> &'v str {
    parent.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The elements of the list at `key`; none if there is no list.
pub(crate) fn elements<'v>(parent: &'v Value, key: &str) -> &'v [Value] {
    parent
        .get(key)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn expect_object(value: Value, what: &str) -> Result<Object, Refusal> {
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Object::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(Refusal::new(format!("{what} must be an object")))
        }
    }
}

fn take_object(parent: &mut Object, key: &str) -> Result<Object, Refusal> {
    match parent.remove(key) {
        Some(value) => expect_object(value, key),
        None => Ok(Object::new()),
    }
}

fn take_list(parent: &mut Object, key: &str) -> Result<Vec<Value>, Refusal> {
    match parent.remove(key) {
        Some(Value::Array(elements)) => Ok(elements),
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => {
            Err(Refusal::new(format!("{key} must be a list")))
        }
    }
}

fn put_object(parent: &mut Object, key: &str, object: Object) {
    if !object.is_empty() {
        parent.insert(key.to_owned(), Value::Object(object));
    }
}

fn put_list(parent: &mut Object, key: &str, list: Vec<Value>) {
    if !list.is_empty() {
        parent.insert(key.to_owned(), Value::Array(list));
    }
}
