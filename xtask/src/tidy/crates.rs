//! Rules on crates: the one arrow between them, shared lints, and what may never be linked in.
//!
//! The arrow is the table of crates in `ARCHITECTURE.md`.

use super::Violation;
use super::tree::Tree;
use crate::cargo;

/// Where the arrow between crates is drawn, and the row its table begins with.
const DRAWING: &str = "ARCHITECTURE.md";
const TABLE: &str = "| crate | what it is | may use |";

/// A second TLS stack must not slip in: ours is rustls with aws-lc.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls"];

/// The rule about [`BANNED`].
pub(super) const BANNED_CRATE: &str = "banned-crate";

/// Whether a crate found in the lock file is really built. The lock file also names what a
/// feature nobody enables would need. In doubt it is.
pub(super) fn is_linked(violation: &Violation) -> bool {
    let named = violation.advice.split('`').nth(1);
    let Some(name) = named else { return true };
    let tree = cargo::command()
        .args(["tree", "--workspace", "--locked", "--quiet", "-i", name])
        .output();
    tree.map_or(true, |tree| {
        !tree.status.success() || !tree.stdout.is_empty()
    })
}

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let arrow = tree.text(DRAWING).map(arrow).unwrap_or_default();
    for (path, text) in tree.files() {
        if path.ends_with("/Cargo.toml") && text.contains("[package]") {
            manifest(path, text, &arrow, &mut found);
        }
    }
    if let Some(lock) = tree.text("Cargo.lock") {
        banned(lock, &mut found);
    }
    found
}

/// A crate of ours, and those of ours it may use; `None`: any.
struct Arrow<'t> {
    name: &'t str,
    may_use: Option<Vec<&'t str>>,
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The rows of the table of crates.
fn arrow(text: &str) -> Vec<Arrow<'_>> {
    let rows = text.lines().skip_while(|line| *line != TABLE).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [name, _, may_use] = cells.as_slice() else {
            return None;
        };
        let any = may_use.trim() == "anything";
        Some(Arrow {
            name: quoted(name).first().copied()?,
            may_use: (!any).then(|| quoted(may_use)),
        })
    })
    .collect()
}

fn manifest(path: &str, text: &str, arrow: &[Arrow<'_>], found: &mut Vec<Violation>) {
    let lines: Vec<Line<'_>> = lines(text).collect();
    let name = lines
        .iter()
        .find(|line| line.section == "package" && line.key == "name");
    let Some(name) = name.map(|line| line.value.trim_matches('"')) else {
        found.push(Violation::new(path, 1, "manifest", "name the package"));
        return;
    };
    let inherits = |line: &Line<'_>| {
        line.value == "true"
            && matches!(
                (line.section, line.key),
                ("lints", "workspace") | ("package" | "", "lints.workspace")
            )
    };
    if !lines.iter().any(inherits) {
        let advice = "add `[lints]` with `workspace = true`; Cargo does not inherit lints alone";
        found.push(Violation::new(path, 1, "lints", advice));
    }
    let Some(own) = arrow.iter().find(|one| one.name == name) else {
        let advice = format!("say which crates `{name}` may use, in the table of {DRAWING}");
        found.push(Violation::new(path, 1, "crate-arrow", advice));
        return;
    };
    let Some(may_use) = &own.may_use else { return };
    for line in &lines {
        let Some(used) = line.dependency() else {
            continue;
        };
        let ours = arrow.iter().any(|one| one.name == used);
        if ours && used != name && !may_use.contains(&used) {
            let advice = format!("`{name}` must not use `{used}`; see the table of {DRAWING}");
            found.push(Violation::new(path, line.number, "crate-arrow", advice));
        }
    }
}

fn banned(lock: &str, found: &mut Vec<Violation>) {
    for line in lines(lock).filter(|line| line.section == "[package]" && line.key == "name") {
        let name = line.value.trim_matches('"');
        if BANNED.contains(&name) {
            let advice =
                format!("`{name}` must not be linked in; `cargo tree -i {name}` says who wants it");
            found.push(Violation::new(
                "Cargo.lock",
                line.number,
                BANNED_CRATE,
                advice,
            ));
        }
    }
}

/// `key = value` and the section it stands in; a section's own line has an empty key.
struct Line<'t> {
    number: usize,
    section: &'t str,
    key: &'t str,
    value: &'t str,
}

impl<'t> Line<'t> {
    /// The package this line makes a dependency of, whatever it is called here.
    fn dependency(&self) -> Option<&'t str> {
        if let Some((_, name)) = self.section.rsplit_once("dependencies.") {
            return match self.key {
                "" => Some(name.trim_matches('"')),
                "package" => Some(self.value.trim_matches('"')),
                _ => None,
            };
        }
        if !self.section.ends_with("dependencies") || self.key.is_empty() {
            return None;
        }
        let renamed = self
            .value
            .split_once("package")
            .and_then(|(_, rest)| rest.split('"').nth(1));
        renamed.or_else(|| self.key.split('.').next().map(|key| key.trim_matches('"')))
    }
}

fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut section = "";
    text.lines().enumerate().filter_map(move |(index, raw)| {
        let number = index + 1;
        let line = raw.split(" #").next().unwrap_or_default().trim();
        if let Some(inside) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            section = inside;
            return Some(Line {
                number,
                section,
                key: "",
                value: "",
            });
        }
        let (key, value) = line.split_once('=')?;
        Some(Line {
            number,
            section,
            key: key.trim(),
            value: value.trim(),
        })
    })
}
