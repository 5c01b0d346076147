//! Rules on names: a type says what it is, a getter is named after what it returns.

use super::Violation;
use super::source;
use super::tree::Tree;

/// Endings that say nothing about a type.
const VAGUE: &[&str] = &[
    "Manager", "Helper", "Helpers", "Util", "Utils", "Handler", "Inner",
];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.with_ending(&["rs"]) {
        for pair in source::tokens(&source::mask(text)).windows(2) {
            let [keyword, name] = pair else { continue };
            let advice = match keyword.text.as_str() {
                "struct" | "enum" | "trait" | "type" | "union" => vague(&name.text),
                "fn" => getter(&name.text),
                _ => None,
            };
            if let Some(advice) = advice {
                found.push(Violation::new(path, name.line, "name", advice));
            }
        }
    }
    found
}

fn vague(name: &str) -> Option<String> {
    let ending = VAGUE.iter().find(|ending| name.ends_with(*ending))?;
    Some(format!(
        "`{name}`: `{ending}` says nothing; name the type after what it is or decides"
    ))
}

fn getter(name: &str) -> Option<String> {
    let value = name.strip_prefix("get_")?;
    Some(format!("`{name}`: call it `{value}`"))
}
