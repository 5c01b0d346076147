//! What one file holds: its objects with their last good versions, and what is wrong with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::parse::{Broken, Document, looks_unfinished, parse};
use super::settings::may_be_in;
use crate::crd::decode;
use crate::crd::problem::{Problem, Severity};
use crate::crd::{Object, Outcome, Selects};
use crate::meta::ObjectKey;
use crate::model::kept::{Former, Stood};
use crate::source::{Origin, Position, Report};

/// One object of a file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// Which object it is.
    pub(super) key: ObjectKey,
    /// Where its document stands.
    pub(super) position: Position,
    /// The last good version; if there never was one, which workloads it says it is for.
    pub(super) object: Result<Object, Selects>,
    /// That version as it was written; if there never was one, what was refused.
    raw: Arc<Value>,
    /// Whether there is a newer version in the file, and it was refused.
    outdated: bool,
    /// Set while the object is missing from the file, but that is not believed yet.
    pub(super) leaving: Option<Instant>,
}

/// What was found at the place of a file, read as far as that is possible.
#[derive(Debug)]
pub(super) enum Seen {
    /// The file is gone.
    Missing,
    /// The file is there but cannot be read or used.
    Unusable(Broken),
    /// The file, and its documents unless its syntax is broken.
    Text {
        /// The content.
        bytes: Vec<u8>,
        /// The documents.
        documents: Result<Vec<Document>, Broken>,
    },
}

impl Seen {
    /// Reads a file.
    pub(super) fn read(place: &str, bytes: Vec<u8>) -> Self {
        let documents = parse(place, &bytes);
        Self::Text { bytes, documents }
    }

    /// Whether this may be something half written rather than something meant.
    pub(super) fn is_doubtful(&self, place: &str, file: &File) -> bool {
        match self {
            Self::Missing => true,
            Self::Unusable(_) => false,
            Self::Text { bytes, documents } => {
                let emptied =
                    |documents: &Vec<Document>| documents.is_empty() && !file.entries.is_empty();
                looks_unfinished(place, bytes) || documents.as_ref().map_or(true, emptied)
            }
        }
    }
}

/// Something doubtful, and until when it has to stay to be believed.
#[derive(Debug)]
pub(super) struct Pending {
    /// What was found.
    pub(super) seen: Seen,
    /// When it is believed.
    pub(super) until: Instant,
}

/// One file.
#[derive(Debug, Default)]
pub(super) struct File {
    /// The content that is believed.
    pub(super) bytes: Option<Vec<u8>>,
    /// The objects.
    pub(super) entries: Vec<Entry>,
    /// The documents with settings of the mesh.
    pub(super) settings: Vec<Document>,
    /// What was found but is not believed yet.
    pub(super) pending: Option<Pending>,
    /// What is wrong with the file as a whole.
    broken: Option<Broken>,
    /// What there is to say about its documents.
    said: Vec<(Position, Option<ObjectKey>, Problem)>,
}

impl Entry {
    /// An entry as it was kept, with its file.
    pub(super) fn kept(former: &Former) -> Option<(Arc<str>, Self)> {
        let stood = former.stood.as_ref()?;
        let decoded = former.decoded();
        let object = match decoded.object() {
            Some(object) => Ok(object.clone()),
            None => decoded.instead(None).ok_or(decoded.selects),
        };
        let entry = Self {
            key: former.key.clone(),
            position: Position {
                document: stood.document,
                line: stood.line,
            },
            object,
            raw: Arc::clone(&former.document),
            outdated: false,
            leaving: None,
        };
        Some((Arc::clone(&stood.file), entry))
    }
}

impl File {
    /// Whether it cannot be read and may hold settings of the mesh.
    pub(super) fn may_hide_settings(&self) -> bool {
        self.broken.is_some() && self.bytes.as_deref().is_none_or(may_be_in)
    }

    /// Whether this is the content that is believed already.
    pub(super) fn believes(&self, bytes: &[u8]) -> bool {
        self.bytes.as_deref() == Some(bytes)
    }

    /// Whether this is the content that is already being waited for.
    pub(super) fn waits_for(&self, bytes: &[u8]) -> bool {
        self.pending.as_ref().is_some_and(|pending| {
            matches!(&pending.seen, Seen::Text { bytes: waiting, .. } if waiting == bytes)
        })
    }

    /// Waits with something doubtful. A file that is still gone keeps its time.
    pub(super) fn wait(&mut self, seen: Seen, until: Instant) {
        let still_gone = matches!(seen, Seen::Missing)
            && self
                .pending
                .as_ref()
                .is_some_and(|pending| matches!(pending.seen, Seen::Missing));
        if !still_gone {
            self.pending = Some(Pending { seen, until });
        }
    }

    /// Whether an entry is on its way out, so that another file may take the object over.
    pub(super) fn is_weak(&self, entry: &Entry) -> bool {
        let emptied = self
            .pending
            .as_ref()
            .is_some_and(|pending| match &pending.seen {
                Seen::Missing => true,
                Seen::Unusable(_) => false,
                Seen::Text { documents, .. } => documents.as_ref().is_ok_and(Vec::is_empty),
            });
        emptied || entry.leaving.is_some()
    }

    /// Keeps what the file held, because what it holds now cannot be read.
    pub(super) fn hold(&mut self, broken: Broken, bytes: Option<Vec<u8>>) {
        self.broken = Some(broken);
        self.bytes = bytes;
        // Their last good values are kept key by key, so that a restart finds them, too.
        self.settings.clear();
    }

    /// Starts with what was kept of the file, as if it had been read before.
    pub(super) fn start_with(&mut self, kept: Vec<Entry>) {
        self.entries = kept;
    }

    /// The versions that count although the file does not hold them, or cannot be read.
    pub(super) fn formers(&self, place: &Arc<str>) -> impl Iterator<Item = Former> {
        let hidden = |entry: &&Entry| entry.outdated || self.broken.is_some();
        self.entries.iter().filter(hidden).map(|entry| Former {
            key: entry.key.clone(),
            document: Arc::clone(&entry.raw),
            stood: Some(Stood {
                file: Arc::clone(place),
                document: entry.position.document,
                line: entry.position.line,
            }),
        })
    }

    /// Takes over the documents of the file. Objects that are gone leave at `until`, or at once.
    pub(super) fn replace(
        &mut self,
        place: &Arc<str>,
        bytes: Vec<u8>,
        documents: Vec<Document>,
        until: Option<Instant>,
    ) {
        self.bytes = Some(bytes);
        self.broken = None;
        self.said.clear();
        let mut before = std::mem::take(&mut self.entries);
        let mut named: BTreeSet<ObjectKey> = BTreeSet::new();
        let mut unnamed = None;
        self.settings.clear();
        for document in documents {
            if document.settings.is_some() {
                self.settings.push(document);
                continue;
            }
            let Document {
                position,
                mut decoded,
                mut raw,
                settings: _,
            } = document;
            for problem in std::mem::take(&mut decoded.problems) {
                self.said.push((position, decoded.key.clone(), problem));
            }
            let Some(key) = decoded.key.clone() else {
                if decoded.outcome == Outcome::Rejected {
                    unnamed = unnamed.or(Some(position));
                }
                continue;
            };
            if !named.insert(key.clone()) {
                self.twice(place, position, key);
                continue;
            }
            let old = before
                .iter()
                .position(|entry| entry.key == key)
                .map(|at| before.remove(at));
            let mut outdated = false;
            let object = match decoded.outcome {
                Outcome::Object(object) => Ok(object),
                Outcome::Skipped => continue,
                Outcome::Rejected => {
                    let (former, written) = match old {
                        Some(old) => (old.object.ok(), Some(old.raw)),
                        None => (None, None),
                    };
                    let instead = decoded.instead(former);
                    let good = instead.as_ref().filter(|one| !one.meta().stands_in);
                    if let (Some(_), Some(written)) = (good, written) {
                        (raw, outdated) = (written, true);
                    }
                    let problem = decode::refused(instead.as_ref());
                    self.said.push((position, Some(key.clone()), problem));
                    instead.ok_or(decoded.selects)
                }
            };
            self.entries.push(Entry {
                key,
                position,
                object,
                raw,
                outdated,
                leaving: None,
            });
        }
        for mut entry in before {
            // A document without a readable name may be the object that seems to be gone.
            entry.outdated = unnamed.is_some();
            entry.leaving = match (unnamed, until) {
                (Some(position), _) => {
                    self.said
                        .push((position, Some(entry.key.clone()), perhaps()));
                    None
                }
                (None, Some(until)) => Some(entry.leaving.unwrap_or(until)),
                (None, None) => continue,
            };
            self.entries.push(entry);
        }
    }

    fn twice(&mut self, place: &Arc<str>, position: Position, key: ObjectKey) {
        let first = self
            .entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.position);
        let first = Origin {
            place: Arc::clone(place),
            position: first,
        };
        let message = format!("is also defined in {first}, which stays in force");
        let problem =
            Problem::new(Severity::Error, message).hint("remove or rename one of the two");
        self.said.push((position, Some(key), problem));
    }

    /// Everything there is to say about the file.
    pub(super) fn reports(&self, place: &Arc<str>) -> Vec<Report> {
        let origin = |position| Origin {
            place: Arc::clone(place),
            position,
        };
        if let Some(broken) = &self.broken {
            let mut reports = vec![Report::new(
                origin(broken.position),
                None,
                broken.problem.clone(),
            )];
            if !self.entries.is_empty() {
                let message = format!(
                    "the file is held back; the last good versions of its {} objects stay in force",
                    self.entries.len()
                );
                let problem = Problem::new(Severity::Warning, message);
                reports.push(Report::new(origin(None), None, problem));
            }
            return reports;
        }
        self.said
            .iter()
            .map(|(position, key, problem)| {
                Report::new(origin(Some(*position)), key.clone(), problem.clone())
            })
            .collect()
    }
}

/// What to say of an object that is gone from a file in which a document has no readable name.
fn perhaps() -> Problem {
    let message = "is not in the file any more, unless it is this document, whose name cannot be \
                   read; its last good version stays in force";
    Problem::new(Severity::Warning, message).hint("repair the document, or remove it")
}
