//! PROTOCOL.md is normative, so it must be about these proto files and leave none of them out.

use std::path::{Path, PathBuf};
use std::{fs, io};

use sha2::{Digest, Sha256};

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn proto_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(proto_files(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn document() -> io::Result<String> {
    fs::read_to_string(folder().join("PROTOCOL.md"))
}

#[test]
fn the_document_belongs_to_the_proto_files() {
    let mut hash = Sha256::new();
    for file in proto_files(&folder().join("proto")).unwrap() {
        hash.update(fs::read(file).unwrap());
    }
    let digits = hash.finalize().iter().fold(String::new(), |text, byte| {
        let (high, low) = (byte >> 4, byte & 15);
        format!("{text}{high:x}{low:x}")
    });
    assert!(
        document()
            .unwrap()
            .contains(&format!("<!-- proto-sha256: {digits} -->")),
        "the proto files changed: read PROTOCOL.md again, then put {digits} into it"
    );
}

#[test]
fn the_document_speaks_of_every_message_and_enum() {
    let document = document().unwrap();
    let mut names = 0;
    for file in proto_files(&folder().join("proto")).unwrap() {
        for line in fs::read_to_string(file).unwrap().lines() {
            let mut words = line.split_whitespace();
            if !matches!(words.next(), Some("message" | "enum")) {
                continue;
            }
            let name = words.next().unwrap();
            // The envelopes are what the chapters "messages of" are about.
            if matches!(name, "ProxyMessage" | "ServerMessage") {
                continue;
            }
            names += 1;
            assert!(
                document.contains(name),
                "PROTOCOL.md does not mention {name}"
            );
        }
    }
    assert!(names > 50, "only {names} messages found");
}
