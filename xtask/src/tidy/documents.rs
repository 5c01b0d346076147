//! Documents tell the truth about the tree: every path they name exists.

use super::Violation;
use super::tree::{Tree, has_ending};

/// Documents whose paths are relative to the root of the repository.
const DOCUMENTS: &[&str] = &["ARCHITECTURE.md", "README.md", "CONTRIBUTING.md"];

/// Endings that make a word in backticks a file.
const ENDINGS: &[&str] = &["rs", "md", "proto", "toml", "yaml", "yml", "sh"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in DOCUMENTS
        .iter()
        .filter_map(|path| Some((*path, tree.text(path)?)))
    {
        for (index, line) in text.lines().enumerate() {
            // Odd pieces stand between backticks.
            for named in line.split('`').skip(1).step_by(2) {
                for file in expand(named)
                    .into_iter()
                    .filter(|file| looks_like_path(tree, file))
                {
                    if !tree.has(&file) {
                        let advice = format!("`{file}` does not exist; write where it is now");
                        found.push(Violation::new(path, index + 1, "path", advice));
                    }
                }
            }
        }
    }
    found
}

/// `a/{b,c}.rs` is `a/b.rs` and `a/c.rs`.
fn expand(named: &str) -> Vec<String> {
    let parts = named.split_once('{').and_then(|(before, rest)| {
        let (choices, after) = rest.split_once('}')?;
        Some((before, choices, after))
    });
    match parts {
        None => vec![named.to_owned()],
        Some((before, choices, after)) => choices
            .split(',')
            .flat_map(|choice| expand(&format!("{before}{}{after}", choice.trim())))
            .collect(),
    }
}

/// A file is recognised by its ending, a folder by its final slash and a known first step.
/// Single names (`main.rs`) speak of files in general, and paths with blanks, variables or
/// wildcards are commands and patterns.
fn looks_like_path(tree: &Tree, word: &str) -> bool {
    let plain = word
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let Some((first, _)) = word.split_once('/') else {
        return false;
    };
    if !plain || first.is_empty() || first == ".." {
        return false;
    }
    has_ending(word, ENDINGS)
        || (word.ends_with('/') && word.matches('/').count() > 1 && tree.has(first))
}
