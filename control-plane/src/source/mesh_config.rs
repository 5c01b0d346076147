//! The settings of the mesh, read from the document in ConfigMap `istio`, wherever that stands.
//!
//! Settings never open by mistake. What cannot be read keeps its last good value, key by key, and
//! those values outlive the process ([`KeptSettings`]). Where nothing was ever read, a mistake in
//! a setting that restricts is not answered with the default: nothing is pushed until it is
//! repaired.

use std::collections::BTreeMap;

use mesh_api::mesh_config::{ConfigProblem, MeshConfig, Reading, keys};
use serde_json::{Map, Value};

use super::MeshReading;
use crate::crd::problem::{Problem, Severity};
use crate::model::kept::KeptSettings;
use crate::model::settings::{is_acted_on, not_acted_on};

/// The ConfigMap that holds the settings, in the root namespace.
pub const NAME: &str = "istio";
/// The key of the ConfigMap that holds the settings.
pub const KEY: &str = "mesh";

/// Settings that restrict: their default lets more through than most values.
const RESTRICTING: [&str; 7] = [
    "defaultDestinationRuleExportTo",
    "defaultServiceExportTo",
    "defaultVirtualServiceExportTo",
    "discoverySelectors",
    "outboundTrafficPolicy.mode",
    "pathNormalization.normalization",
    "rootNamespace",
];

/// What there is in the place of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// No ConfigMap.
    Absent,
    /// A ConfigMap, with the text under [`KEY`] if it has that.
    There(Option<&'a str>),
    /// Perhaps one, in this place, which cannot be read.
    Hidden(&'a str),
}

/// What the settings are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resolved {
    /// The settings in force.
    pub reading: MeshReading,
    /// What there is to say about them.
    pub problems: Vec<Problem>,
    /// Settings that restrict, cannot be read and have no last good value: with any of them the
    /// others are not in force.
    pub open: Vec<String>,
}

/// What the settings are, from what was found and the last good values; `None`: there were never
/// any.
pub fn resolve(found: Found<'_>, kept: Option<&KeptSettings>) -> Resolved {
    match found {
        Found::Absent => absent(kept),
        Found::Hidden(place) => unreadable(
            Problem::new(
                Severity::Error,
                format!("may stand in {place}, which cannot be read"),
            ),
            kept,
        ),
        Found::There(text) => match parse(text)
            .and_then(|document| MeshConfig::examine(document).map_err(|found| problem(&found, "")))
        {
            Ok(read) => read_again(read, kept),
            Err(wrong) => unreadable(wrong, kept),
        },
    }
}

fn absent(kept: Option<&KeptSettings>) -> Resolved {
    let remembered = kept.filter(|kept| !kept.is_empty());
    let problem = match remembered {
        Some(_) => Problem::new(
            Severity::Warning,
            "is gone; the settings it held stay in force",
        )
        .hint("create it again with the settings that should hold; `mesh: {}` is the defaults"),
        None => Problem::new(
            Severity::Info,
            "does not exist; every setting has its default",
        ),
    };
    let mut resolved = with_kept(Map::new(), kept, |_key| true);
    resolved.problems.insert(0, problem);
    resolved
}

fn unreadable(problem: Problem, kept: Option<&KeptSettings>) -> Resolved {
    if kept.is_none() {
        let hint = "repair it; there are no earlier settings to fall back to, and nothing is \
                    pushed until it can be read";
        return Resolved {
            problems: vec![problem.hint(hint)],
            open: vec![KEY.to_owned()],
            ..Resolved::default()
        };
    }
    let mut resolved = with_kept(Map::new(), kept, |_key| true);
    let hint = "repair it; the last settings that could be read stay in force";
    resolved.problems.insert(0, problem.hint(hint));
    resolved
}

/// Puts the last good values in the place of what could not be read.
fn read_again(read: Reading<MeshConfig>, kept: Option<&KeptSettings>) -> Resolved {
    let Reading {
        settings: _,
        document,
        problems: wrong,
    } = read;
    let open: Vec<String> = RESTRICTING
        .iter()
        .filter(|key| kept.is_none() && wrong.iter().any(|one| asks_for(one, key, &document)))
        .map(|key| (*key).to_owned())
        .collect();
    let good = document.as_object().cloned().unwrap_or_default();
    let mut resolved = with_kept(good, kept, |key| {
        wrong.iter().any(|one| may_concern(one, key, &document))
    });
    let said = wrong.iter().map(|one| {
        let instead = match (kept, &one.unknown) {
            (None, _) if open.iter().any(|key| asks_for(one, key, &document)) => {
                "it restricts and has no last good value, so nothing is pushed until it is repaired"
            }
            (None, Some(_)) => "what it may have been meant for has its default",
            (Some(_), Some(_)) => "what it may have been meant for keeps its last good value",
            (Some(_), None) => "it keeps its last good value",
            (None, None) => "it has its default",
        };
        problem(one, instead)
    });
    resolved.problems = said.chain(std::mem::take(&mut resolved.problems)).collect();
    resolved.open = open;
    resolved
}

/// The settings of a document, with the last good values of those keys that `stays` names.
fn with_kept(
    good: Map<String, Value>,
    kept: Option<&KeptSettings>,
    stays: impl Fn(&str) -> bool,
) -> Resolved {
    let written = Value::Object(good);
    let mut document = written.clone();
    for (key, value) in kept.into_iter().flatten().filter(|(key, _)| stays(key)) {
        put(&mut document, key, value);
    }
    // What another version kept may be nothing this one can read.
    let (read, problems) = match MeshConfig::examine(document) {
        Ok(read) => {
            let problems = read.problems.iter();
            let problems = problems
                .map(|one| problem(one, "the value kept for it cannot be read"))
                .collect();
            (read, problems)
        }
        Err(one) => {
            let problems = vec![problem(&one, "the values kept cannot be read")];
            let settings = MeshConfig::default();
            let document = Value::Object(Map::new());
            let read = Reading {
                settings,
                document,
                problems: Vec::new(),
            };
            (read, problems)
        }
    };
    let not_acted_on = not_acted_on(&written, &read.settings);
    let acted_on = keys(&read.document)
        .into_iter()
        .filter(|key| is_acted_on(key));
    let values: KeptSettings = acted_on
        .filter_map(|key| Some((key.clone(), at(&read.document, &key)?.clone())))
        .collect::<BTreeMap<_, _>>();
    Resolved {
        reading: MeshReading {
            config: read.settings,
            not_acted_on,
            kept: values,
        },
        problems,
        open: Vec::new(),
    }
}

/// Whether a mistake may be about this setting: it was left out because of it, or it is missing
/// where somebody wrote a key there is not.
fn may_concern(wrong: &ConfigProblem, key: &str, document: &Value) -> bool {
    if wrong.unknown.is_none() {
        return is_within(key, &wrong.left_out) || is_within(&wrong.left_out, key);
    }
    let beside = wrong.left_out.rsplit_once('.').map(|(above, _)| above);
    let below = match beside {
        None => Some(key),
        Some(above) => key
            .strip_prefix(above)
            .and_then(|rest| rest.strip_prefix('.')),
    };
    below.is_some_and(|rest| {
        let first = rest.split('.').next().unwrap_or_default();
        let place = beside.map_or(Some(document), |above| at(document, above));
        place.and_then(|place| place.get(first)).is_none()
    })
}

/// Whether a mistake is about this setting, as far as one can say who has nothing to compare with.
fn asks_for(wrong: &ConfigProblem, key: &str, document: &Value) -> bool {
    let meant = match &wrong.unknown {
        None => Some(&wrong.left_out),
        Some(meant) => meant.as_ref(),
    };
    meant.is_some_and(|meant| is_within(key, meant) || is_within(meant, key))
        && at(document, key).is_none()
}

fn is_within(key: &str, above: &str) -> bool {
    key.strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn at<'v>(document: &'v Value, key: &str) -> Option<&'v Value> {
    key.split('.')
        .try_fold(document, |place, part| place.get(part))
}

/// Sets a value unless there is one.
fn put(document: &mut Value, key: &str, value: &Value) {
    let (above, last) = key.rsplit_once('.').unwrap_or(("", key));
    let mut place = document;
    for part in above.split('.').filter(|part| !part.is_empty()) {
        let Some(map) = place.as_object_mut() else {
            return;
        };
        place = map.entry(part).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Some(map) = place.as_object_mut() {
        map.entry(last).or_insert_with(|| value.clone());
    }
}

fn parse(text: Option<&str>) -> Result<Value, Problem> {
    let Some(text) = text else {
        return Err(Problem::new(Severity::Error, format!("has no key {KEY:?}")));
    };
    serde_saphyr::from_str(text).map_err(|error| {
        let reason = error.without_snippet().to_string();
        let reason = reason.lines().next().unwrap_or_default().to_owned();
        Problem::new(Severity::Error, format!("is not YAML: {reason}")).at(KEY)
    })
}

fn problem(found: &ConfigProblem, instead: &str) -> Problem {
    let field = if found.key.is_empty() {
        KEY.to_owned()
    } else {
        format!("{KEY}.{}", found.key)
    };
    let message = if instead.is_empty() {
        found.message.clone()
    } else {
        format!("{}; {instead}", found.message)
    };
    Problem::new(Severity::Error, message).at(field)
}

#[cfg(test)]
mod tests;
