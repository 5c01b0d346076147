//! Everything that is watched, put together into batches. No I/O and no clock of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::credentials::{self, SecretName, Use, Verdict};
use super::kept;
use super::mesh_config;
use super::objects::{self, Objects};
use super::resources::resource;
use super::single::Single;
use super::trouble::Trouble;
use super::{Observed, Settings};
use crate::crd::Kind;
use crate::crd::problem::Problem;
use crate::meta::ObjectKey;
use crate::model::Kept;
use crate::source::{Batch, MeshReading, Origin, PlaceReports, Report};

/// Where all reports of this source stand.
const PLACE: &str = "kubernetes";

/// The state of everything that is watched.
#[derive(Debug)]
pub(super) struct Reconciler {
    objects: Objects,
    mesh: mesh_config::State,
    mesh_name: String,
    kept: kept::State,
    kept_name: String,
    leading: watch::Receiver<bool>,
    /// What is kept elsewhere and has not been passed on.
    adopted: Option<Arc<Kept>>,
    secrets: BTreeMap<SecretName, Secret>,
    /// What was last sent.
    started: bool,
    reported: BTreeMap<Arc<str>, Vec<Report>>,
    /// The places of these that are not about the objects themselves.
    troubled: BTreeSet<Arc<str>>,
    /// What has to be looked at before the next batch.
    look: Look,
}

#[derive(Debug, Default)]
struct Look {
    settings: bool,
    troubles: bool,
    secrets: bool,
}

#[derive(Debug)]
struct Secret {
    uses: Vec<Use>,
    state: SecretState,
}

/// What is known of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SecretState {
    Unknown,
    Absent,
    Examined(Verdict),
    Unreadable(Trouble),
}

impl Reconciler {
    /// Nothing is known yet.
    pub(super) fn new(kinds: impl IntoIterator<Item = Kind>, settings: &Settings) -> Self {
        Self {
            objects: Objects::new(kinds, &settings.root_namespace, settings.timing.settle),
            mesh: mesh_config::State::default(),
            mesh_name: format!(
                "ConfigMap {}/{}",
                settings.root_namespace, settings.mesh_config
            ),
            kept: kept::State::default(),
            kept_name: format!("ConfigMap {}/{}", settings.root_namespace, settings.kept),
            leading: settings.leading.clone(),
            adopted: None,
            secrets: BTreeMap::new(),
            started: false,
            reported: BTreeMap::new(),
            troubled: BTreeSet::new(),
            look: Look::default(),
        }
    }

    /// Takes in something that was observed.
    pub(super) fn take(&mut self, observed: Observed, now: Instant) {
        match observed {
            Observed::Objects(kind, step) => {
                // Which Secrets are named depends on Gateways and on where their pods are.
                let concerns_secrets = matches!(kind, Kind::Gateway | Kind::Pod)
                    && !matches!(step, objects::Step::Watching | objects::Step::Listing);
                self.look.secrets |= concerns_secrets;
                self.look.troubles |= self.objects.take(kind, step, now);
            }
            Observed::MeshConfig(step) => {
                let news = self.mesh.take(step);
                self.settings_news(news);
            }
            Observed::Kept(step) => self.take_kept(step),
            Observed::Secret(name, step) => self.take_secret(&name, step),
        }
    }

    fn take_kept(&mut self, step: Single<kept::Content>) {
        let news = self.kept.take(step);
        self.look.troubles |= news.reports;
        // Whoever stores it knows what is newer than what was stored.
        let knows_better = self.started && *self.leading.borrow();
        if let Some(kept) = news.kept.filter(|_| !knows_better) {
            let news = self.mesh.adopt(kept.settings.as_ref());
            self.settings_news(news);
            self.objects.adopt(&kept.formers);
            self.adopted = Some(kept);
        }
    }

    fn settings_news(&mut self, news: mesh_config::News) {
        self.look.settings |= news.settings;
        self.look.troubles |= news.reports;
        if news.settings
            && let Some(reading) = self.mesh.in_force()
        {
            self.objects.select(&reading.config.discovery_selectors);
        }
    }

    fn take_secret(&mut self, name: &SecretName, step: Single<Verdict>) {
        let Some(secret) = self.secrets.get_mut(name) else {
            return;
        };
        let state = match step {
            Single::There(verdict) => SecretState::Examined(verdict),
            Single::Absent => SecretState::Absent,
            // Only what was not readable for a while is news: the rest stands.
            Single::Watching => return,
            Single::Failed(trouble) if trouble.is_general() => return,
            Single::Failed(trouble) => SecretState::Unreadable(trouble),
        };
        self.look.troubles |= secret.state != state;
        secret.state = state;
    }

    /// The Secrets to watch, if they may be others than before.
    pub(super) fn secrets(&mut self) -> Option<BTreeSet<SecretName>> {
        if !std::mem::take(&mut self.look.secrets) || !self.objects.is_complete() {
            return None;
        }
        let mut former = std::mem::take(&mut self.secrets);
        for (name, uses) in credentials::named(&self.objects) {
            let state = former
                .remove(&name)
                .map_or(SecretState::Unknown, |secret| secret.state);
            self.secrets.insert(name, Secret { uses, state });
        }
        self.look.troubles = true;
        Some(self.secrets.keys().cloned().collect())
    }

    /// Whether the initial state is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.mesh.in_force().is_some() && self.kept.known && self.objects.is_complete()
    }

    /// What the start still waits for.
    pub(super) fn waits_for(&self) -> Vec<String> {
        let settings = self.mesh.waits_for(&self.mesh_name);
        let kept = (!self.kept.known).then(|| self.kept_name.clone());
        let kinds = self.objects.waits_for().map(resource);
        settings.into_iter().chain(kept).chain(kinds).collect()
    }

    /// The settings in force; none while it is not known what they are.
    pub(super) fn settings(&self) -> Option<&MeshReading> {
        self.mesh.in_force()
    }

    /// The ConfigMap the settings come from.
    pub(super) fn settings_uid(&self) -> Option<&str> {
        self.mesh.uid()
    }

    /// What could not be read of the settings, and what is not acted on.
    pub(super) fn settings_problems(&self) -> &[Problem] {
        self.mesh.problems()
    }

    /// Everything that is different since the last batch. Objects are held back until all of
    /// them are known; what is wrong is told at once.
    pub(super) fn flush(&mut self) -> Batch {
        let mut batch = Batch::default();
        if std::mem::take(&mut self.look.troubles) {
            let said = self.troubles();
            self.replace_reports(said, &mut batch.reports);
        }
        if !self.is_complete() {
            return batch;
        }
        batch.initial_complete = !self.started;
        self.started = true;
        if std::mem::take(&mut self.look.settings) {
            batch.mesh = self.mesh.in_force().cloned().map(Arc::new);
        }
        batch.kept = self.adopted.take();
        batch.formers = self.objects.formers();
        let (changes, said) = self.objects.changes();
        batch.changes = changes;
        for (key, problems) in said {
            self.report(
                objects::place(&key),
                Some(&key),
                problems,
                &mut batch.reports,
            );
        }
        batch
    }

    /// Everything there is to say but about the objects themselves, by place.
    fn troubles(&self) -> BTreeMap<Arc<str>, Vec<Report>> {
        let mut said: BTreeMap<Arc<str>, Vec<Report>> = BTreeMap::new();
        let mut general: Option<&Trouble> = None;
        let watches = self.objects.troubles();
        let watches = watches.map(|(kind, trouble)| (resource(kind), trouble));
        let settings = self.mesh.trouble().map(|one| (self.mesh_name.clone(), one));
        let kept = self.kept.trouble().map(|one| (self.kept_name.clone(), one));
        for (name, trouble) in watches.chain(settings).chain(kept) {
            if trouble.is_general() {
                general.get_or_insert(trouble);
                continue;
            }
            let place = Arc::from(format!("{PLACE}/watch/{name}"));
            said.insert(place, vec![report(None, trouble.problem(&name))]);
        }
        if let Some(trouble) = general {
            let place = Arc::from("kubernetes/api-server");
            said.insert(place, vec![report(None, trouble.problem("resources"))]);
        }
        let of = |name: &str, problems: &[Problem]| {
            let named = problems.iter().cloned().map(|mut problem| {
                problem.message = format!("{name} {}", problem.message);
                if let Some(field) = &problem.field {
                    problem.message = format!("{}: {field}", problem.message);
                }
                report(None, problem)
            });
            named.collect()
        };
        let settings = of(&self.mesh_name, self.mesh.problems());
        said.insert(Arc::from("kubernetes/mesh-config"), settings);
        let kept = of(&self.kept_name, self.kept.problems());
        said.insert(Arc::from("kubernetes/kept"), kept);
        for (name, secret) in &self.secrets {
            let what = match &secret.state {
                SecretState::Unknown | SecretState::Examined(Ok(())) => continue,
                SecretState::Absent => "does not exist".to_owned(),
                SecretState::Examined(Err(reason)) => reason.clone(),
                SecretState::Unreadable(trouble) => {
                    let problem = trouble.problem("Secrets");
                    format!("cannot be read: {}", problem.message)
                }
            };
            for one in &secret.uses {
                let problem = credentials::problem(name, &what).at(&one.field);
                said.entry(credentials::place(&one.gateway))
                    .or_default()
                    .push(report(Some(&one.gateway), problem));
            }
        }
        said
    }

    /// Replaces everything that was said but about the objects themselves.
    fn replace_reports(
        &mut self,
        mut said: BTreeMap<Arc<str>, Vec<Report>>,
        out: &mut Vec<PlaceReports>,
    ) {
        for place in std::mem::take(&mut self.troubled) {
            said.entry(place).or_default();
        }
        for (place, reports) in said {
            if !reports.is_empty() {
                self.troubled.insert(Arc::clone(&place));
            }
            self.tell(place, reports, out);
        }
    }

    fn report(
        &mut self,
        place: Arc<str>,
        object: Option<&ObjectKey>,
        problems: Vec<Problem>,
        out: &mut Vec<PlaceReports>,
    ) {
        let reports = problems
            .into_iter()
            .map(|problem| report(object, problem))
            .collect();
        self.tell(place, reports, out);
    }

    /// Says what there is to say about a place, unless that was said already.
    fn tell(&mut self, place: Arc<str>, reports: Vec<Report>, out: &mut Vec<PlaceReports>) {
        let before = self.reported.get(&place).map(Vec::as_slice);
        if before.unwrap_or_default() == reports {
            return;
        }
        if reports.is_empty() {
            self.reported.remove(&place);
        } else {
            self.reported.insert(Arc::clone(&place), reports.clone());
        }
        out.push(PlaceReports { place, reports });
    }
}

fn report(object: Option<&ObjectKey>, problem: Problem) -> Report {
    let origin = Origin {
        place: Arc::from(PLACE),
        position: None,
    };
    Report::new(origin, object.cloned(), problem)
}
