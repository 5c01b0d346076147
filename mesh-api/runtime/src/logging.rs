//! One tracing subscriber for every binary, so that a log line looks the same whoever wrote it.
//!
//! Lines go to standard error: standard output belongs to access logs.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

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
    /// The filter does not parse.
    #[error(
        "log filter {filter:?} does not parse: {reason}; use a level such as info, \
         or target=level pairs such as info,proxy=debug"
    )]
    BadFilter {
        /// What was given.
        filter: String,
        /// What the parser says.
        reason: String,
    },
    /// Logging was not started by this crate, so it cannot be changed.
    #[error("logging was not started here; its filter cannot be changed")]
    NotStarted,
}

/// Starts logging.
///
/// `filter` is a level (`info`) or a list of `target=level` pairs. Answers `false` if a
/// subscriber is already in place, as in a test that starts two parts in one process: the
/// first stays.
pub fn init(format: LogFormat, filter: &str) -> Result<bool, LoggingError> {
    let filter = parse(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let (installed, change): (bool, Change) = match format {
        LogFormat::Text => {
            let builder = builder
                .with_ansi(std::io::stderr().is_terminal())
                .with_filter_reloading();
            let handle = builder.reload_handle();
            let change = move |filter| handle.reload(filter).is_ok();
            (builder.finish().try_init().is_ok(), Box::new(change))
        }
        LogFormat::Json => {
            let builder = builder
                .json()
                .flatten_event(true)
                .with_ansi(false)
                .with_filter_reloading();
            let handle = builder.reload_handle();
            let change = move |filter| handle.reload(filter).is_ok();
            (builder.finish().try_init().is_ok(), Box::new(change))
        }
    };
    if installed {
        // Only one subscriber is ever installed, so only one way to change it is kept.
        drop(CHANGE.set(change));
    }
    Ok(installed)
}

/// Changes which lines are written from now on; written as for [`init`].
pub fn set_filter(filter: &str) -> Result<(), LoggingError> {
    let filter = parse(filter)?;
    match CHANGE.get() {
        Some(change) if change(filter) => Ok(()),
        Some(_) | None => Err(LoggingError::NotStarted),
    }
}

type Change = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

static CHANGE: OnceLock<Change> = OnceLock::new();

/// Parts that say once more, and without saying what about, what whoever uses them says anyway: the
/// client of an API server writes a line per failed request. A filter may still name them.
const QUIET: &str = "kube_client=off";

fn parse(filter: &str) -> Result<EnvFilter, LoggingError> {
    let whole = if filter.is_empty() {
        QUIET.to_owned()
    } else {
        format!("{QUIET},{filter}")
    };
    EnvFilter::try_new(whole).map_err(|error| LoggingError::BadFilter {
        filter: filter.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_keeps_the_first() {
        assert!(init(LogFormat::Text, "warn").unwrap());
        assert!(!init(LogFormat::Json, "info,hyper=off").unwrap());
        assert!(!tracing::enabled!(tracing::Level::DEBUG));
        set_filter("debug").unwrap();
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert!(set_filter("runtime=loud").is_err());
    }

    #[test]
    fn mistakes_name_the_way_out() {
        let format = "yaml".parse::<LogFormat>().unwrap_err().to_string();
        assert!(
            format.contains("\"yaml\"") && format.contains("text or json"),
            "{format}"
        );
        let filter = init(LogFormat::Text, "proxy=loud").unwrap_err().to_string();
        assert!(
            filter.contains("proxy=loud") && filter.contains("info"),
            "{filter}"
        );
    }
}
