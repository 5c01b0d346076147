//! A log's way out, that can never hold up or end who writes to it: bounded queues, and one thread
//! that takes lines from all of them and writes.
//!
//! Where the reader stalls (a full disk, a pipe nobody reads) the queues fill, and lines are dropped
//! and counted. Where it has gone away, writing fails, which is counted too, and is tried again with
//! the next line.

use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Lines of one lane that may wait.
const LANE: usize = 4_096;
/// Bytes of all lanes that may wait; long lines must not add up to much memory.
const MAX_WAITING: usize = 4 << 20;
/// Written in one go.
const BATCH: usize = 64 << 10;
/// After a batch the thread lets lines gather, so that a line rarely costs a wake-up.
const GATHER: Duration = Duration::from_millis(5);
/// How long the thread sleeps when nothing comes; it is woken when something does.
const DOZE: Duration = Duration::from_secs(5);
/// How long to wait before offering the rest to an output that is not ready, or failed.
const RETRY: Duration = Duration::from_millis(20);
/// How often a flush looks.
const LOOK: Duration = Duration::from_millis(2);

struct Shared {
    lanes: Mutex<Vec<Receiver<Box<[u8]>>>>,
    waiting: AtomicUsize,
    dropped: AtomicU64,
    dozing: AtomicBool,
    thread: OnceLock<Thread>,
}

/// The writing thread; it ends when this is gone and everything was written.
pub struct Writer {
    shared: Arc<Shared>,
    ended: Arc<AtomicBool>,
}

/// One queue to it.
pub struct Lane {
    sender: SyncSender<Box<[u8]>>,
    shared: Arc<Shared>,
}

impl Writer {
    /// Starts a thread of this name that writes to `output`.
    pub fn start(name: &str, output: impl Write + Send + 'static) -> io::Result<Arc<Self>> {
        let shared = Arc::new(Shared {
            lanes: Mutex::default(),
            waiting: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            dozing: AtomicBool::new(false),
            thread: OnceLock::new(),
        });
        let ended = Arc::new(AtomicBool::new(false));
        let (theirs, end) = (Arc::clone(&shared), Arc::clone(&ended));
        let handle = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&theirs, &end, output))?;
        // Only this call sets it.
        let _first = shared.thread.set(handle.thread().clone());
        Ok(Arc::new(Self { shared, ended }))
    }

    /// One more queue; lines of one stay in order.
    pub fn lane(&self) -> Lane {
        let (sender, receiver) = sync_channel(LANE);
        self.shared.lanes().push(receiver);
        Lane {
            sender,
            shared: Arc::clone(&self.shared),
        }
    }

    /// Lines that were not written: a queue was full, or writing failed.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until every line offered so far was written, at most `limit`; whether it was.
    pub async fn flush(&self, limit: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + limit;
        while self.is_behind() {
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    /// As [`Writer::flush`], on a thread that may block.
    pub fn flush_blocking(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while self.is_behind() {
            if Instant::now() >= deadline {
                return false;
            }
            pause(LOOK);
        }
        true
    }

    fn is_behind(&self) -> bool {
        self.shared.waiting.load(Ordering::SeqCst) > 0
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        self.shared.wake();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("waiting", &self.shared.waiting)
            .field("dropped", &self.shared.dropped)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

impl Lane {
    /// Queues a copy of `line`, or drops and counts it. Never waits.
    pub fn offer(&self, line: &[u8]) {
        let shared = &self.shared;
        let fits = shared.waiting.load(Ordering::Relaxed) + line.len() <= MAX_WAITING;
        if fits {
            shared.waiting.fetch_add(line.len(), Ordering::SeqCst);
            if self.sender.try_send(Box::from(line)).is_ok() {
                if shared.dozing.load(Ordering::SeqCst) {
                    shared.wake();
                }
                return;
            }
            shared.waiting.fetch_sub(line.len(), Ordering::SeqCst);
        }
        shared.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl Shared {
    fn lanes(&self) -> std::sync::MutexGuard<'_, Vec<Receiver<Box<[u8]>>>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Moves lines into `batch`; how many.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let mut lines = 0;
        for lane in &*self.lanes() {
            while batch.len() < BATCH
                && let Ok(line) = lane.try_recv()
            {
                batch.extend_from_slice(&line);
                lines += 1;
            }
        }
        lines
    }
}

fn run(shared: &Shared, ended: &AtomicBool, mut output: impl Write) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut torn = false;
    loop {
        batch.clear();
        let lines = shared.take(&mut batch);
        if lines == 0 {
            if ended.load(Ordering::SeqCst) {
                return;
            }
            doze(shared, ended);
            continue;
        }
        let size = batch.len();
        if torn {
            // The last batch broke off within a line.
            batch.insert(0, b'\n');
        }
        match write_all(&mut output, &batch, ended) {
            Ok(()) => torn = false,
            Err(part) => {
                torn = part > 0 || torn;
                shared.dropped.fetch_add(lines, Ordering::Relaxed);
                pause(RETRY);
            }
        }
        shared.waiting.fetch_sub(size, Ordering::SeqCst);
        if size < BATCH && !ended.load(Ordering::SeqCst) {
            pause(GATHER);
        }
    }
}

fn doze(shared: &Shared, ended: &AtomicBool) {
    shared.dozing.store(true, Ordering::SeqCst);
    // A line offered before the flag was seen would not wake anybody: look once more.
    let nothing = shared.waiting.load(Ordering::SeqCst) == 0;
    if nothing && !ended.load(Ordering::SeqCst) {
        thread::park_timeout(DOZE);
    }
    shared.dozing.store(false, Ordering::SeqCst);
}

/// Sleeps for `time`, whatever wakes the thread.
fn pause(time: Duration) {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

/// Writes everything; on failure says how much was written.
fn write_all(output: &mut impl Write, batch: &[u8], ended: &AtomicBool) -> Result<(), usize> {
    let mut written = 0;
    while let Some(rest) = batch.get(written..).filter(|rest| !rest.is_empty()) {
        match output.write(rest) {
            Ok(0) => return Err(written),
            Ok(some) => written += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The other end of a pipe that somebody made non-blocking is slow.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if ended.load(Ordering::SeqCst) {
                    return Err(written);
                }
                pause(RETRY);
            }
            Err(_) => return Err(written),
        }
    }
    output.flush().map_err(|_error| written)
}
