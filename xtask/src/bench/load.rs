//! Drives h2load and reads its figures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::process::pinned;
use super::subject::{HOST, LOAD_CPU};
use crate::tools;

/// How the requests come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    /// HTTP/1.1, one request at a time per connection.
    Http1 { connections: u32 },
    /// HTTP/2 on one connection.
    Http2 { streams: u32 },
}

/// A load on one address.
#[derive(Debug)]
pub(super) struct Load<'a> {
    address: &'a str,
    shape: Shape,
}

/// What the load generator saw.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    pub(super) requests: u32,
    pub(super) per_second: f64,
    /// p50 and p99 in microseconds, if every request was logged.
    pub(super) latency: Option<(u32, u32)>,
}

impl<'a> Load<'a> {
    pub(super) fn new(address: &'a str, shape: Shape) -> Self {
        Self { address, shape }
    }

    /// As fast as it goes.
    pub(super) fn run(&self, requests: u32) -> Result<Outcome> {
        self.h2load(requests, &[])
    }

    /// 1,000 requests a second over all connections, with the time of every request.
    pub(super) fn run_paced(&self, requests: u32, log: &Path) -> Result<Outcome> {
        let connections = match self.shape {
            Shape::Http1 { connections } => connections,
            Shape::Http2 { .. } => 1,
        };
        let each = (1_000.0 / f64::from(connections)).to_string();
        // Connections begin 1 ms apart, else all of them ask in the same instant every time.
        let pace = ["--rps", &each, "-r", "1", "--rate-period", "1ms"];
        // h2load appends to a log that exists.
        if log.exists() {
            fs::remove_file(log).context("latency log")?;
        }
        let path = log.to_string_lossy();
        let mut outcome = self.h2load(requests, &[&pace[..], &["--log-file", &path]].concat())?;
        let text = fs::read_to_string(log).context("latency log")?;
        outcome.latency = percentiles(&text);
        Ok(outcome)
    }

    fn h2load(&self, requests: u32, more: &[&str]) -> Result<Outcome> {
        let program = tools::find("h2load").unwrap_or_else(|| PathBuf::from("h2load"));
        // No run may hang: this is far more time than any subject needs.
        let limit = (60 + requests / 500).to_string();
        let mut command = pinned(Path::new("timeout"), LOAD_CPU);
        command
            .arg(limit)
            .arg(program)
            .args(["-t", "1", "-n", &requests.to_string()]);
        match self.shape {
            Shape::Http1 { connections } => {
                command.args(["--h1", "-c", &connections.to_string()]);
            }
            Shape::Http2 { streams } => {
                command.args(["-c", "1", "-m", &streams.to_string()]);
            }
        }
        let output = command
            // For HTTP/1.1 h2load sends this as Host.
            .args(["-H", &format!(":authority: {HOST}")])
            .args(more)
            .arg(format!("http://{}/", self.address))
            .stdin(Stdio::null())
            .output()
            .context("h2load could not be started")?;
        let text = String::from_utf8_lossy(&output.stdout);
        match read(&text, requests) {
            Some(outcome) if output.status.success() => Ok(outcome),
            _ => bail!(
                "not every request to {} succeeded; h2load said:\n{text}{}",
                self.address,
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }
}

/// Reads h2load's summary; nothing unless every request was answered with 2xx.
fn read(text: &str, requests: u32) -> Option<Outcome> {
    let rate = text.lines().find(|line| line.starts_with("finished in "))?;
    let rate = rate
        .split(", ")
        .find_map(|piece| piece.strip_suffix(" req/s"))?;
    let codes = text
        .lines()
        .find_map(|line| line.strip_prefix("status codes: "))?;
    let succeeded: u32 = codes.split_once(" 2xx")?.0.parse().ok()?;
    let per_second = rate.parse().ok()?;
    (succeeded == requests).then_some(Outcome {
        requests,
        per_second,
        latency: None,
    })
}

/// p50 and p99 of a log whose third column is the time of a request.
fn percentiles(log: &str) -> Option<(u32, u32)> {
    let mut times: Vec<u32> = log
        .lines()
        .filter_map(|line| line.split('\t').nth(2)?.trim().parse().ok())
        .collect();
    times.sort_unstable();
    let at = |percent: usize| {
        let rank = (times.len() * percent).div_ceil(100);
        times.get(rank.checked_sub(1)?).copied()
    };
    Some((at(50)?, at(99)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = "\
finished in 901.62ms, 22.18 req/s, 3.29KB/s
requests: 20 total, 20 started, 20 done, 20 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 20 2xx, 0 3xx, 0 4xx, 0 5xx
";

    #[test]
    fn a_summary_is_read() {
        let outcome = read(SUMMARY, 20).unwrap();
        assert!((outcome.per_second - 22.18).abs() < 0.001);
    }

    #[test]
    fn a_run_with_a_failure_has_no_figures() {
        assert_eq!(read(SUMMARY, 21), None);
        assert_eq!(read("", 20), None);
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let lines: Vec<String> = (1..=100)
            .rev()
            .map(|time| format!("1\t200\t{time}"))
            .collect();
        assert_eq!(percentiles(&lines.join("\n")), Some((50, 99)));
        assert_eq!(percentiles("1\t200\t7\n"), Some((7, 7)));
        assert_eq!(percentiles(""), None);
    }
}
