//! The protocol and its document change together: PROTOCOL.md carries the hash of the proto
//! files it describes, so a change of one without a look at the other fails here.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::Violation;
use super::tree::Tree;

/// The normative description of the protocol.
pub(super) const DOCUMENT: &str = "mesh-api/PROTOCOL.md";
const FOLDER: &str = "mesh-api/proto";
const OPEN: &str = "<!-- proto-sha256: ";
const CLOSE: &str = " -->";

pub(super) fn check(tree: &Tree) -> Vec<Violation> {
    let Some(actual) = hash(tree) else {
        return Vec::new();
    };
    let complaint = |line, advice: &str| vec![Violation::new(DOCUMENT, line, "protocol", advice)];
    let Some(document) = tree.text(DOCUMENT) else {
        return complaint(1, "describe the protocol here");
    };
    match stated(document) {
        None => complaint(
            1,
            "run `cargo xtask tidy --bless` to tie the text to the proto files",
        ),
        Some((_, hex)) if hex == actual => Vec::new(),
        Some((line, _)) => complaint(
            line,
            "the proto files changed: bring this text up to date, then `cargo xtask tidy --bless`",
        ),
    }
}

/// Writes the present hash into the document. Returns whether that changed it.
pub(super) fn bless(root: &Path, tree: &Tree) -> Result<bool> {
    let document = tree
        .text(DOCUMENT)
        .with_context(|| format!("{DOCUMENT} does not exist"))?;
    let actual = hash(tree).with_context(|| format!("no proto files in {FOLDER}"))?;
    let blessed = with_hash(document, &actual);
    if blessed == document {
        return Ok(false);
    }
    fs::write(root.join(DOCUMENT), blessed).with_context(|| DOCUMENT.to_owned())?;
    Ok(true)
}

/// SHA-256 over the contents of all proto files, in the order of their paths.
fn hash(tree: &Tree) -> Option<String> {
    let mut files = tree
        .with_ending(&["proto"])
        .filter(|(path, _)| path.starts_with(FOLDER));
    let first = files.next()?;
    let mut digest = Sha256::new();
    for (_, text) in std::iter::once(first).chain(files) {
        digest.update(text.as_bytes());
    }
    let bytes = digest.finalize();
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles
        .map(|nibble| char::from_digit(u32::from(nibble), 16))
        .collect()
}

/// The line and the hash the document states.
fn stated(document: &str) -> Option<(usize, &str)> {
    document.lines().enumerate().find_map(|(index, line)| {
        let hex = line.trim().strip_prefix(OPEN)?.strip_suffix(CLOSE)?;
        Some((index + 1, hex.trim()))
    })
}

fn with_hash(document: &str, hex: &str) -> String {
    let fresh = format!("{OPEN}{hex}{CLOSE}");
    let Some((number, _)) = stated(document) else {
        return format!("{}\n\n{fresh}\n", document.trim_end());
    };
    let mut out = String::new();
    for (index, line) in document.lines().enumerate() {
        out.push_str(if index + 1 == number { &fresh } else { line });
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTO: &str = "mesh-api/proto/mesh/v1/a.proto";

    #[test]
    fn a_blessed_document_passes_until_the_proto_changes() {
        let hex = hash(&Tree::of([(PROTO, "one")])).unwrap();
        let document = with_hash("# Protocol\n", &hex);
        assert!(check(&Tree::of([(PROTO, "one"), (DOCUMENT, &document)])).is_empty());
        let stale = check(&Tree::of([(PROTO, "two"), (DOCUMENT, &document)]));
        assert_eq!(stale.len(), 1);
        assert_eq!(stale[0].line, 3);
    }

    #[test]
    fn blessing_replaces_the_line_and_keeps_the_text() {
        let once = with_hash("# Protocol\n\nWords.\n", "aa");
        let twice = with_hash(&once, "bb");
        assert_eq!(twice, "# Protocol\n\nWords.\n\n<!-- proto-sha256: bb -->\n");
    }

    #[test]
    fn the_hash_is_that_of_the_files_one_after_the_other() {
        let tree = Tree::of([
            ("mesh-api/proto/b.proto", "c"),
            ("mesh-api/proto/a.proto", "ab"),
        ]);
        // printf abc | sha256sum
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash(&tree).as_deref(), Some(expected));
    }

    #[test]
    fn a_proto_without_a_document_is_a_violation_and_no_proto_is_none() {
        assert_eq!(check(&Tree::of([(PROTO, "one")])).len(), 1);
        assert_eq!(
            check(&Tree::of([(PROTO, "one"), (DOCUMENT, "text")])).len(),
            1
        );
        assert!(check(&Tree::default()).is_empty());
    }
}
