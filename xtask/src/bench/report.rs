//! The benchmark's figures as a table or as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::load::Outcome;
use super::process::Memory;
use super::subject::Subject;

/// One measured run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Run {
    cpu_ms_per_1k: f64,
    requests_per_second: f64,
    p50_us: Option<u32>,
    p99_us: Option<u32>,
}

impl Run {
    pub(super) fn new(outcome: &Outcome, cpu_millis: f64) -> Self {
        let (p50_us, p99_us) = outcome.latency.unzip();
        Self {
            cpu_ms_per_1k: cpu_millis * 1_000.0 / f64::from(outcome.requests),
            requests_per_second: outcome.per_second,
            p50_us,
            p99_us,
        }
    }
}

/// Everything measured on one subject.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    idle: Memory,
    /// HTTP/1.1 at full speed.
    pub(super) http1: Vec<Run>,
    /// HTTP/2 on one connection at full speed.
    pub(super) http2: Vec<Run>,
    /// HTTP/1.1 at a fixed rate.
    pub(super) paced: Vec<Run>,
}

impl Figures {
    pub(super) fn idle(memory: Memory) -> Self {
        Self {
            idle: memory,
            ..Self::default()
        }
    }
}

/// Everything measured.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) figures: BTreeMap<Subject, Figures>,
    /// Sizes of our programs in bytes.
    binaries: BTreeMap<String, u64>,
}

impl Report {
    /// Notes how large the built programs are.
    pub(super) fn read_sizes(&mut self, folder: &Path, programs: &[&str]) {
        for program in programs {
            if let Ok(found) = fs::metadata(folder.join(program)) {
                self.binaries.insert((*program).to_owned(), found.len());
            }
        }
    }
}

/// The middle of some figures; the lower of two.
fn middle(runs: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    let at = values.len().saturating_sub(1) / 2;
    values.get(at).copied().unwrap_or(f64::NAN)
}

fn cpu(run: &Run) -> f64 {
    run.cpu_ms_per_1k
}

fn latency(figure: Option<u32>) -> f64 {
    figure.map_or(f64::NAN, f64::from)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{:<9} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8} {:>8} {:>8}",
            "", "HTTP/1.1", "", "HTTP/2", "", "1,000/s", "p50", "p99", "idle", ""
        )?;
        writeln!(
            out,
            "{:<9} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8} {:>8} {:>8}",
            "", "ms/1k", "req/s", "ms/1k", "req/s", "ms/1k", "µs", "µs", "PSS KiB", "RSS KiB"
        )?;
        for (subject, figures) in &self.figures {
            writeln!(
                out,
                "{subject:<9} {:>8.1} {:>8.0} {:>8.1} {:>8.0} {:>9.1} {:>8.0} {:>8.0} {:>8} {:>8}",
                middle(&figures.http1, cpu),
                middle(&figures.http1, |run| run.requests_per_second),
                middle(&figures.http2, cpu),
                middle(&figures.http2, |run| run.requests_per_second),
                middle(&figures.paced, cpu),
                middle(&figures.paced, |run| latency(run.p50_us)),
                middle(&figures.paced, |run| latency(run.p99_us)),
                figures.idle.pss_kib,
                figures.idle.rss_kib,
            )?;
        }
        let both = (
            self.figures.get(&Subject::Haproxy),
            self.figures.get(&Subject::Proxy),
        );
        if let (Some(peer), Some(ours)) = both {
            let ratio =
                |runs: fn(&Figures) -> &[Run]| middle(runs(ours), cpu) / middle(runs(peer), cpu);
            writeln!(
                out,
                "\nCPU, proxy / haproxy: HTTP/1.1 {:.2}, HTTP/2 {:.2}, at 1,000/s {:.2}",
                ratio(|figures| &figures.http1),
                ratio(|figures| &figures.http2),
                ratio(|figures| &figures.paced),
            )?;
        }
        for (name, size) in &self.binaries {
            writeln!(out, "{name}: {} KiB", size / 1024)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(cpu_millis: f64) -> Run {
        let outcome = Outcome {
            requests: 2_000,
            per_second: 10.0,
            latency: Some((1, 2)),
        };
        Run::new(&outcome, cpu_millis)
    }

    #[test]
    fn cpu_is_per_thousand_requests_and_the_middle_run_counts() {
        let runs = [run(60.0), run(20.0), run(40.0)];
        assert!((middle(&runs, cpu) - 20.0).abs() < 1e-9);
        assert!(middle(&[], cpu).is_nan());
    }

    #[test]
    fn the_ratio_is_ours_over_the_peer() {
        let mut report = Report::default();
        for (subject, cost) in [(Subject::Haproxy, 20.0), (Subject::Proxy, 30.0)] {
            let all = || vec![run(cost)];
            let figures = Figures {
                idle: Memory::default(),
                http1: all(),
                http2: all(),
                paced: all(),
            };
            report.figures.insert(subject, figures);
        }
        let text = report.to_string();
        assert!(
            text.contains("HTTP/1.1 1.50, HTTP/2 1.50, at 1,000/s 1.50"),
            "{text}"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["figures"]["proxy"]["http1"][0]["p99_us"], 2);
    }
}
