//! Rules on Rust files: they say why they exist, stay short, and hold nothing unfinished.

use super::Violation;
use super::source::{self, Token};
use super::tree::{Tree, is_test};

const FILE_LINES: usize = 400;
const TEST_FILE_LINES: usize = 600;
const MAIN_LINES: usize = 60;
const FUNCTION_LINES: usize = 80;

/// Words that mark work left over, wherever they stand. Put together here so that this file does
/// not hold them.
const MARKERS: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("XX", "X"),
];

/// Code that says "not done".
const UNFINISHED: &[&[&str]] = &[
    &["todo", "!"],
    &["unimplemented", "!"],
    &["#", "[", "ignore"],
];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.with_ending(&["rs"]) {
        shape(path, text, &mut found);
        let masked = source::mask(text);
        let tokens = source::tokens(&masked);
        for function in source::functions(&masked, &tokens) {
            if function.length > FUNCTION_LINES {
                let advice = format!(
                    "`{}` has {} lines of code; split it, {FUNCTION_LINES} is the limit",
                    function.name, function.length
                );
                found.push(Violation::new(
                    path,
                    function.line,
                    "function-length",
                    advice,
                ));
            }
        }
        unfinished(path, &tokens, &mut found);
    }
    for (path, text) in tree.with_ending(&["rs", "proto", "toml", "yaml", "yml"]) {
        markers(path, text, &mut found);
    }
    found
}

fn shape(path: &str, text: &str, found: &mut Vec<Violation>) {
    if path == "mod.rs" || path.ends_with("/mod.rs") {
        let advice = "name it after its folder: `foo.rs` beside `foo/`";
        found.push(Violation::new(path, 1, "mod-file", advice));
    }
    if !text.starts_with("//!") {
        let advice = "open the file with `//!` and say why it exists";
        found.push(Violation::new(path, 1, "module-doc", advice));
    }
    let limit = match path {
        _ if is_test(path) => TEST_FILE_LINES,
        _ if path.ends_with("src/main.rs") => MAIN_LINES,
        _ => FILE_LINES,
    };
    let lines = text.lines().count();
    if lines > limit {
        let advice = format!("{lines} lines; split it, {limit} is the limit");
        found.push(Violation::new(path, limit + 1, "file-length", advice));
    }
}

fn unfinished(path: &str, tokens: &[Token], found: &mut Vec<Violation>) {
    for (index, token) in tokens.iter().enumerate() {
        let here = tokens.get(index..).unwrap_or_default();
        for pattern in UNFINISHED
            .iter()
            .filter(|pattern| source::starts(here, pattern))
        {
            let advice = format!("`{}` is unfinished work; finish it", pattern.concat());
            found.push(Violation::new(path, token.line, "unfinished", advice));
        }
    }
}

fn markers(path: &str, text: &str, found: &mut Vec<Violation>) {
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric());
        if let Some(marker) = words.find(|word| MARKERS.contains(word)) {
            let advice = format!("do what `{marker}` asks for, or open an issue and remove it");
            found.push(Violation::new(path, index + 1, "unfinished", advice));
        }
    }
}
