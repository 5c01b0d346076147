//! What the folder holds, as a state machine without I/O: contents of files in, batches out.
//!
//! Files are written by editors and scripts, so what is read may be half of what is meant. What
//! looks whole takes effect at once. What looks unfinished (broken, cut off, empty, gone) is only
//! believed after it has stayed so for a while, and an object missing from its file is only
//! removed after it has been missing for a while. Until then the last good version stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Start;
use super::file::{Entry, File, Seen};
use super::parse::Broken;
use super::settings::settings;
use crate::crd::problem::{Problem, Severity};
use crate::crd::{Object, Selects};
use crate::meta::ObjectKey;
use crate::model::kept::{Formers, KeptSettings};
use crate::model::{Change, Kept};
use crate::source::mesh_config::Resolved;
use crate::source::{Batch, MeshReading, Origin, PlaceReports, Report};

/// What was found at a place.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// The file is there.
    Bytes(Vec<u8>),
    /// The file is there but cannot be read or used.
    Unusable(Broken),
    /// The file is gone.
    Missing,
}

/// The state of a folder.
#[derive(Debug)]
pub(super) struct Reconciler {
    settle: Duration,
    started: bool,
    /// Something may be different since the last batch.
    dirty: bool,
    /// A folder could not be listed, so that nobody knows what is in it.
    blind: bool,
    files: BTreeMap<Arc<str>, File>,
    /// Troubles of folders and of the watch itself, by place.
    notices: BTreeMap<Arc<str>, Vec<Report>>,
    /// What was last sent.
    live: BTreeMap<ObjectKey, Result<Object, Selects>>,
    reported: BTreeMap<Arc<str>, Vec<Report>>,
    root_namespace: String,
    /// The last good values of the settings.
    settings: Option<KeptSettings>,
    /// The settings last sent.
    mesh: Option<Arc<MeshReading>>,
    /// What was kept before the start, until it is passed on.
    kept: Option<Arc<Kept>>,
    /// What was kept of files, until they are first seen.
    entries_kept: BTreeMap<Arc<str>, Vec<Entry>>,
    /// The versions that count for newer ones, as last sent.
    formers: Formers,
}

impl Reconciler {
    /// An empty folder. `settle` is how long something doubtful has to stay to be believed;
    /// `start` is what the mesh started with.
    pub(super) fn new(settle: Duration, start: Start) -> Self {
        let mut entries_kept: BTreeMap<Arc<str>, Vec<Entry>> = BTreeMap::new();
        for (file, entry) in start.kept.formers.iter().filter_map(Entry::kept) {
            entries_kept.entry(file).or_default().push(entry);
        }
        Self {
            settle,
            started: false,
            dirty: false,
            blind: false,
            files: BTreeMap::new(),
            notices: BTreeMap::new(),
            live: BTreeMap::new(),
            reported: BTreeMap::new(),
            root_namespace: start.root_namespace,
            settings: start.kept.settings.clone(),
            mesh: None,
            kept: Some(Arc::new(start.kept)),
            entries_kept,
            formers: Formers::new(),
        }
    }

    /// Takes in what was found at a place.
    pub(super) fn observe(&mut self, place: &Arc<str>, content: Content, now: Instant) {
        if !self.files.contains_key(place) && matches!(content, Content::Missing) {
            return;
        }
        let file = self.files.entry(Arc::clone(place)).or_default();
        if let Some(kept) = self.entries_kept.remove(place) {
            file.start_with(kept);
        }
        let seen = match content {
            Content::Missing => Seen::Missing,
            Content::Unusable(broken) => Seen::Unusable(broken),
            Content::Bytes(bytes) if file.believes(&bytes) => {
                self.dirty |= file.pending.take().is_some();
                return;
            }
            Content::Bytes(bytes) if file.waits_for(&bytes) => return,
            Content::Bytes(bytes) => Seen::read(place, bytes),
        };
        if self.started && seen.is_doubtful(place, file) {
            file.wait(seen, now + self.settle);
            self.dirty = true;
        } else {
            let until = self.started.then(|| now + self.settle);
            self.believe(place, seen, until);
        }
    }

    /// Lets time pass: what has stayed doubtful for long enough is believed.
    pub(super) fn tick(&mut self, now: Instant) {
        let due: Vec<Arc<str>> = self
            .files
            .iter()
            .filter(|(_, file)| {
                file.pending
                    .as_ref()
                    .is_some_and(|pending| pending.until <= now)
            })
            .map(|(place, _)| Arc::clone(place))
            .collect();
        for place in due {
            let pending = self
                .files
                .get_mut(&place)
                .and_then(|file| file.pending.take());
            if let Some(pending) = pending {
                self.believe(&place, pending.seen, None);
            }
        }
        for file in self.files.values_mut() {
            let before = file.entries.len();
            file.entries
                .retain(|entry| entry.leaving.is_none_or(|until| until > now));
            self.dirty |= file.entries.len() != before;
        }
    }

    /// When time next has something to decide.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.files
            .values()
            .flat_map(|file| {
                let pending = file.pending.as_ref().map(|pending| pending.until);
                pending
                    .into_iter()
                    .chain(file.entries.iter().filter_map(|entry| entry.leaving))
            })
            .min()
    }

    /// Takes in whether there is a folder that could not be listed. At a start nothing is passed
    /// on then: without what is in it the mesh might be open. Returns whether that is so.
    pub(super) fn see(&mut self, everything: bool) -> bool {
        self.blind = !everything;
        self.blind && !self.started
    }

    /// Says what is wrong with a folder or the watch; an empty list takes it back.
    pub(super) fn notice(&mut self, place: &Arc<str>, problems: Vec<Problem>) {
        let reports: Vec<Report> = problems
            .into_iter()
            .map(|problem| {
                let origin = Origin {
                    place: Arc::clone(place),
                    position: None,
                };
                Report::new(origin, None, problem)
            })
            .collect();
        if self
            .notices
            .get(place)
            .map_or(reports.is_empty(), |before| *before == reports)
        {
            return;
        }
        self.dirty = true;
        self.notices.insert(Arc::clone(place), reports);
    }

    /// Everything that is different since the last batch.
    pub(super) fn flush(&mut self) -> Batch {
        if !std::mem::take(&mut self.dirty) && self.started {
            return Batch::default();
        }
        let (resolved, said) = self.resolve();
        let mut wanted: BTreeMap<ObjectKey, Result<Object, Selects>> = BTreeMap::new();
        let mut reports = self.notices.clone();
        let winners = self.winners();
        for (key, (_, entry)) in &winners {
            wanted.insert((*key).clone(), entry.object.clone());
        }
        for (place, file) in &self.files {
            let said = reports.entry(Arc::clone(place)).or_default();
            said.extend(file.reports(place));
            for entry in file.entries.iter().filter(|entry| !file.is_weak(entry)) {
                if let Some((winner, first)) = winners.get(&entry.key)
                    && *winner != place
                {
                    said.push(duplicate(place, entry, winner, first));
                }
            }
        }
        drop(winners);
        for report in said {
            let place = Arc::clone(&report.origin.place);
            reports.entry(place).or_default().push(report);
        }
        let mut batch = Batch {
            reports: self.changed_reports(&reports),
            ..Batch::default()
        };
        self.reported = reports;
        self.reported.retain(|_, reports| !reports.is_empty());
        // Nothing is passed on before it is known what the settings are, and what there is.
        if resolved.open.is_empty() && (self.started || !self.blind) {
            batch.changes = self.changes(&wanted);
            batch.mesh = self.changed_settings(resolved.reading);
            batch.kept = self.kept.take();
            batch.formers = self.changed_formers();
            batch.initial_complete = !self.started;
            self.started = true;
            self.live = wanted;
        }
        batch
    }

    fn resolve(&self) -> (Resolved, Vec<Report>) {
        let documents = self.files.iter().flat_map(|(place, file)| {
            let maps = file.settings.iter();
            maps.filter_map(move |one| Some((place, one, one.settings.as_ref()?)))
        });
        let hidden = self.files.iter().find(|(_, file)| file.may_hide_settings());
        let hidden = hidden.map(|(place, _)| &**place);
        settings(
            documents,
            hidden,
            &self.root_namespace,
            self.settings.as_ref(),
        )
    }

    fn changed_settings(&mut self, reading: MeshReading) -> Option<Arc<MeshReading>> {
        self.settings = Some(reading.kept.clone());
        if self.mesh.as_deref() == Some(&reading) {
            return None;
        }
        let reading = Arc::new(reading);
        self.mesh = Some(Arc::clone(&reading));
        Some(reading)
    }

    fn changed_formers(&mut self) -> Option<Arc<Formers>> {
        let files = self.files.iter();
        let formers: Formers = files
            .flat_map(|(place, file)| file.formers(place))
            .collect();
        if self.formers == formers {
            return None;
        }
        self.formers.clone_from(&formers);
        Some(Arc::new(formers))
    }

    fn changes(&self, wanted: &BTreeMap<ObjectKey, Result<Object, Selects>>) -> Vec<Change> {
        let gone = self.live.keys().filter(|key| !wanted.contains_key(*key));
        let mut changes: Vec<Change> = gone.cloned().map(Change::Removed).collect();
        for (key, object) in wanted {
            if self.live.get(key) == Some(object) {
                continue;
            }
            changes.push(match object {
                Ok(object) => Change::Applied(object.clone()),
                Err(selects) => Change::Refused(key.clone(), selects.clone()),
            });
        }
        changes
    }

    fn changed_reports(&self, reports: &BTreeMap<Arc<str>, Vec<Report>>) -> Vec<PlaceReports> {
        let taken_back = self
            .reported
            .keys()
            .filter(|place| !reports.contains_key(*place))
            .map(|place| PlaceReports {
                place: Arc::clone(place),
                reports: Vec::new(),
            });
        let said = reports
            .iter()
            .filter(|(place, said)| {
                self.reported
                    .get(*place)
                    .map_or(!said.is_empty(), |before| before != *said)
            })
            .map(|(place, said)| PlaceReports {
                place: Arc::clone(place),
                reports: said.clone(),
            });
        taken_back.chain(said).collect()
    }

    /// For each object the entry that counts: a readable one before an unreadable one, one that is
    /// there to stay before one that is on its way out, then the first file by name: which of two
    /// was there first is nothing a restart would know.
    fn winners(&self) -> BTreeMap<&ObjectKey, (&Arc<str>, &Entry)> {
        let mut winners: BTreeMap<&ObjectKey, (&Arc<str>, &Entry)> = BTreeMap::new();
        // Files come by name, and the first of those that are equal otherwise stays.
        let rank = |place: &Arc<str>, entry: &Entry| {
            let weak = self
                .files
                .get(place)
                .is_some_and(|file| file.is_weak(entry));
            (entry.object.is_err(), weak)
        };
        for (place, file) in &self.files {
            for entry in &file.entries {
                let better = winners.get(&entry.key).is_none_or(|(other_place, other)| {
                    rank(place, entry) < rank(other_place, other)
                });
                if better {
                    winners.insert(&entry.key, (place, entry));
                }
            }
        }
        winners
    }

    /// Believes what was seen. Objects that are gone leave at `until`, or at once.
    fn believe(&mut self, place: &Arc<str>, seen: Seen, until: Option<Instant>) {
        self.dirty = true;
        let Some(file) = self.files.get_mut(place) else {
            return;
        };
        file.pending = None;
        match seen {
            Seen::Missing => {
                self.files.remove(place);
            }
            Seen::Unusable(broken) => file.hold(broken, None),
            Seen::Text {
                bytes,
                documents: Ok(documents),
            } => {
                file.replace(place, bytes, documents, until);
            }
            Seen::Text {
                bytes,
                documents: Err(broken),
            } => file.hold(broken, Some(bytes)),
        }
    }
}

fn duplicate(place: &Arc<str>, entry: &Entry, winner: &Arc<str>, first: &Entry) -> Report {
    let first = Origin {
        place: Arc::clone(winner),
        position: Some(first.position),
    };
    let origin = Origin {
        place: Arc::clone(place),
        position: Some(entry.position),
    };
    let message = format!("is also defined in {first}, which stays in force");
    let problem = Problem::new(Severity::Error, message).hint("remove or rename one of the two");
    Report::new(origin, Some(entry.key.clone()), problem)
}

#[cfg(test)]
mod tests;
