//! What is wrong with the user's input, as it stands now: printed once when it appears, once when
//! it is gone, and available as a whole at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Notify, watch};

use crate::analyze;
use crate::compile::diagnostics::Diagnostic;
use crate::compile::{Compiler, ProxyScope, Uses};
use crate::crd::Severity;
use crate::meta::ObjectKey;
use crate::model::World;
use crate::push::objects::Objects;
use crate::source::{PlaceReports, Report};

/// The current findings.
#[derive(Debug)]
pub struct Board {
    state: Mutex<State>,
    /// The newest world nobody has examined yet.
    unexamined: watch::Sender<Option<Input>>,
    examined: watch::Sender<Option<Arc<Examined>>>,
    /// Told when what there is to say about places has changed.
    reported: Notify,
}

/// What is to be examined.
#[derive(Clone, Debug)]
pub struct Input {
    /// The world.
    pub world: World,
    /// The objects in it.
    pub objects: Objects,
    /// The revision of the configuration made from it.
    pub revision: u64,
    /// The proxies that are connected.
    pub proxies: Vec<ProxyScope>,
    /// What was compiled for them.
    pub compiler: Compiler,
}

/// What was examined, and what was found.
#[derive(Debug)]
pub struct Examined {
    /// What was examined.
    pub input: Input,
    /// The findings, sorted by object and field.
    pub findings: Vec<Diagnostic>,
    /// Which proxies use what.
    pub uses: Uses,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            unexamined: watch::Sender::new(None),
            examined: watch::Sender::new(None),
            reported: Notify::new(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    reports: BTreeMap<Arc<str>, Vec<Report>>,
    findings: Vec<Diagnostic>,
    printed: BTreeSet<String>,
}

/// Something found while reading a source, as `/debug/diagnostics` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct SourceFinding {
    /// `error`, `warning` or `info`.
    pub severity: String,
    /// The file, relative to the folder.
    pub file: Arc<str>,
    /// Number of the document within it, from 1.
    pub document: Option<usize>,
    /// Line the document begins at, from 1.
    pub line: Option<usize>,
    /// The object, as far as it is known.
    pub object: Option<String>,
    /// Path of the field.
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// The way out.
    pub hint: Option<String>,
}

impl From<&Report> for SourceFinding {
    fn from(report: &Report) -> Self {
        let Report {
            severity,
            origin,
            object,
            field,
            message,
            hint,
        } = report;
        Self {
            severity: severity.to_string(),
            file: Arc::clone(&origin.place),
            document: origin.position.map(|position| position.document),
            line: origin.position.map(|position| position.line),
            object: object.as_ref().map(ToString::to_string),
            field: field.clone(),
            message: message.clone(),
            hint: hint.clone(),
        }
    }
}

/// Everything on the board.
#[derive(Clone, Debug, Serialize)]
pub struct Diagnostics {
    /// What reading the sources found.
    pub sources: Vec<SourceFinding>,
    /// What compiling the objects found.
    pub objects: Vec<Diagnostic>,
}

impl Board {
    /// What reading some places found: per place, the whole current set.
    pub fn replace_reports(&self, places: Vec<PlaceReports>) {
        if places.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for PlaceReports { place, reports } in places {
            if reports.is_empty() {
                state.reports.remove(&place);
            } else {
                state.reports.insert(place, reports);
            }
        }
        state.print();
        self.reported.notify_one();
    }

    /// Asks for the findings about a world. Worlds that follow each other fast are skipped: the
    /// newest is the one that counts.
    pub fn examine(&self, input: Input) {
        self.unexamined.send_replace(Some(input));
    }

    /// The newest world that has been examined.
    pub fn examined(&self) -> watch::Receiver<Option<Arc<Examined>>> {
        self.examined.subscribe()
    }

    /// Waits until what there is to say about places has changed. For one waiter.
    pub async fn reports_changed(&self) {
        self.reported.notified().await;
    }

    /// Everything there is to say about the sources of mesh objects, by object.
    pub fn reports_by_object(&self) -> BTreeMap<ObjectKey, Vec<Report>> {
        let mut by_object: BTreeMap<ObjectKey, Vec<Report>> = BTreeMap::new();
        for report in self.state.lock().reports.values().flatten() {
            let object = report.object.as_ref();
            if let Some(key) = object.filter(|key| key.kind.is_mesh_resource()) {
                by_object
                    .entry(key.clone())
                    .or_default()
                    .push(report.clone());
            }
        }
        by_object
    }

    /// Examines worlds, one at a time and away from the push loop, for as long as the board lives.
    pub async fn examiner(self: Arc<Self>) {
        let mut worlds = self.unexamined.subscribe();
        while worlds.changed().await.is_ok() {
            let Some(mut input) = worlds.borrow_and_update().clone() else {
                continue;
            };
            let examining = tokio::task::spawn_blocking(move || {
                let mut compiler = std::mem::take(&mut input.compiler);
                let found = analyze::examine_with(&input.world, &mut compiler, &input.proxies);
                (input, found)
            });
            match examining.await {
                Ok((input, (findings, uses))) => {
                    crate::metrics::conflicts(&findings);
                    let mut state = self.state.lock();
                    state.findings.clone_from(&findings);
                    state.print();
                    drop(state);
                    let examined = Examined {
                        input,
                        findings,
                        uses,
                    };
                    self.examined.send_replace(Some(Arc::new(examined)));
                }
                Err(error) => tracing::error!(%error, "the analysis of the objects failed"),
            }
        }
    }

    /// What the newest world that was examined keeps, as it is stored.
    pub fn kept(&self) -> serde_json::Value {
        let examined = self.examined.borrow();
        let kept = examined.as_ref().map(|one| one.input.world.kept());
        kept.map(|kept| kept.to_document().0).unwrap_or_default()
    }

    /// Everything on the board.
    pub fn diagnostics(&self) -> Diagnostics {
        let state = self.state.lock();
        Diagnostics {
            sources: state
                .reports
                .values()
                .flatten()
                .map(SourceFinding::from)
                .collect(),
            objects: state.findings.clone(),
        }
    }
}

impl State {
    fn print(&mut self) {
        let mut now = BTreeSet::new();
        let reports = self
            .reports
            .values()
            .flatten()
            .map(|report| (report.severity, report.to_string()));
        let findings = self
            .findings
            .iter()
            .map(|finding| (finding.severity(), finding.to_string()));
        let mut counts = [0_u32; 3];
        for (severity, text) in reports.chain(findings) {
            let index = match severity {
                Severity::Error => 0,
                Severity::Warning => 1,
                Severity::Info => 2,
            };
            if let Some(count) = counts.get_mut(index) {
                *count += 1;
            }
            if !self.printed.contains(&text) {
                match severity {
                    Severity::Error => tracing::error!("{text}"),
                    Severity::Warning => tracing::warn!("{text}"),
                    Severity::Info => tracing::info!("{text}"),
                }
            }
            now.insert(text);
        }
        for gone in self.printed.difference(&now) {
            tracing::info!("resolved: {gone}");
        }
        self.printed = now;
        for (severity, count) in ["error", "warning", "info"].into_iter().zip(counts) {
            metrics::gauge!("mesh_diagnostics", "severity" => severity).set(f64::from(count));
        }
    }
}
