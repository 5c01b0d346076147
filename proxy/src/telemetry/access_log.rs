//! The access log: one line per request, text or JSON, that can never hold a request up.
//!
//! A worker formats a line into a buffer of its own and offers it to a bounded queue; one
//! thread takes lines from all workers' queues and writes them. Where the reader of the log
//! stalls (a full disk, a pipe nobody reads) the queue fills, lines are dropped and counted,
//! and traffic goes on.

mod clock;
mod json;
mod line;
mod text;
mod writer;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub(super) use line::Line;
use writer::{Lane, Writer};

/// Whether and how requests are logged (`--access-log`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogMode {
    /// Not.
    #[default]
    Off,
    /// Envoy's default line.
    Text,
    /// The same facts as one JSON object per line.
    Json,
}

impl FromStr for AccessLogMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("\"{other}\" is none of: off, text, json")),
        }
    }
}

impl fmt::Display for AccessLogMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// The access log of the process. Clones share it.
#[derive(Clone, Debug)]
pub struct AccessLog {
    format: Format,
    writer: Arc<Writer>,
}

impl AccessLog {
    /// Starts the writer thread over `output`, normally standard output; `None` if the mode is
    /// off.
    pub fn start(
        mode: AccessLogMode,
        output: impl io::Write + Send + 'static,
    ) -> io::Result<Option<Self>> {
        let format = match mode {
            AccessLogMode::Off => return Ok(None),
            AccessLogMode::Text => Format::Text,
            AccessLogMode::Json => Format::Json,
        };
        Ok(Some(Self {
            format,
            writer: Writer::start(output)?,
        }))
    }

    /// Lines that were not written: the queue was full, or writing failed.
    pub fn dropped(&self) -> u64 {
        self.writer.dropped()
    }

    /// Waits until every line offered so far was written, at most `limit`; whether it was.
    pub async fn flush(&self, limit: Duration) -> bool {
        self.writer.flush(limit).await
    }

    /// The part of one worker.
    pub(super) fn logger(&self) -> AccessLogger {
        AccessLogger {
            format: self.format,
            buffer: RefCell::default(),
            lane: self.writer.lane(),
        }
    }
}

/// One worker's way into the log.
#[derive(Debug)]
pub struct AccessLogger {
    format: Format,
    buffer: RefCell<Vec<u8>>,
    lane: Lane,
}

impl AccessLogger {
    pub(super) fn write(&self, line: &Line<'_>) {
        let mut buffer = self.buffer.borrow_mut();
        buffer.clear();
        match self.format {
            Format::Text => text::format(line, &mut buffer),
            Format::Json => json::format(line, &mut buffer),
        }
        self.lane.offer(&buffer);
    }
}

#[cfg(test)]
mod tests;
