//! The repository as a value: paths and their text, so that every rule is a pure function.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Endings of files whose text the rules read; of others only the path matters.
const TEXT: &[&str] = &[
    "rs", "toml", "md", "yaml", "yml", "proto", "lock", "txt", "sh",
];

/// All files of the repository by path relative to its root, with `/` between folders.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads the repository, leaving out build output and version control.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> Result<()> {
        let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            let entry = entry.with_context(|| folder.display().to_string())?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().with_context(|| path.clone())?;
            if kind.is_dir() {
                // A build folder may have any name; Cargo marks each with this file.
                let built = name == "target" || entry.path().join("CACHEDIR.TAG").exists();
                if !built && name != ".git" {
                    self.read_folder(&entry.path(), &format!("{path}/"))?;
                }
            } else if kind.is_file() {
                let text = if has_ending(&path, TEXT) {
                    let bytes = fs::read(entry.path()).with_context(|| path.clone())?;
                    String::from_utf8_lossy(&bytes).into_owned()
                } else {
                    String::new()
                };
                self.files.insert(path, text);
            }
        }
        Ok(())
    }

    /// A tree from literals, for tests.
    #[cfg(test)]
    pub(super) fn of<const N: usize>(files: [(&str, &str); N]) -> Self {
        let owned = files.map(|(path, text)| (path.to_owned(), text.to_owned()));
        Self {
            files: owned.into(),
        }
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// The text of a file.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Whether this is a file, or a folder with a file in it.
    pub(super) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        self.files.contains_key(path) || self.under(path).next().is_some()
    }

    /// The files inside a folder, at any depth.
    pub(super) fn under(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        let prefix = format!("{folder}/");
        self.files()
            .skip_while(move |(path, _)| *path < folder)
            .filter(move |(path, _)| path.starts_with(&prefix))
    }

    /// All files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The files with one of these endings.
    pub(super) fn with_ending(&self, endings: &[&str]) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| has_ending(path, endings))
    }
}

/// Whether a path ends in a dot and one of these.
pub(super) fn has_ending(path: &str, endings: &[&str]) -> bool {
    let own = Path::new(path)
        .extension()
        .and_then(|ending| ending.to_str());
    own.is_some_and(|own| endings.contains(&own))
}

/// Whether a file holds only tests.
pub(super) fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.contains("/benches/")
}
