//! What an object that is refused says it is for, as far as that can be read: what restricts and
//! cannot be read restricts what it names, and not more.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::Kind;

/// Which workloads a refused object says it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selects {
    /// All that its namespace reaches; also where what it says cannot be read.
    #[default]
    All,
    /// Those with all of these labels.
    Labelled(BTreeMap<String, String>),
    /// It is attached to other objects by `targetRefs`.
    Attached,
}

impl Selects {
    /// Reads only that from the specification of an object.
    pub(super) fn of(kind: Kind, spec: &Value) -> Self {
        if !kind.is_guard() {
            return Self::All;
        }
        let Some(spec) = spec.as_object() else {
            return Self::All;
        };
        let attached = is_attached(spec);
        match (written(spec, "selector"), attached) {
            (None, Some(true)) => Self::Attached,
            (Some(selector), Some(false)) => labels(selector).map_or(Self::All, Self::Labelled),
            (None | Some(_), _) => Self::All,
        }
    }
}

/// A field that says something: nothing, null and what is empty are the same.
fn written<'v>(spec: &'v Map<String, Value>, field: &str) -> Option<&'v Value> {
    spec.get(field).filter(|value| match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    })
}

/// Whether it is attached to objects, if that can be read.
fn is_attached(spec: &Map<String, Value>) -> Option<bool> {
    let readable = |target: &Value| {
        ["kind", "name"]
            .iter()
            .all(|field| target.get(field).is_some_and(Value::is_string))
    };
    let one = written(spec, "targetRef").map(readable);
    let many = written(spec, "targetRefs").map(|list| {
        list.as_array()
            .is_some_and(|list| list.iter().all(readable))
    });
    match (one, many) {
        (None, None) => Some(false),
        (Some(true), None | Some(true)) | (None, Some(true)) => Some(true),
        (Some(false), _) | (_, Some(false)) => None,
    }
}

/// The labels of a selector with nothing else in it.
fn labels(selector: &Value) -> Option<BTreeMap<String, String>> {
    let selector = selector.as_object()?;
    let only = selector.keys().all(|field| field == "matchLabels");
    let labels = selector.get("matchLabels")?.as_object().filter(|_| only)?;
    labels
        .iter()
        .map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_taken_for_everything() {
        let of = |spec: Value| Selects::of(Kind::AuthorizationPolicy, &spec);
        let labelled = json!({"selector": {"matchLabels": {"app": "a"}}, "rules": 5});
        let wanted = BTreeMap::from([("app".to_owned(), "a".to_owned())]);
        assert_eq!(of(labelled), Selects::Labelled(wanted));
        let target = json!({"kind": "Gateway", "name": "g", "group": "x"});
        assert_eq!(of(json!({"targetRefs": [target]})), Selects::Attached);
        assert_eq!(of(json!({"targetRef": target})), Selects::Attached);
        for unreadable in [
            json!(7),
            json!({}),
            json!({"selector": null}),
            json!({"selector": {"matchLabels": {"app": 5}}}),
            json!({"selector": {"matchLables": {"app": "a"}}}),
            json!({"selector": {"matchLabels": {"app": "a"}, "matchExpressions": []}}),
            json!({"selector": {"matchLabels": {"app": "a"}}, "targetRefs": [target]}),
            json!({"targetRefs": [target, {"kind": 5}]}),
            json!({"targetRefs": "g"}),
        ] {
            assert_eq!(of(unreadable.clone()), Selects::All, "{unreadable}");
        }
    }
}
