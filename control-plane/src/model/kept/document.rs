//! What is kept, as a document, and back. Whatever cannot be read is named and left out by
//! itself: the rest counts.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::hold::bare;
use super::{Former, Kept};
use crate::crd::object::Resource;
use crate::crd::{Decoded, Kind, Object, decode};
use crate::meta::{ObjectKey, ObjectMeta};

/// The form of the document.
const FORMAT: u64 = 1;
/// The largest document, in bytes: an object of Kubernetes holds a little more.
pub const MAX_BYTES: usize = 900 * 1024;

/// What of a document is not kept, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotKept {
    /// The piece: an object, or a part of the document.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

impl std::fmt::Display for NotKept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl Kept {
    /// The document, in at most [`MAX_BYTES`]. What does not fit is left out and named: settings
    /// come first, then former objects that keep somebody out, definitions of subsets, routes,
    /// and other former objects.
    pub fn to_text(&self) -> (String, Vec<NotKept>) {
        let (document, left_out) = self.to_document();
        (document.to_string(), left_out)
    }

    /// As [`Kept::to_text`], not yet written out.
    pub fn to_document(&self) -> (Value, Vec<NotKept>) {
        let mut room = MAX_BYTES.saturating_sub(256);
        let mut left_out = Vec::new();
        let mut settings = Map::new();
        for (key, value) in self.settings.iter().flatten() {
            let fits = take(&mut room, key.len() + value.to_string().len() + 8);
            if fits {
                settings.insert(key.clone(), value.clone());
            } else {
                left_out.push(NotKept {
                    what: format!("setting {key}"),
                    why: too_much(),
                });
            }
        }
        // Without that of a guard less is open, or in a broken file everything.
        let mut formers = self.fitting_formers(true, &mut room, &mut left_out);
        // Rules come before routes: a route without the subsets it uses is not worth keeping.
        let rules = documents(self.rules.values(), &mut room, &mut left_out);
        let routes = documents(self.routes.values(), &mut room, &mut left_out);
        formers.extend(self.fitting_formers(false, &mut room, &mut left_out));
        // As they came: whoever reads them has the same then.
        formers.sort_by_key(|(index, _)| *index);
        let formers: Vec<Value> = formers.into_iter().map(|(_, former)| former).collect();
        let settings = self.settings.as_ref().map(|_| settings);
        let document = json!({
            "format": FORMAT, "settings": settings, "rules": rules, "routes": routes,
            "formers": formers,
        });
        (document, left_out)
    }

    /// The former objects there is room for, of guards or of all others, with their numbers.
    fn fitting_formers(
        &self,
        guards: bool,
        room: &mut usize,
        left_out: &mut Vec<NotKept>,
    ) -> Vec<(usize, Value)> {
        let all = self.formers.iter().enumerate();
        let wanted = all.filter(|(_, former)| former.key.kind.is_guard() == guards);
        let fitting = wanted.filter_map(|(index, former)| {
            let name = former.key.to_string();
            let document = fitting(&name, former.to_document(), room, left_out)?;
            Some((index, document))
        });
        fitting.collect()
    }

    /// Reads a document. What cannot be read is named and not kept.
    pub fn read(text: &str) -> (Self, Vec<NotKept>) {
        let mut kept = Self::default();
        let mut wrong = Vec::new();
        let whole = |why: String| NotKept {
            what: "the document".to_owned(),
            why,
        };
        let document: Value = match serde_json::from_str(text) {
            Ok(document) => document,
            Err(error) => {
                return (kept, vec![whole(format!("is not JSON: {error}"))]);
            }
        };
        if document.get("format").and_then(Value::as_u64) != Some(FORMAT) {
            let why = format!("is not of format {FORMAT}; another version wrote it");
            return (kept, vec![whole(why)]);
        }
        match document.get("settings") {
            Some(Value::Object(settings)) => {
                kept.settings = Some(settings.clone().into_iter().collect());
            }
            None | Some(Value::Null) => {}
            Some(_) => wrong.push(NotKept {
                what: "settings".to_owned(),
                why: "are no map".to_owned(),
            }),
        }
        for part in ["routes", "rules", "formers"] {
            let items = match document.get(part) {
                Some(Value::Array(items)) => items.as_slice(),
                None => &[],
                Some(_) => {
                    wrong.push(NotKept {
                        what: part.to_owned(),
                        why: "are no list".to_owned(),
                    });
                    &[]
                }
            };
            for (index, item) in items.iter().enumerate() {
                if let Err(why) = kept.take(part, item) {
                    let what = format!("{part}[{index}]");
                    wrong.push(NotKept { what, why });
                }
            }
        }
        (kept, wrong)
    }

    fn take(&mut self, part: &str, item: &Value) -> Result<(), String> {
        if part == "formers" {
            self.formers.push(Former::read(item)?);
            return Ok(());
        }
        let decoded = decode(item.clone());
        match (part, decoded.object()) {
            ("routes", Some(Object::VirtualService(route))) => {
                self.routes.insert(route.key.clone(), Arc::clone(route));
            }
            ("rules", Some(Object::DestinationRule(rule))) => {
                self.rules.insert(rule.key.clone(), Arc::clone(rule));
            }
            (_, Some(other)) => return Err(format!("{} does not belong here", other.key())),
            (_, None) => return Err(why(&decoded)),
        }
        Ok(())
    }
}

/// Why a document is not an object.
pub(super) fn why(refused: &Decoded) -> String {
    let name = refused.key.as_ref().map(ToString::to_string);
    let why: Vec<String> = refused.problems.iter().map(ToString::to_string).collect();
    format!("{} {}", name.unwrap_or_default(), why.join("; "))
}

fn take(room: &mut usize, size: usize) -> bool {
    match room.checked_sub(size) {
        Some(rest) => {
            *room = rest;
            true
        }
        None => false,
    }
}

fn too_much() -> String {
    format!(
        "is not stored, because more than {} KiB would have to be; a restart of the control plane \
         would lose it",
        MAX_BYTES / 1024
    )
}

fn documents<'a, S: Serialize + 'a>(
    objects: impl Iterator<Item = &'a Arc<Resource<S>>>,
    room: &mut usize,
    left_out: &mut Vec<NotKept>,
) -> Vec<Value> {
    objects
        .filter_map(|object| fitting(&object.key.to_string(), document(object), room, left_out))
        .collect()
}

/// A piece, if there is still room for it; else it is named.
fn fitting(
    name: &str,
    document: Value,
    room: &mut usize,
    left_out: &mut Vec<NotKept>,
) -> Option<Value> {
    if take(room, document.to_string().len() + 1) {
        return Some(document);
    }
    left_out.push(NotKept {
        what: name.to_owned(),
        why: too_much(),
    });
    None
}

fn document<S: Serialize>(object: &Resource<S>) -> Value {
    written(&object.key, &bare(&object.meta), &object.spec)
}

/// An object as a document, with all that is in `meta`.
pub(super) fn written<S: Serialize>(key: &ObjectKey, meta: &ObjectMeta, spec: &S) -> Value {
    let ObjectMeta {
        labels,
        annotations,
        creation_timestamp,
        generation,
        stands_in: _,
    } = meta;
    let mut metadata = json!({"name": key.name, "namespace": key.namespace});
    if let Some(map) = metadata.as_object_mut() {
        let mut add = |name: &str, value: Option<Value>| {
            map.extend(value.map(|value| (name.to_owned(), value)));
        };
        add("labels", (!labels.is_empty()).then(|| json!(labels)));
        let annotated = !annotations.is_empty();
        add("annotations", annotated.then(|| json!(annotations)));
        let created = creation_timestamp.map(|time| json!(time.to_string()));
        add("creationTimestamp", created);
        add("generation", generation.map(|count| json!(count)));
    }
    json!({
        "apiVersion": api_version(key.kind),
        "kind": key.kind.as_str(),
        "metadata": metadata,
        "spec": serde_json::to_value(spec).unwrap_or_default(),
    })
}

fn api_version(kind: Kind) -> String {
    format!("{}/{}", kind.group(), kind.storage_version())
}
