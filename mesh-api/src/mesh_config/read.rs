//! Reads settings key by key: what is wrong is named and left out, the rest counts.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

/// Past this a document is not taken for settings with mistakes any more.
const MAX_PROBLEMS: usize = 100;

/// What is wrong with one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key, such as `defaultConfig.concurrency`; empty for the document as a whole.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
    /// What was left out because of it: the key, or the list its mistake is in.
    pub left_out: String,
    /// Set where there is no such key: the one that was probably meant, if any is near.
    pub unknown: Option<Meant>,
}

/// The key that was probably meant by one there is not; `None`: nobody can say.
pub type Meant = Option<String>;

/// A document read as far as that is possible.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading<T> {
    /// The settings.
    pub settings: T,
    /// The document without what could not be read.
    pub document: Value,
    /// What could not be read.
    pub problems: Vec<ConfigProblem>,
}

impl super::MeshConfig {
    /// As [`super::MeshConfig::read`], with what is left of the document.
    pub fn examine(document: Value) -> Result<Reading<Self>, ConfigProblem> {
        lenient(document)
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.key, self.message)
        }
    }
}

impl std::error::Error for ConfigProblem {}

/// Reads a value. A key that is unknown or has a value of the wrong type is taken out and named,
/// then reading goes on.
///
/// A mistake inside a list takes out the list, since half a list can mean the opposite of it.
pub(super) fn lenient<T: DeserializeOwned + Default>(
    mut document: Value,
) -> Result<Reading<T>, ConfigProblem> {
    without_nulls(&mut document);
    if document.is_null() {
        document = Value::Object(Map::new());
    }
    let whole = |message: String| ConfigProblem {
        key: String::new(),
        message,
        left_out: String::new(),
        unknown: None,
    };
    if !document.is_object() {
        return Err(whole("expected keys with values".to_owned()));
    }
    let mut problems = Vec::new();
    while problems.len() <= MAX_PROBLEMS {
        match serde_path_to_error::deserialize::<_, T>(document.clone()) {
            Ok(settings) => {
                return Ok(Reading {
                    settings,
                    document,
                    problems,
                });
            }
            Err(error) => {
                let raw = error.inner().to_string();
                let Some(left_out) = take_out(&mut document, error.path()) else {
                    return Err(whole(plain(&raw)));
                };
                let key = written(error.path());
                problems.push(ConfigProblem {
                    unknown: raw
                        .starts_with(UNKNOWN_KEY)
                        .then(|| meant(&raw, &key).map(|name| beside(&key, name))),
                    message: plain(&raw),
                    key,
                    left_out,
                });
            }
        }
    }
    Err(whole(format!("more than {MAX_PROBLEMS} mistakes")))
}

/// Every key of a document that has a value, as `a.b.c`, with lists as values.
pub fn keys(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(document, "", &mut found);
    found
}

fn collect(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) if !entries.is_empty() || path.is_empty() => {
            for (key, value) in entries {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                collect(value, &path, found);
            }
        }
        Value::Null => {}
        Value::Object(_)
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_) => found.push(path.to_owned()),
    }
}

/// In settings nothing and null are the same.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            entries.retain(|_, value| !value.is_null());
            entries.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// How the message about a key that is not there begins.
const UNKNOWN_KEY: &str = "unknown field";

/// The message for users: a list of all keys there are helps nobody, the nearest does.
fn plain(message: &str) -> String {
    let wrong = message.split('`').nth(1).unwrap_or_default();
    let near = nearest(wrong, choices(message));
    match (message.starts_with(UNKNOWN_KEY), near) {
        (true, Some(near)) => format!("unknown key; did you mean {near}?"),
        (true, None) => "unknown key; check the spelling".to_owned(),
        (false, Some(near)) => format!("{message}; did you mean {near}?"),
        (false, None) => message.to_owned(),
    }
}

/// The key that was meant instead of one that is not there.
fn meant<'m>(message: &'m str, key: &str) -> Option<&'m str> {
    let wrong = key.rsplit('.').next().unwrap_or(key);
    nearest(wrong, choices(message))
}

/// A path with another last key.
fn beside(path: &str, key: &str) -> String {
    match path.rsplit_once('.') {
        Some((above, _)) => format!("{above}.{key}"),
        None => key.to_owned(),
    }
}

/// What a message says was expected, such as "expected one of `a`, `b`".
fn choices(message: &str) -> impl Iterator<Item = &str> {
    let expected = message.split_once(", expected ").map(|(_, rest)| rest);
    expected.unwrap_or_default().split('`').skip(1).step_by(2)
}

/// The nearest of some names, if one differs in no more than a third of its letters.
fn nearest<'c>(wrong: &str, choices: impl Iterator<Item = &'c str>) -> Option<&'c str> {
    let wrong: Vec<char> = wrong.to_lowercase().chars().take(MAX_NAME).collect();
    choices
        .map(|choice| (distance(&wrong, &choice.to_lowercase()), choice))
        .filter(|(distance, choice)| distance * 3 <= choice.len().max(wrong.len()))
        .min()
        .map(|(_, choice)| choice)
}

/// Names longer than this are compared by their beginnings.
const MAX_NAME: usize = 64;

/// How many letters have to be put in, taken out, exchanged or swapped with their neighbour to make
/// one name of the other.
fn distance(from: &[char], to: &str) -> usize {
    let to: Vec<char> = to.chars().take(MAX_NAME).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (index, letter) in to.iter().enumerate() {
        let mut next = vec![index + 1];
        for (place, old) in from.iter().enumerate() {
            let at = |row: &[usize], place: usize| row.get(place).copied().unwrap_or(usize::MAX);
            let exchanged = at(&row, place).saturating_add(usize::from(old != letter));
            let mut least = exchanged
                .min(at(&row, place + 1).saturating_add(1))
                .min(at(&next, place).saturating_add(1));
            let neighbours = |names: &[char], end: usize| {
                let start = end.checked_sub(1)?;
                Some((names.get(start).copied()?, names.get(end).copied()?))
            };
            if let (Some((a, b)), Some((c, d))) = (neighbours(from, place), neighbours(&to, index))
                && (a, b) == (d, c)
            {
                least = least.min(at(&before, place - 1).saturating_add(1));
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

fn written(path: &Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                text.push('[');
                text.push_str(&index.to_string());
                text.push(']');
            }
            Segment::Map { key } if text.is_empty() => text.push_str(key),
            Segment::Map { key } => {
                text.push('.');
                text.push_str(key);
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

/// Takes a key out, or the list its value is in, and says which that was; `None` where there is
/// none.
fn take_out(document: &mut Value, path: &Path) -> Option<String> {
    let mut keys: Vec<&str> = path
        .iter()
        .map_while(|segment| match segment {
            Segment::Map { key } => Some(key.as_str()),
            Segment::Seq { .. } | Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    let taken = keys.join(".");
    let last = keys.pop()?;
    let mut place = document;
    for key in keys {
        place = place.get_mut(key)?;
    }
    place.as_object_mut()?.remove(last)?;
    Some(taken)
}
