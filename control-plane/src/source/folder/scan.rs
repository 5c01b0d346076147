//! Finds the files of a folder and reads those that changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::parse::Broken;
use super::reconcile::Content;
use crate::crd::problem::{Problem, Severity};

/// Largest file that is read.
pub(super) const MAX_FILE_BYTES: u64 = 4 << 20;
const MAX_FILES: usize = 10_000;
const MAX_DEPTH: usize = 16;
/// File times are coarse: a file changed this recently may change again without showing it.
const COARSE_TIME: Duration = Duration::from_millis(100);

/// What tells two versions of a file apart without reading them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Remembers what the files looked like.
#[derive(Debug)]
pub(super) struct Scanner {
    root: PathBuf,
    known: BTreeMap<Arc<str>, Option<Fingerprint>>,
}

/// What one look at the folder found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Files that are new, different or gone, in order of their names.
    pub(super) found: Vec<(Arc<str>, Content)>,
    /// What is wrong with the folder and the folders in it.
    pub(super) troubles: Vec<Problem>,
    /// A file was being written while it was read; look again soon.
    pub(super) unsteady: bool,
    /// A folder could not be listed.
    pub(super) unlisted: bool,
}

/// The files seen by one look.
#[derive(Default)]
struct Listing {
    files: BTreeMap<Arc<str>, PathBuf>,
    visited: BTreeSet<(u64, u64)>,
    /// Folders that could not be listed: nothing is known about what is below them.
    unlisted: Vec<String>,
    troubles: Vec<Problem>,
}

impl Scanner {
    /// Looks at a folder that has not been looked at before.
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            root,
            known: BTreeMap::new(),
        }
    }

    /// Reads what changed since the last look, and the files in `touched` in any case.
    pub(super) fn scan(&mut self, touched: &BTreeSet<PathBuf>) -> Scan {
        let mut listing = Listing::default();
        listing.list(&self.root, "", 0);
        let mut scan = Scan {
            troubles: std::mem::take(&mut listing.troubles),
            ..Scan::default()
        };
        for (place, path) in &listing.files {
            self.look(place, path, touched.contains(path), &mut scan);
        }
        scan.unlisted = !listing.unlisted.is_empty();
        let hidden = |place: &str| {
            listing
                .unlisted
                .iter()
                .any(|folder| place.starts_with(folder))
        };
        self.known.retain(|place, _| {
            let stays = listing.files.contains_key(place) || hidden(place);
            if !stays {
                scan.found.push((Arc::clone(place), Content::Missing));
            }
            stays
        });
        scan.found.sort_by(|a, b| a.0.cmp(&b.0));
        scan
    }

    fn look(&mut self, place: &Arc<str>, path: &Path, touched: bool, scan: &mut Scan) {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            // It went away between the listing and now; the next look will see that.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                scan.unsteady = true;
                return;
            }
            Err(error) => {
                scan.found
                    .push((Arc::clone(place), Content::Unusable(unreadable(&error))));
                return;
            }
        };
        let fingerprint = Fingerprint::of(&metadata);
        if !touched && self.known.get(place) == Some(&Some(fingerprint)) {
            return;
        }
        if metadata.len() > MAX_FILE_BYTES {
            let broken = Broken::file(
                format!(
                    "{} bytes are more than the {MAX_FILE_BYTES} a file may have",
                    metadata.len()
                ),
                "spread the documents over several files",
            );
            scan.found
                .push((Arc::clone(place), Content::Unusable(broken)));
            self.known.insert(Arc::clone(place), Some(fingerprint));
            return;
        }
        match read(path) {
            Ok(bytes) => {
                let after = fs::metadata(path)
                    .ok()
                    .map(|metadata| Fingerprint::of(&metadata));
                if after != Some(fingerprint) {
                    scan.unsteady = true;
                    self.known.entry(Arc::clone(place)).or_insert(None);
                    return;
                }
                let settled = !is_recent(&metadata);
                self.known
                    .insert(Arc::clone(place), settled.then_some(fingerprint));
                scan.found.push((Arc::clone(place), Content::Bytes(bytes)));
            }
            Err(error) => {
                self.known.insert(Arc::clone(place), None);
                scan.found
                    .push((Arc::clone(place), Content::Unusable(unreadable(&error))));
            }
        }
    }
}

impl Listing {
    fn list(&mut self, folder: &Path, prefix: &str, depth: usize) {
        let mut entries = match read_folder(folder) {
            Ok(entries) => entries,
            Err(error) => {
                let hint = "make it readable; until then its objects stay as they are";
                self.trouble(prefix, &format!("cannot be listed: {error}"), hint);
                self.unlisted.push(prefix.to_owned());
                return;
            }
        };
        entries.sort();
        for name in entries {
            if self.files.len() >= MAX_FILES {
                self.trouble(
                    prefix,
                    &format!("more than {MAX_FILES} files; the rest is left out"),
                    "use fewer files",
                );
                return;
            }
            let path = folder.join(&name);
            let Ok(metadata) = fs::metadata(&path) else {
                continue;
            };
            if metadata.is_dir() {
                self.enter(&path, &metadata, &format!("{prefix}{name}/"), depth);
            } else if metadata.is_file() && is_config(&name) {
                self.files
                    .insert(Arc::from(format!("{prefix}{name}")), path);
            }
        }
    }

    fn enter(&mut self, folder: &Path, metadata: &Metadata, prefix: &str, depth: usize) {
        // A folder is entered once, however many links lead to it; that also ends loops.
        if !self.visited.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        if depth >= MAX_DEPTH {
            self.trouble(
                prefix,
                &format!("is nested more than {MAX_DEPTH} deep and left out"),
                "move it up",
            );
            return;
        }
        self.list(folder, prefix, depth + 1);
    }

    fn trouble(&mut self, prefix: &str, message: &str, hint: &str) {
        let folder = if prefix.is_empty() {
            "the folder"
        } else {
            prefix
        };
        let problem = Problem::new(Severity::Error, format!("{folder} {message}")).hint(hint);
        self.troubles.push(problem);
    }
}

/// The names in a folder, without those that editors, version control and Kubernetes hide.
fn read_folder(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        if let Ok(name) = entry?.file_name().into_string()
            && !name.starts_with('.')
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn is_config(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension.eq_ignore_ascii_case(known))
    })
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read;
    let mut bytes = Vec::new();
    // The length may have grown since it was looked at.
    fs::File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> Broken {
    Broken::file(format!("cannot be read: {error}"), "make it readable")
}

fn is_recent(metadata: &Metadata) -> bool {
    metadata
        .modified()
        .ok()
        .and_then(|modified| SystemTime::now().duration_since(modified).ok())
        .is_none_or(|age| age < COARSE_TIME)
}
