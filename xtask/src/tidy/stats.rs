//! `cargo xtask tidy --stats`: how long things are, and how much code each crate has.

use std::collections::BTreeMap;

use super::source;
use super::tree::{Tree, is_test};

/// Lines of code, blank lines and comments left out.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Lines {
    production: usize,
    tests: usize,
}

pub(super) fn report(tree: &Tree) -> String {
    let mut crates: BTreeMap<&str, Lines> = BTreeMap::new();
    let mut longest_file = (0, String::new());
    let mut longest_function = (0, String::new());
    let mut total = Lines::default();
    for (path, text) in tree.with_ending(&["rs"]) {
        longest_file = longest_file.max((text.lines().count(), path.to_owned()));
        let masked = source::mask(text);
        let tokens = source::tokens(&masked);
        for function in source::functions(&masked, &tokens) {
            let place = format!("{path}:{} `{}`", function.line, function.name);
            longest_function = longest_function.max((function.length, place));
        }
        let counted = lines(path, &masked, &source::test_blocks(&tokens));
        for sum in [crates.entry(crate_of(path)).or_default(), &mut total] {
            sum.production += counted.production;
            sum.tests += counted.tests;
        }
    }
    let row =
        |name: &str, first: &str, second: &str| format!("{name:<20} {first:>12} {second:>12}");
    let count =
        |name: &str, sum: Lines| row(name, &sum.production.to_string(), &sum.tests.to_string());
    let mut out = vec![row("lines of code", "production", "tests")];
    out.extend(crates.iter().map(|(name, sum)| count(name, *sum)));
    out.push(count("total", total));
    let (length, file) = longest_file;
    out.push(format!("\nlongest file: {length} lines, {file}"));
    let (body, function) = longest_function;
    out.push(format!(
        "longest function: {body} lines of code, {function}\n"
    ));
    out.join("\n")
}

fn crate_of(path: &str) -> &str {
    const NESTED: &str = "mesh-api/runtime";
    if path.starts_with(NESTED) {
        return NESTED;
    }
    path.split('/').next().unwrap_or(path)
}

fn lines(path: &str, masked: &str, test_blocks: &[(usize, usize)]) -> Lines {
    let mut counted = Lines::default();
    for (index, _) in masked
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let number = index + 1;
        let inside = test_blocks
            .iter()
            .any(|(from, to)| (*from..=*to).contains(&number));
        if inside || is_test(path) {
            counted.tests += 1;
        } else {
            counted.production += 1;
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_and_tests_are_counted_apart() {
        let code = "//! Doc.\nfn a() {\n    1\n}\n\n#[cfg(test)]\nmod tests {\n    // why\n}\n";
        let tree = Tree::of([
            ("proxy/src/a.rs", code),
            ("proxy/tests/b.rs", "//! Doc.\nfn b() {}\n"),
            ("mesh-api/runtime/src/lib.rs", "fn c() {}\n"),
        ]);
        let report = report(&tree);
        let rows: Vec<Vec<&str>> = report
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert!(rows.contains(&vec!["proxy", "3", "4"]), "{report}");
        assert!(
            rows.contains(&vec!["mesh-api/runtime", "1", "0"]),
            "{report}"
        );
        assert!(
            report.contains("longest file: 9 lines, proxy/src/a.rs"),
            "{report}"
        );
        assert!(
            report.contains("longest function: 1 lines of code, proxy/src/a.rs:2"),
            "{report}"
        );
    }
}
