//! The content of one file, as documents. Pure: bytes in, decoded documents out.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use serde_saphyr::options::AliasLimits;

use super::settings::SettingsMap;
use crate::crd::problem::{Problem, Severity};
use crate::crd::{Decoded, Outcome, Selects, decode};
use crate::source::Position;

/// Most documents in one file, counting the items of lists.
const MAX_DOCUMENTS: usize = 10_000;
/// Most nodes that aliases may stand for.
const MAX_ALIAS_EVENTS: usize = 100_000;

/// A document and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// Where it stands.
    pub(super) position: Position,
    /// What it holds.
    pub(super) decoded: Decoded,
    /// As it is written.
    pub(super) raw: Arc<Value>,
    /// Set where it holds settings of the mesh instead of an object.
    pub(super) settings: Option<SettingsMap>,
}

/// Why a file as a whole cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// The document the fault is in, if it is in one.
    pub(super) position: Option<Position>,
    /// What is wrong.
    pub(super) problem: Problem,
}

impl Broken {
    pub(super) fn file(message: impl Into<String>, hint: impl Into<String>) -> Self {
        let problem = Problem::new(Severity::Error, message).hint(hint);
        Self {
            position: None,
            problem,
        }
    }
}

/// Reads a file. One syntax error breaks all of it, since nobody can say where a broken document
/// would have ended.
pub(super) fn parse(place: &str, bytes: &[u8]) -> Result<Vec<Document>, Broken> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = line_of(bytes, error.valid_up_to());
        Broken::file(
            format!("line {line} is not UTF-8"),
            "save the file as UTF-8",
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = Vec::new();
    if is_json(place) {
        if !text.trim().is_empty() {
            let value = serde_json::from_str(text)
                .map_err(|error| Broken::file(format!("not JSON: {error}"), "repair the file"))?;
            expand(
                value,
                Position {
                    document: 1,
                    line: 1,
                },
                &mut documents,
            )?;
        }
        return Ok(documents);
    }
    for (index, chunk) in split(text).enumerate() {
        let position = Position {
            document: index + 1,
            line: chunk.line,
        };
        expand(parse_yaml(&chunk, position)?, position, &mut documents)?;
    }
    Ok(documents)
}

/// Whether the file looks as if its writer had not come to the end yet.
pub(super) fn looks_unfinished(place: &str, bytes: &[u8]) -> bool {
    !is_json(place) && bytes.last().is_some_and(|last| *last != b'\n')
}

fn is_json(place: &str) -> bool {
    Path::new(place)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn parse_yaml(chunk: &Chunk<'_>, position: Position) -> Result<Value, Broken> {
    let mut aliases = AliasLimits::default();
    aliases.max_total_replayed_events = MAX_ALIAS_EVENTS;
    let options = serde_saphyr::options! { with_snippet: false, alias_limits: aliases };
    serde_saphyr::from_str_with_options(chunk.text, options).map_err(|error| {
        let within = error.location().map_or(1, |location| location.line());
        let line = usize::try_from(within).unwrap_or(1).saturating_sub(1) + chunk.first_line;
        let reason = error.without_snippet().to_string();
        let reason = reason.lines().next().unwrap_or_default();
        Broken {
            position: Some(position),
            problem: Problem::new(
                Severity::Error,
                format!("not YAML, at line {line}: {reason}"),
            )
            .hint("repair the file"),
        }
    })
}

/// Decodes a document, or each item of a list of documents.
fn expand(value: Value, position: Position, documents: &mut Vec<Document>) -> Result<(), Broken> {
    if documents.len() >= MAX_DOCUMENTS {
        return Err(Broken::file(
            format!("more than {MAX_DOCUMENTS} documents"),
            "spread them over several files",
        ));
    }
    if let Some(settings) = SettingsMap::of(&value) {
        documents.push(Document {
            position,
            decoded: Decoded {
                selects: Selects::All,
                key: None,
                outcome: Outcome::Skipped,
                stand_in: None,
                created: None,
                problems: Vec::new(),
            },
            raw: Arc::default(),
            settings: Some(settings),
        });
        return Ok(());
    }
    let is_list = value.get("kind").is_some_and(|kind| kind == "List");
    if is_list && let Some(Value::Array(items)) = value.get("items") {
        for item in items {
            expand(item.clone(), position, documents)?;
        }
        return Ok(());
    }
    let raw = Arc::new(value);
    documents.push(Document {
        position,
        decoded: decode(Value::clone(&raw)),
        raw,
        settings: None,
    });
    Ok(())
}

/// One YAML document as text.
#[derive(Debug)]
struct Chunk<'a> {
    text: &'a str,
    /// Line its text begins at, from 1.
    first_line: usize,
    /// Line its content begins at, from 1.
    line: usize,
}

/// Cuts a stream at its markers. A marker stands at the beginning of a line, where YAML lets it
/// stand nowhere inside a document, so lines are enough to find them.
fn split(text: &str) -> impl Iterator<Item = Chunk<'_>> {
    let mut starts = vec![(0_usize, 1_usize)];
    let mut offset = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let after = offset + line.len();
        if is_marker(line, "---") {
            starts.push((offset, index + 1));
        } else if is_marker(line, "...") {
            starts.push((after, index + 2));
        }
        offset = after;
    }
    let ends: Vec<usize> = starts
        .iter()
        .skip(1)
        .map(|start| start.0)
        .chain([text.len()])
        .collect();
    starts
        .into_iter()
        .zip(ends)
        .filter_map(|((start, first_line), end)| {
            let chunk = text.get(start..end)?;
            let lead = chunk.lines().position(has_content)?;
            Some(Chunk {
                text: chunk,
                first_line,
                line: first_line + lead,
            })
        })
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a line holds more than markers, comments and directives.
fn has_content(line: &str) -> bool {
    if line.starts_with('%') || is_marker(line, "...") {
        return false;
    }
    let line = if is_marker(line, "---") {
        line.get(3..).unwrap_or_default()
    } else {
        line
    };
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn line_of(bytes: &[u8], offset: usize) -> usize {
    bytes
        .iter()
        .take(offset)
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests;
