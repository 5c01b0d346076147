//! What the repository contains is written for it: finds passages that also stand in a folder of
//! other people's text.

use std::collections::BTreeMap;

use super::Violation;
use super::tree::{Tree, has_ending};

/// As many lines in a row, blank ones left out, are no coincidence …
const LINES: usize = 5;
/// … if together they say at least this much. Short ones are syntax.
const CHARACTERS: usize = 80;

/// The first line of each passage of ours that stands in `theirs` too.
pub(super) fn check(ours: &Tree, theirs: &Tree) -> Vec<Violation> {
    let mut known: BTreeMap<Vec<&str>, &str> = BTreeMap::new();
    for (path, text) in theirs.files() {
        for (_, passage) in passages(text) {
            known.entry(passage).or_insert(path);
        }
    }
    let mut found: Vec<Violation> = Vec::new();
    for (path, text) in ours
        .files()
        .filter(|(path, _)| !has_ending(path, &["lock"]))
    {
        let mut next = 1;
        for (line, passage) in passages(text) {
            if let Some(source) = known.get(&passage)
                && line >= next
            {
                next = line + LINES;
                let advice =
                    format!("{LINES} lines from here on are those of {source}; write your own");
                found.push(Violation::new(path, line, "copied", advice));
            }
        }
    }
    found
}

/// Every passage of the text with the number of its first line.
fn passages(text: &str) -> Vec<(usize, Vec<&str>)> {
    let lines: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty())
        .collect();
    let mut found = Vec::new();
    for window in lines.windows(LINES) {
        let passage: Vec<&str> = window.iter().map(|(_, line)| *line).collect();
        let said: usize = passage.iter().map(|line| line.len()).sum();
        if let Some((number, _)) = window.first()
            && said >= CHARACTERS
        {
            found.push((*number, passage));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEIRS: &str = "\
one line that says something
a second line that says something
a third line that says something

a fourth line that says something
a fifth line that says something
";

    #[test]
    fn a_passage_is_found_whatever_its_indentation() {
        let copied = format!("//! Why.\n{}", THEIRS.replace("\na ", "\n    a "));
        let found = check(
            &Tree::of([("a.rs", &copied)]),
            &Tree::of([("their.md", THEIRS)]),
        );
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].rule), (2, "copied"));
        assert!(found[0].advice.contains("their.md"));
    }

    #[test]
    fn single_lines_and_syntax_are_nobodys() {
        let ours = THEIRS.replace("third", "different");
        assert!(check(&Tree::of([("a", &ours)]), &Tree::of([("b", THEIRS)])).is_empty());
        let syntax = "}\n".repeat(20);
        assert!(check(&Tree::of([("a", &syntax)]), &Tree::of([("b", &syntax)])).is_empty());
    }
}
