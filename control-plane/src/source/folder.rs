//! A folder of YAML and JSON files as a source of objects.
//!
//! One thread waits for file events, looks at the folder and feeds [`reconcile`], which decides
//! what to believe. Events only make it faster: a slow look at everything finds what they miss.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc as channel, oneshot};

use super::Batch;
use crate::crd::problem::{Problem, Severity};
use crate::model::Kept;

mod file;
mod parse;
mod reconcile;
mod scan;
mod settings;

use reconcile::Reconciler;
use scan::Scanner;

/// How patient the source is.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Quiet time after a file event before the folder is looked at.
    pub quiet: Duration,
    /// Longest wait for quiet.
    pub quiet_limit: Duration,
    /// How long something doubtful (broken, cut off, gone) has to stay to be believed.
    pub settle: Duration,
    /// Time between looks at everything while file events work.
    pub rescan: Duration,
    /// Time between looks at everything while they do not.
    pub poll: Duration,
    /// Whether to ask the system for file events at all.
    pub events: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(25),
            quiet_limit: Duration::from_millis(100),
            settle: Duration::from_millis(300),
            rescan: Duration::from_secs(2),
            poll: Duration::from_millis(250),
            events: true,
        }
    }
}

/// What a mesh in a folder starts with.
#[derive(Clone, Debug)]
pub struct Start {
    /// The namespace whose ConfigMap `istio` holds the settings of the mesh.
    pub root_namespace: String,
    /// What was kept before the start.
    pub kept: Kept,
}

impl Start {
    /// With this root namespace, and what was kept.
    pub fn new(root_namespace: &str, kept: Kept) -> Self {
        Self {
            root_namespace: root_namespace.to_owned(),
            kept,
        }
    }
}

/// Batches that may wait before the source waits for its reader.
const BATCHES: usize = 16;

/// A running watch; it ends when this is dropped.
#[derive(Debug)]
pub struct FolderWatch {
    wake: mpsc::Sender<Wake>,
    ended: Option<oneshot::Receiver<()>>,
}

#[derive(Debug)]
enum Wake {
    /// Something happened to these files.
    Touched(Vec<PathBuf>),
    /// File events were lost or do not work any more.
    Lost(String),
    /// The watch ends.
    Stop,
}

/// Watches a folder. Batches before the first complete one only hold reports; that one holds all
/// of its objects.
pub fn watch(
    folder: &Path,
    settings: Settings,
    start: Start,
) -> io::Result<(FolderWatch, channel::Receiver<Batch>)> {
    // Whoever starts with a wrong folder should hear of it now, not read a report later.
    std::fs::read_dir(folder).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("cannot read the folder {}: {error}", folder.display()),
        )
    })?;
    let folder = folder.canonicalize()?;
    let (wake, woken) = mpsc::channel();
    let (batches, receiver) = channel::channel(BATCHES);
    let sender = wake.clone();
    let (alive, ended) = oneshot::channel::<()>();
    thread::Builder::new()
        .name("folder-source".to_owned())
        .spawn(move || {
            // Dropped however this thread ends, a panic included.
            let _alive = alive;
            Watch::new(folder, settings, start, sender, batches).run(&woken);
        })?;
    let ended = Some(ended);
    Ok((FolderWatch { wake, ended }, receiver))
}

impl FolderWatch {
    /// Resolves when the watch has ended, for whatever reason. To be asked once.
    pub fn ended(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let ended = self.ended.take();
        async {
            match ended {
                // It is never sent anything, but dropped.
                Some(ended) => drop(ended.await),
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for FolderWatch {
    fn drop(&mut self) {
        // The thread may have ended by itself, when its reader went away.
        drop(self.wake.send(Wake::Stop));
    }
}

/// The thread's own state.
struct Watch {
    settings: Settings,
    scanner: Scanner,
    state: Reconciler,
    place: Arc<str>,
    batches: channel::Sender<Batch>,
    /// Kept alive for its events; none when they do not work.
    watcher: Option<RecommendedWatcher>,
    touched: BTreeSet<PathBuf>,
    /// The first and the last event since the last look.
    events: Option<(Instant, Instant)>,
    next_look: Instant,
}

impl Watch {
    fn new(
        folder: PathBuf,
        settings: Settings,
        start: Start,
        wake: mpsc::Sender<Wake>,
        batches: channel::Sender<Batch>,
    ) -> Self {
        let place: Arc<str> = Arc::from(".");
        let watcher = settings.events.then(|| start_events(&folder, wake));
        let watcher = match watcher {
            Some(Ok(watcher)) => Some(watcher),
            Some(Err(error)) => {
                tracing::warn!(%error, "no file events; the folder is polled instead");
                None
            }
            None => None,
        };
        Self {
            settings,
            scanner: Scanner::new(folder),
            state: Reconciler::new(settings.settle, start),
            place,
            batches,
            watcher,
            touched: BTreeSet::new(),
            events: None,
            next_look: Instant::now(),
        }
    }

    fn run(mut self, woken: &mpsc::Receiver<Wake>) {
        loop {
            let now = Instant::now();
            if self.look_at().is_some_and(|at| at <= now) {
                self.look(now);
            }
            self.state.tick(now);
            let batch = self.state.flush();
            // A slow reader is waited for; what happens meanwhile is found by the next look.
            if !batch.is_empty() && self.batches.blocking_send(batch).is_err() {
                return;
            }
            if self.batches.is_closed() {
                return;
            }
            let until = [self.look_at(), self.state.deadline()]
                .into_iter()
                .flatten()
                .min();
            let wait = until.map_or(self.settings.poll, |until| {
                until.saturating_duration_since(Instant::now())
            });
            match woken.recv_timeout(wait) {
                Ok(Wake::Touched(paths)) => {
                    let now = Instant::now();
                    self.touched.extend(paths);
                    self.events = Some((self.events.map_or(now, |(first, _)| first), now));
                }
                Ok(Wake::Lost(error)) => {
                    tracing::warn!(%error, "file events were lost; looking at the whole folder");
                    self.next_look = Instant::now();
                }
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// When the folder is to be looked at: some quiet after an event, or when it is time anyway.
    fn look_at(&self) -> Option<Instant> {
        let after_events = self.events.map(|(first, last)| {
            (last + self.settings.quiet).min(first + self.settings.quiet_limit)
        });
        [after_events, Some(self.next_look)]
            .into_iter()
            .flatten()
            .min()
    }

    fn look(&mut self, now: Instant) {
        let touched = std::mem::take(&mut self.touched);
        self.events = None;
        let scan = self.scanner.scan(&touched);
        let mut troubles = scan.troubles;
        if self.watcher.is_none() && self.settings.events {
            let message = format!(
                "the system gives no file events; changes take up to {} ms",
                self.settings.poll.as_millis()
            );
            let hint = "raise fs.inotify.max_user_watches and max_user_instances";
            troubles.push(Problem::new(Severity::Info, message).hint(hint));
        }
        if self.state.see(!scan.unlisted) {
            let message = "nothing is pushed until all folders could be listed once";
            troubles.push(Problem::new(Severity::Error, message).hint("make them readable"));
        }
        self.state.notice(&self.place, troubles);
        for (place, content) in scan.found {
            self.state.observe(&place, content, now);
        }
        let pause = match (scan.unsteady, &self.watcher) {
            (true, _) => self.settings.quiet,
            (false, Some(_)) => self.settings.rescan,
            (false, None) => self.settings.poll,
        };
        self.next_look = now + pause;
    }
}

fn start_events(folder: &Path, wake: mpsc::Sender<Wake>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let wakes = match event {
            Ok(event) if event.need_rescan() => Wake::Lost("too many at once".to_owned()),
            Ok(event) if is_change(event.kind) => Wake::Touched(event.paths),
            Ok(_) => return,
            Err(error) => Wake::Lost(error.to_string()),
        };
        // Nobody listens any more once the watch has ended.
        drop(wake.send(wakes));
    })?;
    watcher.watch(folder, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Reading a file is an event too; only those that may change something count.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}

#[cfg(test)]
mod tests;
