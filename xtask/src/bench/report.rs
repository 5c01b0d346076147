//! The benchmark's figures as a table or as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;

use super::held::Kind;
use super::load::Outcome;
use super::process::{Cpu, Memory};
use super::subject::Subject;

/// One measured run.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Run {
    /// User and system time.
    cpu_ms_per_1k: f64,
    /// User time alone.
    user_ms_per_1k: f64,
    requests_per_second: f64,
    p50_us: Option<u32>,
    p99_us: Option<u32>,
}

impl Run {
    pub(super) fn new(outcome: &Outcome, spent: Cpu) -> Self {
        let (p50_us, p99_us) = outcome.latency.unzip();
        let per_1k = |millis: f64| millis * 1_000.0 / f64::from(outcome.requests);
        Self {
            cpu_ms_per_1k: per_1k(spent.user + spent.system),
            user_ms_per_1k: per_1k(spent.user),
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
    /// KiB per connection that is held.
    pub(super) held: BTreeMap<Kind, f64>,
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

fn user(run: &Run) -> f64 {
    run.user_ms_per_1k
}

impl Report {
    fn write_costs(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = [
            [
                "", "HTTP/1.1", "", "", "HTTP/2", "", "", "1,000/s", "p50", "p99", "idle", "",
            ],
            [
                "", "ms/1k", "user", "req/s", "ms/1k", "user", "req/s", "ms/1k", "µs", "µs",
                "PSS KiB", "RSS KiB",
            ],
        ];
        for head in heads {
            let (first, rest) = head.split_first().unwrap_or((&"", &[]));
            write!(out, "{first:<9}")?;
            for column in rest {
                write!(out, " {column:>8}")?;
            }
            writeln!(out)?;
        }
        for (subject, figures) in &self.figures {
            write!(out, "{subject:<9}")?;
            for runs in [&figures.http1, &figures.http2] {
                let rate = middle(runs, |run| run.requests_per_second);
                write!(
                    out,
                    " {:>8.1} {:>8.1} {rate:>8.0}",
                    middle(runs, cpu),
                    middle(runs, user)
                )?;
            }
            writeln!(
                out,
                " {:>8.1} {:>8.0} {:>8.0} {:>8} {:>8}",
                middle(&figures.paced, cpu),
                middle(&figures.paced, |run| latency(run.p50_us)),
                middle(&figures.paced, |run| latency(run.p99_us)),
                figures.idle.pss_kib,
                figures.idle.rss_kib,
            )?;
        }
        Ok(())
    }

    /// Ours and what was before over every peer that took part.
    fn write_ratios(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = [
            (Subject::Proxy, Subject::Haproxy),
            (Subject::Before, Subject::Haproxy),
            (Subject::Proxy, Subject::Envoy),
            (Subject::Before, Subject::Envoy),
            (Subject::Proxy, Subject::Before),
        ];
        writeln!(out)?;
        for (subject, peer) in pairs {
            let (Some(ours), Some(theirs)) = (self.figures.get(&subject), self.figures.get(&peer))
            else {
                continue;
            };
            let ratio =
                |runs: fn(&Figures) -> &[Run]| middle(runs(ours), cpu) / middle(runs(theirs), cpu);
            writeln!(
                out,
                "CPU, {subject} / {peer}: HTTP/1.1 {:.2}, HTTP/2 {:.2}, at 1,000/s {:.2}",
                ratio(|figures| &figures.http1),
                ratio(|figures| &figures.http2),
                ratio(|figures| &figures.paced),
            )?;
        }
        Ok(())
    }

    fn write_held(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.figures.values().all(|figures| figures.held.is_empty()) {
            return Ok(());
        }
        write!(out, "\n{:<21}", "KiB per connection")?;
        for kind in Kind::value_variants() {
            write!(out, " {:>9}", kind.title())?;
        }
        writeln!(out)?;
        for (subject, figures) in &self.figures {
            write!(out, "{subject:<21}")?;
            for kind in Kind::value_variants() {
                let held = figures.held.get(kind).copied().unwrap_or(f64::NAN);
                write!(out, " {held:>9.1}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self
            .figures
            .values()
            .any(|figures| !figures.http1.is_empty())
        {
            self.write_costs(out)?;
            self.write_ratios(out)?;
        }
        self.write_held(out)?;
        for (name, size) in &self.binaries {
            writeln!(out, "{name}: {} KiB", size / 1024)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(user: f64) -> Run {
        let outcome = Outcome {
            requests: 2_000,
            per_second: 10.0,
            latency: Some((1, 2)),
        };
        Run::new(&outcome, Cpu { user, system: 0.0 })
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
                held: BTreeMap::from([(Kind::SlowHead, 7.25)]),
            };
            report.figures.insert(subject, figures);
        }
        let text = report.to_string();
        assert!(
            text.contains("proxy / haproxy: HTTP/1.1 1.50, HTTP/2 1.50, at 1,000/s 1.50"),
            "{text}"
        );
        assert!(!text.contains("/ envoy"), "{text}");
        assert!(text.contains(" 7.2 "), "{text}");
        for figures in report.figures.values_mut() {
            figures.http1.clear();
        }
        let held = report.to_string();
        assert!(
            held.trim_start().starts_with("KiB per connection"),
            "{held}"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["figures"]["proxy"]["http2"][0]["p99_us"], 2);
    }
}
