//! Series: the cells of one key on one worker, and the registry that knows them all.
//!
//! A worker creates a series once, under a lock, and then writes to its own cells without one.
//! A scrape takes the lock, sums every worker's cells and prints them. A series that nobody
//! wrote to for a long time is dropped; its worker notices by a flag and registers again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::labels::SeriesKey;

/// Series that nobody wrote to for this long are dropped.
const IDLE: Duration = Duration::from_hours(1);
/// A full registry looks for idle series at most this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// Series of one family; what comes on top is counted under a key that says `unknown`.
const MAX_SERIES: usize = 4_096;
/// Outcomes of one series on one worker; what comes on top is counted in coarser ones.
const MAX_OUTCOMES: usize = 64;

/// Metrics that share labels and are recorded together.
pub trait Family: fmt::Debug + 'static {
    /// The labels that are known only at the end.
    type Outcome: Copy + Ord + fmt::Debug + Send;
    /// What is counted per outcome.
    type Cells: Default + fmt::Debug + Send + Sync;

    /// A coarser outcome, of which there are few.
    fn coarse(outcome: Self::Outcome) -> Self::Outcome;
    /// A number that differs whenever something was counted, and how many things that are
    /// still running these cells began.
    fn activity(cells: &Self::Cells) -> (u64, i64);
}

/// Series by their printed labels, and what was summed per outcome.
pub(super) type Totals<O, T> = Vec<(Arc<str>, BTreeMap<O, T>)>;

type Outcomes<F> = Vec<(<F as Family>::Outcome, Arc<<F as Family>::Cells>)>;

/// What a worker shares with the registry.
#[derive(Debug)]
struct Shared<F: Family> {
    worker: usize,
    /// Set once the registry forgot these cells: nobody reads them any more.
    retired: AtomicBool,
    outcomes: Mutex<Outcomes<F>>,
}

/// The cells of one key on one worker.
#[derive(Debug)]
pub struct Series<F: Family> {
    key: SeriesKey,
    worker: usize,
    registry: Arc<Registry<F>>,
    shared: RefCell<Arc<Shared<F>>>,
    known: RefCell<Outcomes<F>>,
    /// The index of the outcome written last: mostly the next one's, too.
    last: Cell<usize>,
}

impl<F: Family> Series<F> {
    /// What the series is about.
    pub fn key(&self) -> &SeriesKey {
        &self.key
    }

    /// Runs `update` on the cells of `outcome`.
    pub(super) fn update(&self, outcome: F::Outcome, update: impl FnOnce(&F::Cells)) {
        if self.shared.borrow().retired.load(Ordering::Relaxed) {
            self.register_again();
        }
        let known = self.known.borrow();
        if let Some((found, cells)) = known.get(self.last.get())
            && *found == outcome
        {
            return update(cells);
        }
        drop(known);
        update(&self.find(outcome));
    }

    fn find(&self, outcome: F::Outcome) -> Arc<F::Cells> {
        let mut known = self.known.borrow_mut();
        let position = |known: &Outcomes<F>, outcome| known.iter().position(|(o, _)| *o == outcome);
        let mut index = position(&known, outcome);
        let mut outcome = outcome;
        if index.is_none() && known.len() >= MAX_OUTCOMES {
            outcome = F::coarse(outcome);
            index = position(&known, outcome);
        }
        let index = index.unwrap_or_else(|| {
            let cells = Arc::<F::Cells>::default();
            let shared = self.shared.borrow();
            shared.outcomes.lock().push((outcome, Arc::clone(&cells)));
            known.push((outcome, cells));
            known.len() - 1
        });
        self.last.set(index);
        known
            .get(index)
            .map(|(_, cells)| Arc::clone(cells))
            .unwrap_or_default()
    }

    fn register_again(&self) {
        let shared = self.registry.register(&self.key, self.worker);
        self.known.borrow_mut().clone_from(&shared.outcomes.lock());
        *self.shared.borrow_mut() = shared;
        self.last.set(0);
    }
}

/// All series of one family.
#[derive(Debug)]
pub struct Registry<F: Family> {
    state: Mutex<State<F>>,
    folded: AtomicU64,
    limit: usize,
}

#[derive(Debug)]
struct State<F: Family> {
    /// By labels as printed: two keys that print alike are one series.
    series: BTreeMap<Arc<str>, Entry<F>>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Entry<F: Family> {
    workers: Vec<Arc<Shared<F>>>,
    activity: u64,
    changed: Instant,
}

impl<F: Family> Default for Registry<F> {
    fn default() -> Self {
        Self::with_limit(MAX_SERIES)
    }
}

impl<F: Family> Registry<F> {
    pub(super) fn with_limit(limit: usize) -> Self {
        Self {
            state: Mutex::new(State {
                series: BTreeMap::new(),
                swept: None,
            }),
            folded: AtomicU64::new(0),
            limit,
        }
    }

    /// The series of `key` for `worker`; for a key that prints `unknown` if there are too many.
    pub(super) fn series(self: &Arc<Self>, key: &SeriesKey, worker: usize) -> Series<F> {
        let shared = self.register(key, worker);
        let known = shared.outcomes.lock().clone();
        Series {
            key: key.clone(),
            worker,
            registry: Arc::clone(self),
            shared: RefCell::new(shared),
            known: RefCell::new(known),
            last: Cell::new(0),
        }
    }

    /// Whether `key` has a place; if not, its caller counts under the folded key.
    pub(super) fn admits(&self, key: &SeriesKey) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock();
        if state.series.len() < self.limit || state.series.contains_key(key.render().as_str()) {
            return true;
        }
        if state
            .swept
            .is_none_or(|swept| now.duration_since(swept) >= SWEEP_INTERVAL)
        {
            state.sweep(now);
        }
        let admitted = state.series.len() < self.limit;
        drop(state);
        if !admitted {
            self.folded.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }

    /// How often a key found no place.
    pub fn folded(&self) -> u64 {
        self.folded.load(Ordering::Relaxed)
    }

    fn register(&self, key: &SeriesKey, worker: usize) -> Arc<Shared<F>> {
        let labels = key.render();
        let mut state = self.state.lock();
        let entry = state
            .series
            .entry(Arc::from(labels))
            .or_insert_with(|| Entry {
                workers: Vec::new(),
                activity: 0,
                changed: Instant::now(),
            });
        // Cells whose series was dropped go on counting for the next one of that worker.
        let abandoned = entry
            .workers
            .iter()
            .find(|shared| shared.worker == worker && Arc::strong_count(shared) == 1);
        if let Some(shared) = abandoned {
            return Arc::clone(shared);
        }
        let shared = Arc::new(Shared {
            worker,
            retired: AtomicBool::new(false),
            outcomes: Mutex::default(),
        });
        entry.workers.push(Arc::clone(&shared));
        shared
    }

    /// Drops what is idle and sums the rest: labels, and `sum` of each outcome's cells.
    pub(super) fn collect<T: Default>(
        &self,
        now: Instant,
        mut sum: impl FnMut(&mut T, &F::Cells),
    ) -> Totals<F::Outcome, T> {
        let mut state = self.state.lock();
        state.sweep(now);
        let mut all = Vec::with_capacity(state.series.len());
        for (labels, entry) in &state.series {
            let mut totals: BTreeMap<F::Outcome, T> = BTreeMap::new();
            for shared in &entry.workers {
                for (outcome, cells) in &*shared.outcomes.lock() {
                    sum(totals.entry(*outcome).or_default(), cells);
                }
            }
            all.push((Arc::clone(labels), totals));
        }
        all
    }
}

impl<F: Family> State<F> {
    fn sweep(&mut self, now: Instant) {
        self.swept = Some(now);
        self.series.retain(|_, entry| {
            let (activity, running) = entry.activity();
            if activity != entry.activity || running > 0 {
                entry.activity = activity;
                entry.changed = now;
                return true;
            }
            if now.saturating_duration_since(entry.changed) < IDLE {
                return true;
            }
            for shared in &entry.workers {
                shared.retired.store(true, Ordering::Relaxed);
            }
            false
        });
    }
}

impl<F: Family> Entry<F> {
    fn activity(&self) -> (u64, i64) {
        let mut all = (0_u64, 0_i64);
        for shared in &self.workers {
            for (_, cells) in &*shared.outcomes.lock() {
                let (activity, running) = F::activity(cells);
                all = (all.0.wrapping_add(activity), all.1.wrapping_add(running));
            }
        }
        all
    }
}
