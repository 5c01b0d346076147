//! The settings of the mesh in a folder: ConfigMap `istio` of the root namespace, as a cluster
//! has it.

use std::sync::Arc;

use serde_json::Value;

use super::parse::Document;
use crate::crd::problem::{Problem, Severity};
use crate::model::kept::KeptSettings;
use crate::source::mesh_config::{Found, KEY, NAME, Resolved, resolve};
use crate::source::{Origin, Report};

/// A ConfigMap of this name, of whatever namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SettingsMap {
    /// Its namespace.
    namespace: String,
    /// The settings as text; none if the key is missing.
    text: Option<String>,
}

impl SettingsMap {
    /// Reads a document, if it is such a ConfigMap.
    pub(super) fn of(document: &Value) -> Option<Self> {
        let text = |path: &str| document.pointer(path).and_then(Value::as_str);
        let named = text("/apiVersion") == Some("v1")
            && text("/kind") == Some("ConfigMap")
            && text("/metadata/name") == Some(NAME);
        named.then(|| Self {
            namespace: text("/metadata/namespace")
                .filter(|namespace| !namespace.is_empty())
                .unwrap_or(crate::meta::DEFAULT_NAMESPACE)
                .to_owned(),
            text: document
                .get("data")
                .and_then(|data| data.get(KEY))
                .and_then(Value::as_str)
                .map(str::to_owned),
        })
    }
}

/// Whether a file that cannot be read may hold settings.
pub(super) fn may_be_in(bytes: &[u8]) -> bool {
    let kind = b"ConfigMap";
    bytes.windows(kind.len()).any(|part| part == kind)
}

/// A document with settings, and where it stands.
pub(super) type Placed<'f> = (&'f Arc<str>, &'f Document, &'f SettingsMap);

/// What the settings are, and what there is to say about them and the documents they stand in.
///
/// `documents` are all that hold settings, by place; `hidden` names a file that cannot be read
/// and may hold them.
pub(super) fn settings<'f>(
    documents: impl Iterator<Item = Placed<'f>>,
    hidden: Option<&str>,
    root_namespace: &str,
    kept: Option<&KeptSettings>,
) -> (Resolved, Vec<Report>) {
    let mut reports = Vec::new();
    let mut first: Option<(Origin, &SettingsMap)> = None;
    for (place, document, map) in documents {
        let origin = Origin {
            place: Arc::clone(place),
            position: Some(document.position),
        };
        let name = format!("ConfigMap {}/{NAME}", map.namespace);
        if map.namespace != root_namespace {
            let message = format!(
                "{name} is not acted on: the settings of the mesh stand in {root_namespace}"
            );
            let problem = Problem::new(Severity::Warning, message)
                .hint(format!("write metadata.namespace: {root_namespace}"));
            reports.push(Report::new(origin, None, problem));
        } else if let Some((winner, _)) = &first {
            let message = format!("{name} is also defined in {winner}, which stays in force");
            let problem = Problem::new(Severity::Error, message).hint("remove one of the two");
            reports.push(Report::new(origin, None, problem));
        } else {
            first = Some((origin, map));
        }
    }
    // Where there never were any, what cannot be read holds none that count.
    let hidden = hidden.filter(|_| kept.is_none_or(|kept| !kept.is_empty()));
    // The first counts: one before it that cannot be read may hold what counts, and then a second
    // that stood back must not come into force.
    let hidden = hidden.filter(|place| {
        let found = first.as_ref().map(|(origin, _)| &*origin.place);
        found.is_none_or(|found| *place < found)
    });
    let of = |place: &str| Origin {
        place: Arc::from(place),
        position: None,
    };
    let (found, origin) = match (first, hidden) {
        (_, Some(place)) => (Found::Hidden(place), of(place)),
        (Some((origin, map)), None) => (Found::There(map.text.as_deref()), origin),
        (None, None) => (Found::Absent, of(".")),
    };
    let resolved = resolve(found, kept);
    let name = format!("ConfigMap {root_namespace}/{NAME}");
    // That there are none is usual here, and nothing to talk about.
    let told = resolved.problems.iter();
    let told = told.filter(|one| one.severity != Severity::Info);
    reports.extend(told.map(|problem| {
        let mut problem = problem.clone();
        problem.message = format!("{name} {}", problem.message);
        Report::new(origin.clone(), None, problem)
    }));
    (resolved, reports)
}
