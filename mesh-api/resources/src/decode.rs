//! One document in, one typed object out, or everything that is wrong with it at once.
//!
//! The order matters: names people misplace are moved first, then the document is walked against
//! the schema (unknown fields, wrong types), then it is read into the type, then its meaning is
//! checked. Each step only runs on what the former let through.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Kind;
use super::kubernetes::{KubeEndpointSlice, KubeNamespace, KubeNode, KubePod, KubeService};
use super::object::{Object, Resource};
use super::problem::{Problem, Severity};
use super::validate::{Checker, Validate};
use crate::meta::ObjectKey;

pub(super) mod alias;
mod envelope;
mod kinds;
mod near;
mod selects;
mod stand_in;
mod typed;
mod walk;

use envelope::Envelope;
use kinds::Known;
pub use selects::Selects;

/// What became of one document.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// Which object it is, as far as that could be read; also set when the object was refused.
    pub key: Option<ObjectKey>,
    /// What became of it.
    pub outcome: Outcome,
    /// If it was refused and asks for something that restricts: an object that asks for no less.
    pub stand_in: Option<Object>,
    /// When the object was made, as far as that could be read.
    pub created: Option<jiff::Timestamp>,
    /// If it was refused: which workloads it says it is for.
    pub selects: Selects,
    /// Everything worth saying about it.
    pub problems: Vec<Problem>,
}

/// What became of one document.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A typed object.
    Object(Object),
    /// Something we take no part in; the problems say why.
    Skipped,
    /// Refused; the problems say why.
    Rejected,
}

impl Decoded {
    /// The object, if there is one.
    pub fn object(&self) -> Option<&Object> {
        match &self.outcome {
            Outcome::Object(object) => Some(object),
            Outcome::Skipped | Outcome::Rejected => None,
        }
    }

    /// What counts of a refused object: the newest of its good versions, of equal ones the last,
    /// else what stands in for it. An object that was deleted and made again owes nothing to the
    /// one before.
    pub fn instead(&self, formers: impl IntoIterator<Item = Object>) -> Option<Object> {
        let made_again = |one: &Object| {
            let made = one.meta().creation_timestamp.zip(self.created);
            made.is_some_and(|(then, now)| then != now)
        };
        formers
            .into_iter()
            .filter(|one| !one.meta().stands_in && !made_again(one))
            .max_by_key(|one| one.meta().generation)
            .or_else(|| self.stand_in.clone())
    }

    fn rejected(key: Option<ObjectKey>, problems: Vec<Problem>) -> Self {
        Self {
            key,
            outcome: Outcome::Rejected,
            stand_in: None,
            created: None,
            selects: Selects::All,
            problems,
        }
    }
}

/// Reads one document.
pub fn decode(document: Value) -> Decoded {
    let Value::Object(document) = document else {
        return Decoded::rejected(
            None,
            vec![
                Problem::new(Severity::Error, "the document is not an object")
                    .hint("it needs apiVersion, kind, metadata and spec"),
            ],
        );
    };
    let kind = match kinds::recognise(&document) {
        Known::Read(kind) => kind,
        Known::Skipped(problem) => {
            return Decoded {
                key: None,
                outcome: Outcome::Skipped,
                stand_in: None,
                created: None,
                selects: Selects::All,
                problems: vec![problem],
            };
        }
        Known::Unknown { likely, problem } => {
            let key = likely.and_then(|kind| envelope::key(kind, &document));
            return Decoded::rejected(key, vec![problem]);
        }
    };
    let mut problems = Vec::new();
    let Some(envelope) = envelope::open(kind, document, &mut problems) else {
        return Decoded::rejected(None, problems);
    };
    let key = envelope.key.clone();
    let created = envelope.meta.creation_timestamp;
    let stand_in = stand_in::of(kind, &envelope);
    let selects = Selects::of(kind, &envelope.spec);
    match read(kind, envelope, &mut problems) {
        Some(object) if !has_errors(&problems) => Decoded {
            key: Some(key),
            outcome: Outcome::Object(object),
            stand_in: None,
            created,
            selects,
            problems,
        },
        Some(_) | None => Decoded {
            stand_in,
            created,
            selects,
            ..Decoded::rejected(Some(key), problems)
        },
    }
}

fn read(kind: Kind, envelope: Envelope, problems: &mut Vec<Problem>) -> Option<Object> {
    match kind {
        Kind::VirtualService => mesh(kind, envelope, problems, Object::VirtualService),
        Kind::DestinationRule => mesh(kind, envelope, problems, Object::DestinationRule),
        Kind::Gateway => mesh(kind, envelope, problems, Object::Gateway),
        Kind::ServiceEntry => mesh(kind, envelope, problems, Object::ServiceEntry),
        Kind::Sidecar => mesh(kind, envelope, problems, Object::Sidecar),
        Kind::WorkloadEntry => mesh(kind, envelope, problems, Object::WorkloadEntry),
        Kind::WorkloadGroup => mesh(kind, envelope, problems, Object::WorkloadGroup),
        Kind::ProxyConfig => mesh(kind, envelope, problems, Object::ProxyConfig),
        Kind::EnvoyFilter => mesh(kind, envelope, problems, Object::EnvoyFilter),
        Kind::PeerAuthentication => mesh(kind, envelope, problems, Object::PeerAuthentication),
        Kind::RequestAuthentication => {
            mesh(kind, envelope, problems, Object::RequestAuthentication)
        }
        Kind::AuthorizationPolicy => mesh(kind, envelope, problems, Object::AuthorizationPolicy),
        Kind::Telemetry => mesh(kind, envelope, problems, Object::Telemetry),
        Kind::WasmPlugin => mesh(kind, envelope, problems, Object::WasmPlugin),
        Kind::TrafficExtension => mesh(kind, envelope, problems, Object::TrafficExtension),
        Kind::Service => kubernetes(
            envelope,
            problems,
            KubeService::from_kubernetes,
            Object::Service,
        ),
        Kind::EndpointSlice => kubernetes(
            envelope,
            problems,
            KubeEndpointSlice::from_kubernetes,
            Object::EndpointSlice,
        ),
        Kind::Pod => kubernetes(envelope, problems, KubePod::from_kubernetes, Object::Pod),
        Kind::Namespace => kubernetes(
            envelope,
            problems,
            |namespace| Ok(KubeNamespace::from_kubernetes(&namespace)),
            Object::Namespace,
        ),
        Kind::Node => kubernetes(
            envelope,
            problems,
            |_node: k8s_openapi::api::core::v1::Node| Ok(KubeNode),
            Object::Node,
        ),
    }
}

/// Reads one of the mesh's own kinds.
fn mesh<S: DeserializeOwned + Validate>(
    kind: Kind,
    envelope: Envelope,
    problems: &mut Vec<Problem>,
    wrap: impl FnOnce(Arc<Resource<S>>) -> Object,
) -> Option<Object> {
    let Envelope {
        key,
        meta,
        mut spec,
        ..
    } = envelope;
    alias::apply(kind, &mut spec, problems);
    walk::check(kind, &spec, problems);
    if has_errors(problems) {
        return None;
    }
    let spec: S = typed::read(spec, "spec", problems)?;
    let mut checker = Checker::new("spec");
    spec.validate(&mut checker);
    problems.extend(checker.into_problems());
    Some(wrap(Arc::new(Resource { key, meta, spec })))
}

/// Reads one of the kinds of Kubernetes.
fn kubernetes<K: DeserializeOwned + Serialize, S>(
    envelope: Envelope,
    problems: &mut Vec<Problem>,
    convert: impl FnOnce(K) -> Result<S, Vec<Problem>>,
    wrap: impl FnOnce(Arc<Resource<S>>) -> Object,
) -> Option<Object> {
    let Envelope {
        key,
        meta,
        document,
        ..
    } = envelope;
    let read: K = typed::read(document.clone(), "", problems)?;
    typed::unknown_fields(&document, &read, problems);
    match convert(read) {
        Ok(spec) => Some(wrap(Arc::new(Resource { key, meta, spec }))),
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

fn has_errors(problems: &[Problem]) -> bool {
    problems
        .iter()
        .any(|problem| problem.severity == Severity::Error)
}

/// What to say of an object that is refused, given what counts instead of it.
pub fn refused(instead: Option<&Object>) -> Problem {
    let message = match instead {
        Some(object) if object.meta().stands_in => {
            "the object is refused, and there is no earlier version to fall back to; what it \
             restricts stays closed until it can be read"
        }
        Some(_) => "the object is refused; its last good version stays in force",
        None => "the object is refused, and there is no earlier version to fall back to",
    };
    Problem::new(Severity::Error, message).hint("repair what is named above")
}

#[cfg(test)]
mod tests;
