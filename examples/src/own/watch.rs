//! What there is to tell while the mesh runs: findings and refusals as they come and go, and what
//! the processes log.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::mesh::fetch;

/// Findings and refusals that were told and still hold.
#[derive(Debug, Default)]
pub(super) struct Told(BTreeSet<String>);

impl Told {
    /// Compares what holds now with what was told; the lines to print.
    pub(super) fn news(&mut self, now: BTreeSet<String>) -> Vec<String> {
        let fresh = now.difference(&self.0);
        let mut lines: Vec<String> = fresh.map(|one| format!("! {one}")).collect();
        lines.extend(self.0.difference(&now).map(|one| format!("mended: {one}")));
        self.0 = now;
        lines
    }
}

/// What the control plane finds wrong, and what proxies refused; `None` while it does not answer.
pub(super) async fn findings(admin: SocketAddr) -> Option<BTreeSet<String>> {
    let diagnostics = fetch(admin, "/debug/diagnostics").await.ok()?;
    let synced = fetch(admin, "/debug/syncz").await.ok()?;
    let diagnostics: Value = serde_json::from_str(&diagnostics.body).ok()?;
    let synced: Value = serde_json::from_str(&synced.body).ok()?;
    let mut found: BTreeSet<String> = list(&diagnostics, "objects").map(finding).collect();
    for proxy in synced.as_array().into_iter().flatten() {
        let name = text(proxy, "proxy");
        for refused in list(proxy, "refused") {
            found.insert(format!("{name} refused {}", plain(refused)));
        }
        if let Some(waiting) = proxy.get("waiting").and_then(Value::as_str) {
            found.insert(format!("{name} waits: {waiting}"));
        }
    }
    Some(found)
}

fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// One finding of `/debug/diagnostics` as a line.
fn finding(value: &Value) -> String {
    let names = ["namespace", "name"].map(|key| text(value, key));
    let names = names.iter().filter(|name| !name.is_empty());
    let name = names.copied().collect::<Vec<&str>>().join("/");
    let mut about = vec![text(value, "code"), text(value, "severity")];
    about.extend([text(value, "kind"), &name, text(value, "field")]);
    about.retain(|part| !part.is_empty());
    let mut line = format!("{}: {}", about.join(" "), text(value, "message"));
    let hint = text(value, "hint");
    if !hint.is_empty() {
        line.push_str("; ");
        line.push_str(hint);
    }
    line
}

/// The texts of an object, in its own order of keys.
fn plain(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let parts: Vec<String> = fields.values().map(plain).collect();
            parts.join(": ")
        }
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => value.to_string(),
    }
}

/// How far each log was read.
#[derive(Debug, Default)]
pub(super) struct Logs(BTreeMap<String, u64>);

impl Logs {
    /// The whole lines a log got since it was last read.
    pub(super) fn lines(&mut self, name: &str, path: &Path) -> Vec<String> {
        let read = self.0.entry(name.to_owned()).or_default();
        let mut fresh = Vec::new();
        let got = std::fs::File::open(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(*read))?;
            file.read_to_end(&mut fresh)
        });
        if got.is_err() {
            // A log that cannot be read now may be in a moment.
            return Vec::new();
        }
        let whole = fresh
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |end| end + 1);
        *read += whole as u64;
        let text = String::from_utf8_lossy(fresh.get(..whole).unwrap_or_default()).into_owned();
        text.lines()
            .map(|line| format!("{name} | {line}"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn findings_are_told_once_and_taken_back() {
        let mut told = Told::default();
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(told.news(of(&["a", "b"])), ["! a", "! b"]);
        assert!(told.news(of(&["a", "b"])).is_empty());
        assert_eq!(told.news(of(&["b", "c"])), ["! c", "mended: a"]);
    }

    #[test]
    fn a_finding_is_one_line() {
        let value = serde_json::json!({
            "code": "MESH0101", "severity": "error", "kind": "VirtualService",
            "namespace": "a", "name": "b", "field": "spec.http[0]", "message": "no such host", "hint": "write another",
        });
        assert_eq!(
            finding(&value),
            "MESH0101 error VirtualService a/b spec.http[0]: no such host; write another"
        );
    }

    #[test]
    fn logs_are_read_by_whole_lines() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut logs = Logs::default();
        file.write_all(b"one\ntw").unwrap();
        assert_eq!(logs.lines("x", file.path()), ["x | one"]);
        file.write_all(b"o\n").unwrap();
        assert_eq!(logs.lines("x", file.path()), ["x | two"]);
        assert!(logs.lines("x", file.path()).is_empty());
    }
}
