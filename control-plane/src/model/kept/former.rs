//! The forms that count of objects whose newest nobody can read.
//!
//! Sources keep using them; here they are values that can be stored, so that a restart uses them,
//! too. Without them a mistake that was harmless when it was made would act at the next restart.
//! It is the last good form; where a file as a whole cannot be read also that of objects which
//! were refused before, since they may close what they name.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use super::document::{why, written};
use crate::crd::object::Resource;
use crate::crd::{Decoded, Object, decode};
use crate::meta::ObjectKey;

/// All of them, in the order of their objects in a cluster, of files and documents in a folder.
pub type Formers = Vec<Former>;

/// What `kubectl apply` remembers in an annotation: all of the object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The form of an object that counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Former {
    /// Which object it is of.
    pub key: ObjectKey,
    /// The object, as a document.
    pub document: Arc<Value>,
    /// Where it stood, if in a file.
    pub stood: Option<Stood>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stood {
    /// The file, relative to the folder.
    pub file: Arc<str>,
    /// Number of the document, from 1.
    pub document: usize,
    /// Line it begins at, from 1.
    pub line: usize,
}

impl Former {
    /// The form of an object; `None` for the kinds of Kubernetes itself, whose objects cannot
    /// become unreadable in a cluster.
    pub fn of(object: &Object) -> Option<Self> {
        let document = match object {
            Object::VirtualService(object) => whole(object),
            Object::DestinationRule(object) => whole(object),
            Object::Gateway(object) => whole(object),
            Object::ServiceEntry(object) => whole(object),
            Object::Sidecar(object) => whole(object),
            Object::WorkloadEntry(object) => whole(object),
            Object::WorkloadGroup(object) => whole(object),
            Object::ProxyConfig(object) => whole(object),
            Object::EnvoyFilter(object) => whole(object),
            Object::PeerAuthentication(object) => whole(object),
            Object::RequestAuthentication(object) => whole(object),
            Object::AuthorizationPolicy(object) => whole(object),
            Object::Telemetry(object) => whole(object),
            Object::WasmPlugin(object) => whole(object),
            Object::TrafficExtension(object) => whole(object),
            Object::Service(_)
            | Object::EndpointSlice(_)
            | Object::Pod(_)
            | Object::Namespace(_)
            | Object::Node(_) => return None,
        };
        Some(Self {
            key: object.key().clone(),
            document: Arc::new(document),
            stood: None,
        })
    }

    /// What it holds.
    pub fn decoded(&self) -> Decoded {
        decode(Value::clone(&self.document))
    }

    /// As it is stored.
    pub(super) fn to_document(&self) -> Value {
        let stood = self.stood.as_ref().map(
            |stood| json!({"file": stood.file, "document": stood.document, "line": stood.line}),
        );
        json!({"object": self.document, "stood": stood})
    }

    /// From what was stored.
    ///
    /// # Errors
    ///
    /// Why it cannot be used: another version of this program may have written it.
    pub(super) fn read(item: &Value) -> Result<Self, String> {
        let document = item.get("object").cloned().unwrap_or_default();
        let decoded = decode(document.clone());
        let stood = item.get("stood").filter(|stood| !stood.is_null());
        let stood = stood
            .map(|stood| Stood::read(stood).ok_or("does not say where it stood"))
            .transpose()?;
        let is_good = decoded.object().is_some();
        let key = decoded.key.clone().filter(|_| is_good || stood.is_some());
        Ok(Self {
            key: key.ok_or_else(|| why(&decoded))?,
            document: Arc::new(document),
            stood,
        })
    }
}

impl Stood {
    fn read(document: &Value) -> Option<Self> {
        let number = |name: &str| usize::try_from(document.get(name)?.as_u64()?).ok();
        Some(Self {
            file: document.get("file")?.as_str()?.into(),
            document: number("document")?,
            line: number("line")?,
        })
    }
}

fn whole<S: Serialize>(object: &Resource<S>) -> Value {
    let mut meta = object.meta.clone();
    meta.annotations.remove(LAST_APPLIED);
    written(&object.key, &meta, &object.spec)
}
