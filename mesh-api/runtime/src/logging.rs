//! One tracing subscriber for every binary, so that a log line looks the same whoever wrote it.
//!
//! Lines go to standard error: standard output belongs to access logs. They go there by way of
//! [`crate::lines`], so that whoever reads them can neither hold the process up nor end it, by not
//! reading or by going away.

mod levels;
mod sparing;

use std::fmt;
use std::io::{self, IsTerminal, Write as _};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tracing::Metadata;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer as TimeWriter;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::lines::{Lane, Writer};
use crate::prometheus::ScrapeSection;
use sparing::Sparing;

pub use levels::{Level, Levels, LevelsError, Scope};

/// How long the last lines may take to be written at the end of the process.
const LAST_LINES: Duration = Duration::from_secs(1);

/// How a log line is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line, coloured when standard error is a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LoggingError::UnknownFormat(other.to_owned())),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logging could not be set up as asked.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The format is neither of the two there are.
    #[error("unknown log format {0:?}: use text or json")]
    UnknownFormat(String),
    /// The thread that writes cannot be started.
    #[error("the log's thread cannot be started: {0}")]
    NoThread(io::Error),
    /// Logging was not started by this crate, so it cannot be changed.
    #[error("logging was not started here; its levels cannot be changed")]
    NotStarted,
}

/// The log of the process.
struct Log {
    format: LogFormat,
    writer: Arc<Writer>,
    lane: Lane,
    /// Lines about peers that were left out.
    spared: Arc<AtomicU64>,
    panics: AtomicU64,
    /// Dropped lines that a line has told of.
    told: AtomicU64,
    levels: Mutex<Levels>,
    change: reload::Handle<Targets, Registry>,
}

static LOG: OnceLock<Arc<Log>> = OnceLock::new();

/// Starts logging.
///
/// Answers `false` if a subscriber is already in place, as in a test that starts two parts in one
/// process: the first stays.
pub fn init(format: LogFormat, levels: &Levels) -> Result<bool, LoggingError> {
    if LOG.get().is_some() {
        return Ok(false);
    }
    let writer = Writer::start("log", io::stderr()).map_err(LoggingError::NoThread)?;
    let (filter, change) = reload::Layer::new(levels.filter());
    let spared = Arc::new(AtomicU64::new(0));
    let log = Arc::new(Log {
        format,
        lane: writer.lane(),
        writer,
        spared: Arc::clone(&spared),
        panics: AtomicU64::new(0),
        told: AtomicU64::new(0),
        levels: Mutex::new(levels.clone()),
        change,
    });
    let telling = Arc::clone(&log);
    let sparing = Sparing::new(spared, move |about, left_out| {
        telling.spared(about, left_out);
    });
    let lines = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .with_writer(Way(Arc::clone(&log)));
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_ansi(false).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(sparing);
    if subscriber.with(lines).try_init().is_err() {
        return Ok(false);
    }
    // Only one subscriber is ever installed, so only one log is kept.
    drop(LOG.set(log));
    Ok(true)
}

/// What is logged now; `None` where logging was not started here.
pub fn levels() -> Option<Levels> {
    let levels = LOG.get()?.levels.lock();
    Some(levels.unwrap_or_else(PoisonError::into_inner).clone())
}

/// Changes what is logged from now on.
pub fn set_levels(levels: Levels) -> Result<(), LoggingError> {
    let log = LOG.get().ok_or(LoggingError::NotStarted)?;
    let mut known = log.levels.lock().unwrap_or_else(PoisonError::into_inner);
    let changed = log.change.reload(levels.filter());
    changed.map_err(|_gone| LoggingError::NotStarted)?;
    *known = levels;
    Ok(())
}

/// Makes panics log lines: what happens by itself writes to standard error and waits until
/// somebody reads it.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        if let Some(log) = LOG.get() {
            log.panics.fetch_add(1, Ordering::Relaxed);
        }
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        let message = info.payload_as_str().unwrap_or("no message");
        tracing::error!(location, "panic: {message}");
    }));
}

/// Says a last word to who started the process, in plain text, whether or not the log was started.
pub fn complain(reason: &str) {
    let line = format!("{reason}\n");
    match LOG.get() {
        Some(log) => log.lane.offer(line.as_bytes()),
        // Nobody may be there to read it.
        None => drop(io::stderr().lock().write_all(line.as_bytes())),
    }
}

/// Waits, for a moment, until the lines logged so far are written. To be called last: what ends
/// with the process is not written.
pub fn flush() {
    if let Some(log) = LOG.get() {
        log.writer.flush_blocking(LAST_LINES);
    }
}

/// What became of log lines, on the scrape page.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogSection;

impl ScrapeSection for LogSection {
    fn render(&self, out: &mut String) {
        use std::fmt::Write as _;
        let Some(log) = LOG.get() else {
            return;
        };
        // Writing to a String cannot fail.
        let _written = write!(
            out,
            "# HELP log_lines_dropped_total Log lines that nobody read: standard error was full or \
             closed.\n\
             # TYPE log_lines_dropped_total counter\nlog_lines_dropped_total {}\n\
             # HELP log_lines_left_out_total Lines about peers that were left out, as there were \
             too many.\n\
             # TYPE log_lines_left_out_total counter\nlog_lines_left_out_total {}\n\
             # HELP process_panics_total Panics.\n\
             # TYPE process_panics_total counter\nprocess_panics_total {}\n",
            log.writer.dropped(),
            log.spared.load(Ordering::Relaxed),
            log.panics.load(Ordering::Relaxed),
        );
    }
}

impl Log {
    fn write(&self, line: &[u8]) {
        let dropped = self.writer.dropped();
        let told = self.told.swap(dropped, Ordering::Relaxed);
        if dropped > told {
            let lost = dropped - told;
            self.note(&format!(
                "{lost} log lines before this one are missing: standard error was full or closed"
            ));
        }
        self.lane.offer(line);
    }

    fn spared(&self, about: &Metadata<'_>, left_out: u64) {
        let place = about.target();
        self.note(&format!(
            "{left_out} lines like the next one, of {place}, were left out since the last"
        ));
    }

    /// A line of the log's own, which must not go through it.
    fn note(&self, message: &str) {
        let mut time = String::new();
        // A line without its time is better than none.
        let _untimed = SystemTime.format_time(&mut TimeWriter::new(&mut time));
        let target = module_path!();
        let line = match self.format {
            LogFormat::Text => format!("{time}  WARN {target}: {message}\n"),
            LogFormat::Json => format!(
                "{}\n",
                serde_json::json!({
                    "timestamp": time, "level": "WARN", "message": message, "target": target
                })
            ),
        };
        self.lane.offer(line.as_bytes());
    }
}

/// The subscriber's way to the log's queue.
struct Way(Arc<Log>);

struct Line<'a>(&'a Log);

impl<'a> MakeWriter<'a> for Way {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_keeps_the_first_and_levels_change_while_it_runs() {
        assert!(init(LogFormat::Text, &"warning".parse().unwrap()).unwrap());
        assert!(!init(LogFormat::Json, &"info,hyper=off".parse().unwrap()).unwrap());
        assert!(!tracing::enabled!(tracing::Level::DEBUG));
        set_levels("debug".parse().unwrap()).unwrap();
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert_eq!(levels().unwrap().to_string(), "debug");
        flush();
    }

    #[test]
    fn mistakes_name_the_way_out() {
        let format = "yaml".parse::<LogFormat>().unwrap_err().to_string();
        assert!(
            format.contains("\"yaml\"") && format.contains("text or json"),
            "{format}"
        );
    }
}
