//! The objects, their history, and who watches.

#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value gives null for what is not there, and this is for tests"
)]

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Seen, failure};

/// Where in the API something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// `/api/v1` or `/apis/GROUP/VERSION`.
    group: String,
    plural: String,
    namespace: Option<String>,
    pub(super) name: Option<String>,
}

impl Place {
    pub(super) fn parse(path: &str) -> Option<Self> {
        let mut parts = path.trim_matches('/').split('/');
        let group = match parts.next()? {
            "api" => format!("/api/{}", parts.next()?),
            "apis" => format!("/apis/{}/{}", parts.next()?, parts.next()?),
            _ => return None,
        };
        let rest: Vec<&str> = parts.collect();
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => {
                (Some((*namespace).to_owned()), rest)
            }
            rest => (None, rest),
        };
        let mut rest = rest.iter().map(|part| (*part).to_owned());
        Some(Self {
            group,
            namespace,
            plural: rest.next()?,
            name: rest.next(),
        })
    }

    /// Whether this collection contains that object.
    fn covers(&self, object: &Self) -> bool {
        self.group == object.group
            && self.plural == object.plural
            && (self.namespace.is_none() || self.namespace == object.namespace)
    }
}

#[derive(Debug)]
struct Watch {
    collection: Place,
    only: Option<String>,
    lines: mpsc::UnboundedSender<Value>,
}

impl Watch {
    fn sees(&self, place: &Place) -> bool {
        self.collection.covers(place)
            && self
                .only
                .as_ref()
                .is_none_or(|only| place.name.as_ref() == Some(only))
    }
}

#[derive(Debug, Default)]
pub(super) struct Store {
    version: u64,
    objects: BTreeMap<Place, Value>,
    events: Vec<(u64, Place, Value)>,
    watches: Vec<Watch>,
    /// Everything up to this version is forgotten.
    forgotten: u64,
}

impl Store {
    pub(super) fn object(&self, place: &Place) -> Option<Value> {
        self.objects.get(place).cloned()
    }

    pub(super) fn put(&mut self, place: &Place, mut object: Value) -> Value {
        self.version += 1;
        let known = self.objects.get(place);
        let kind = if known.is_some() { "MODIFIED" } else { "ADDED" };
        let uid = known.map_or_else(
            || json!(format!("uid-{}", self.version)),
            |known| known["metadata"]["uid"].clone(),
        );
        let metadata = &mut object["metadata"];
        metadata["resourceVersion"] = json!(self.version.to_string());
        metadata["name"] = json!(place.name);
        if let Some(namespace) = &place.namespace {
            metadata["namespace"] = json!(namespace);
        }
        if metadata["uid"].is_null() {
            metadata["uid"] = uid;
        }
        self.objects.insert(place.clone(), object.clone());
        self.tell(kind, place, &object);
        object
    }

    pub(super) fn delete(&mut self, place: &Place) -> Option<Value> {
        let mut object = self.objects.remove(place)?;
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.tell("DELETED", place, &object);
        Some(object)
    }

    fn tell(&mut self, kind: &str, place: &Place, object: &Value) {
        let line = json!({"type": kind, "object": object});
        self.watches
            .retain(|watch| !watch.sees(place) || watch.lines.send(line.clone()).is_ok());
        self.events.push((self.version, place.clone(), line));
    }

    /// Ends all watches, as a connection that breaks does.
    pub(super) fn end_watches(&mut self) {
        self.watches.clear();
    }

    /// Ends all watches because what they go on from is forgotten.
    pub(super) fn forget(&mut self) {
        self.events.clear();
        self.forgotten = self.version;
        let line = json!({"type": "ERROR", "object": failure(410, "Expired", "too old")});
        for watch in self.watches.drain(..) {
            // Whoever is gone needs not be told.
            drop(watch.lines.send(line.clone()));
        }
    }

    pub(super) fn watch(
        &mut self,
        collection: &Place,
        query: &str,
    ) -> mpsc::UnboundedReceiver<Value> {
        let (lines, receiver) = mpsc::unbounded_channel();
        let since = parameter(query, "resourceVersion")
            .and_then(|version| version.parse().ok())
            .unwrap_or(0);
        let watch = Watch {
            collection: collection.clone(),
            only: selected_name(query),
            lines,
        };
        if since < self.forgotten {
            let line = json!({"type": "ERROR", "object": failure(410, "Expired", "too old")});
            drop(watch.lines.send(line));
            return receiver;
        }
        let missed = self
            .events
            .iter()
            .filter(|(version, place, _)| *version > since && watch.sees(place));
        for (_, _, line) in missed {
            // The receiver is in our hands.
            drop(watch.lines.send(line.clone()));
        }
        self.watches.push(watch);
        receiver
    }

    pub(super) fn carry_out(&mut self, place: &Place, request: &Seen) -> (u16, Value) {
        match (&request.method, &place.name) {
            (&Method::GET, Some(_)) => self
                .object(place)
                .map_or_else(not_found, |object| (200, object)),
            (&Method::GET, None) => (200, self.list(place, &request.query)),
            (&Method::POST, None) => self.create(place, request.body.clone()),
            (&Method::PUT, Some(_)) => self.replace(place, request.body.clone()),
            (&Method::PATCH, Some(_)) => self.patch(place, request),
            (&Method::DELETE, Some(_)) => self
                .delete(place)
                .map_or_else(not_found, |object| (200, object)),
            _ => (
                405,
                failure(405, "MethodNotAllowed", "not in this API server"),
            ),
        }
    }

    fn list(&self, collection: &Place, query: &str) -> Value {
        let only = selected_name(query);
        let items: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(place, _)| collection.covers(place))
            .filter(|(place, _)| only.is_none() || place.name == only)
            .map(|(_, object)| object)
            .collect();
        // In pages, where the client asks for them.
        let number = |name| parameter(query, name).and_then(|text| text.parse::<usize>().ok());
        let from = number("continue").unwrap_or(0);
        let limit = number("limit").filter(|limit| *limit > 0);
        let until = limit.map_or(items.len(), |limit| items.len().min(from + limit));
        let mut metadata = json!({"resourceVersion": self.version.to_string()});
        if until < items.len() {
            metadata["continue"] = json!(until.to_string());
        }
        let items = items.get(from..until).unwrap_or_default();
        json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items})
    }

    fn create(&mut self, collection: &Place, object: Value) -> (u16, Value) {
        let Some(name) = object["metadata"]["name"].as_str() else {
            return (422, failure(422, "Invalid", "metadata.name is required"));
        };
        let place = Place {
            name: Some(name.to_owned()),
            ..collection.clone()
        };
        if self.objects.contains_key(&place) {
            return (409, failure(409, "AlreadyExists", "it already exists"));
        }
        (201, self.put(&place, object))
    }

    fn replace(&mut self, place: &Place, object: Value) -> (u16, Value) {
        let Some(known) = self.objects.get(place) else {
            return not_found();
        };
        let version = &object["metadata"]["resourceVersion"];
        if !version.is_null() && *version != known["metadata"]["resourceVersion"] {
            return (
                409,
                failure(409, "Conflict", "the object has been modified"),
            );
        }
        (200, self.put(place, object))
    }

    fn patch(&mut self, place: &Place, request: &Seen) -> (u16, Value) {
        // Only an apply has a forced field manager.
        let applies = request.query.contains("force=");
        let Some(known) = self.objects.get(place).cloned() else {
            return if applies {
                (201, self.put(place, request.body.clone()))
            } else {
                not_found()
            };
        };
        let version = &request.body["metadata"]["resourceVersion"];
        if !version.is_null() && *version != known["metadata"]["resourceVersion"] {
            return (
                409,
                failure(409, "Conflict", "the object has been modified"),
            );
        }
        let mut object = known.clone();
        merge(&mut object, &request.body);
        if object == known {
            return (200, known);
        }
        (200, self.put(place, object))
    }
}

fn not_found() -> (u16, Value) {
    (404, failure(404, "NotFound", "it does not exist"))
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    for (key, value) in fields {
        if value.is_null() {
            if let Some(target) = target.as_object_mut() {
                target.remove(key);
            }
        } else {
            merge(&mut target[key.as_str()], value);
        }
    }
}

fn selected_name(query: &str) -> Option<String> {
    let selector = parameter(query, "fieldSelector")?;
    let selector = selector.replace("%3D", "=");
    selector
        .strip_prefix("metadata.name=")
        .map(|name| name.trim_start_matches('=').to_owned())
}

fn parameter(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        (key == name).then(|| value.to_owned())
    })
}
