//! Rules on examples and YAML: an example that no test runs is a promise nobody keeps.

use std::collections::BTreeSet;

use super::Violation;
use super::tree::{Tree, has_ending};

const FOLDER: &str = "examples";
const YAML: &[&str] = &["yaml", "yml"];
const CODE: &[&str] = &["src", "tests", "benches", "target"];

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.with_ending(YAML) {
        for (index, _) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains('\t'))
        {
            let advice = "replace the tab by blanks; YAML does not indent by tabs";
            found.push(Violation::new(path, index + 1, "yaml-tab", advice));
        }
    }
    let tests: String = tree.under("examples/tests").map(|(_, text)| text).collect();
    for folder in folders(tree) {
        let readme = format!("{FOLDER}/{folder}/README.md");
        let mut complain = |advice: &str| {
            found.push(Violation::new(&readme, 1, "example", advice));
        };
        if !tree.has(&readme) {
            complain("say what the example shows and what to expect");
        }
        if !tree
            .under(&format!("{FOLDER}/{folder}"))
            .any(|(path, _)| has_ending(path, YAML))
        {
            complain("add the YAML this example is about");
        }
        // A test names the folder as a string of its own or as a step of a path.
        let named = [('"', '"'), ('/', '"'), ('"', '/'), ('/', '/')]
            .iter()
            .any(|(before, after)| tests.contains(&format!("{before}{folder}{after}")));
        if !named {
            complain("add a test under examples/tests that loads this folder");
        }
    }
    found
}

/// The folders that are examples: those with a README or YAML, code left out.
fn folders(tree: &Tree) -> BTreeSet<&str> {
    tree.under(FOLDER)
        .filter(|(path, _)| path.ends_with("/README.md") || has_ending(path, YAML))
        .filter_map(|(path, _)| path.strip_prefix("examples/")?.split_once('/'))
        .map(|(folder, _)| folder)
        .filter(|folder| !CODE.contains(folder))
        .collect()
}
