//! The access log: one line per request, text or JSON, that can never hold a request up.
//!
//! A worker formats a line into a buffer of its own and offers it to a bounded queue of its own
//! ([`mesh_runtime::lines`]). Where the reader of the log stalls or goes away, lines are dropped and
//! counted, and traffic goes on.
//!
//! Whether lines are written, and how, changes while the proxy runs. Thread and queues exist from
//! the first time on that they are: a proxy that never logs does not pay for them.

mod clock;
mod json;
mod line;
mod text;

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use mesh_api::settings::AccessLogMode;
use parking_lot::Mutex;

pub(super) use line::Line;
use mesh_runtime::lines::{Lane, Writer};

type Output = Box<dyn io::Write + Send>;

/// The access log of the process. Clones share it.
#[derive(Clone)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

struct Shared {
    /// What holds where the mesh says nothing.
    started_as: AccessLogMode,
    /// The mode in effect, as [`number`] writes it.
    mode: AtomicU8,
    /// Until the writer takes it.
    output: Mutex<Option<Output>>,
    writer: OnceLock<Arc<Writer>>,
}

const fn number(mode: AccessLogMode) -> u8 {
    match mode {
        AccessLogMode::Off => 0,
        AccessLogMode::Text => 1,
        AccessLogMode::Json => 2,
    }
}

impl AccessLog {
    /// A log over `output`, normally standard output. The writer's thread is started once
    /// something is to be written.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(mode: AccessLogMode, output: impl io::Write + Send + 'static) -> io::Result<Self> {
        let log = Self {
            shared: Arc::new(Shared {
                started_as: mode,
                mode: AtomicU8::new(number(AccessLogMode::Off)),
                output: Mutex::new(Some(Box::new(output))),
                writer: OnceLock::new(),
            }),
        };
        log.follow(None)?;
        Ok(log)
    }

    /// Logs as the mesh wants from now on; `None`: as it was started.
    ///
    /// # Errors
    /// The writer's thread could not be started; nothing changes then.
    pub fn follow(&self, mode: Option<AccessLogMode>) -> io::Result<()> {
        let shared = &self.shared;
        let mode = mode.unwrap_or(shared.started_as);
        if mode != AccessLogMode::Off {
            // Held to the end: two calls start one thread.
            let mut output = shared.output.lock();
            if let Some(output) = output.take() {
                let _first = shared.writer.set(Writer::start("access-log", output)?);
            }
            if shared.writer.get().is_none() {
                // The output went with the first try.
                let why = "there is no access log: its thread could not be started before";
                return Err(io::Error::other(why));
            }
        }
        // After the writer is there, so that whoever sees the mode finds it.
        let before = shared.mode.swap(number(mode), Ordering::Release);
        if before != number(mode) {
            tracing::info!(?mode, "access log");
        }
        Ok(())
    }

    /// Whether lines are written now.
    pub(super) fn is_on(&self) -> bool {
        self.shared.mode.load(Ordering::Relaxed) != number(AccessLogMode::Off)
    }

    /// Lines that were not written: the queue was full, or writing failed.
    pub fn dropped(&self) -> u64 {
        self.shared
            .writer
            .get()
            .map_or(0, |writer| writer.dropped())
    }

    /// Waits until every line offered so far was written, at most `limit`; whether it was.
    pub async fn flush(&self, limit: Duration) -> bool {
        match self.shared.writer.get() {
            Some(writer) => writer.flush(limit).await,
            None => true,
        }
    }

    /// The part of one worker.
    pub(super) fn logger(&self) -> AccessLogger {
        AccessLogger {
            log: self.clone(),
            buffer: RefCell::default(),
            lane: OnceCell::new(),
        }
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog")
            .field("mode", &self.shared.mode)
            .field("writer", &self.shared.writer.get())
            .finish_non_exhaustive()
    }
}

/// One worker's way into the log.
#[derive(Debug)]
pub struct AccessLogger {
    log: AccessLog,
    buffer: RefCell<Vec<u8>>,
    lane: OnceCell<Lane>,
}

impl AccessLogger {
    /// Whether lines are written now.
    pub(super) fn is_on(&self) -> bool {
        self.log.is_on()
    }

    /// Writes a line as lines are written now, which may be not at all any more.
    pub(super) fn write(&self, line: &Line<'_>) {
        let mode = self.log.shared.mode.load(Ordering::Acquire);
        let Some(writer) = self.log.shared.writer.get() else {
            return;
        };
        let mut buffer = self.buffer.borrow_mut();
        buffer.clear();
        if mode == number(AccessLogMode::Text) {
            text::format(line, &mut buffer);
        } else if mode == number(AccessLogMode::Json) {
            json::format(line, &mut buffer);
        } else {
            return;
        }
        self.lane.get_or_init(|| writer.lane()).offer(&buffer);
    }
}

#[cfg(test)]
mod tests;
