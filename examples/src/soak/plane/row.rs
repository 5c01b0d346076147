//! What one attack did, as a line, as values, and as a judgement.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::{PlaneAttack, Pushes};
use crate::mesh::Metrics;
use crate::soak::findings::Findings;
use crate::soak::usage::Usage;

/// What all attacks may add to resident memory.
const MEMORY: u64 = 64 << 20;
/// Files that may still be open a while after an attack, beyond those before it: connections to the
/// API server that reviews of tokens leave in the pool.
pub(super) const FILES_LEFT: u64 = 32;
/// Lines a second that attackers may cause, beyond those that may be written at once.
const LINES: f64 = 10.0;
const LINES_AT_ONCE: f64 = 20.0;
/// What is counted, and the label that says why.
const COUNTED: [(&str, &str); 7] = [
    ("mesh_stream_refused_total", "reason"),
    ("mesh_stream_errors_total", ""),
    ("mesh_stream_rejections_dropped_total", ""),
    ("pilot_total_xds_rejects", ""),
    ("mesh_listener_bodies_refused_total", "reason"),
    ("mesh_listener_connections_closed_total", "reason"),
    ("galley_validation_failed", "reason"),
];

/// How soon changes arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latency {
    changes: usize,
    arrived: usize,
    lost: usize,
    p50: Duration,
    p99: Duration,
}

impl Latency {
    pub(super) fn of(pushes: &Pushes) -> Self {
        let mut times = pushes.times.clone();
        times.sort_unstable();
        let quantile = |hundredths: usize| {
            let place = (times.len() * hundredths).div_ceil(100).saturating_sub(1);
            times.get(place).copied().unwrap_or_default()
        };
        Self {
            changes: pushes.changes,
            arrived: times.len(),
            lost: pushes.lost,
            p50: quantile(50),
            p99: quantile(99),
        }
    }
}

/// What one attack did.
#[derive(Debug)]
pub(super) struct Row {
    /// `None`: the quiet before them.
    pub(super) attack: Option<PlaneAttack>,
    pub(super) pushes: Latency,
    pub(super) quiet: Usage,
    pub(super) before: Usage,
    pub(super) most: Usage,
    pub(super) after: Usage,
    pub(super) seconds: f64,
    pub(super) begun: u64,
    pub(super) reasons: String,
}

/// Why the control plane refused meanwhile.
pub(super) fn reasons(before: &Metrics, after: &Metrics) -> String {
    let mut text = String::new();
    let mut add = |name: &str, labels: &[(&str, &str)], shown: &str| {
        let count = after.sum(name, labels) - before.sum(name, labels);
        if count > 0.0 {
            // Writing to a String cannot fail.
            let _written = write!(text, "{shown}: {count} ");
        }
    };
    for (name, label) in COUNTED {
        let short = name.trim_end_matches("_total").trim_start_matches("mesh_");
        if label.is_empty() {
            add(name, &[], short);
            continue;
        }
        for reason in after.values(name, label) {
            add(name, &[(label, &reason)], &format!("{short}/{reason}"));
        }
    }
    text.trim_end().to_owned()
}

/// Notes all rows, and what of them must hold.
pub(super) fn judge(rows: &[Row], findings: &mut Findings) {
    let header = format!(
        "{:<12} {:>7} {:>7} {:>5} {:>8} {:>8} {:>6} {:>9} {:>9} {:>9} {:>6} {:>6} {:>7} {:>7}  counted",
        "attack",
        "changes",
        "pushes",
        "lost",
        "p50 ms",
        "p99 ms",
        "x p99",
        "MiB before",
        "MiB most",
        "MiB after",
        "files",
        "after",
        "lines/s",
        "begun"
    );
    let quiet = rows.first().map(|row| row.pushes.p99);
    let quiet = quiet.unwrap_or_default();
    let lines = rows.iter().map(|row| row.line(quiet));
    let lines = std::iter::once(header).chain(lines).collect();
    let values = rows.iter().map(|row| row.value(quiet)).collect();
    findings.note_table("rows", lines, values);
    for row in rows {
        row.judge(findings);
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of a process, to a tenth of a MiB"
)]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Row {
    pub(super) fn quiet(pushes: &Pushes, usage: Usage) -> Self {
        Self {
            attack: None,
            pushes: Latency::of(pushes),
            quiet: usage,
            before: usage,
            most: usage,
            after: usage,
            seconds: 1.0,
            begun: 0,
            reasons: String::new(),
        }
    }

    fn name(&self) -> String {
        self.attack
            .map_or_else(|| "(quiet)".to_owned(), |attack| format!("{attack:?}"))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a log has far fewer lines than 2^52"
    )]
    fn lines(&self) -> f64 {
        self.most.lines.saturating_sub(self.before.lines) as f64
    }

    fn times(&self, quiet: Duration) -> f64 {
        milliseconds(self.pushes.p99) / milliseconds(quiet).max(0.001)
    }

    fn line(&self, quiet: Duration) -> String {
        let Latency {
            changes,
            arrived,
            lost,
            p50,
            p99,
        } = self.pushes;
        format!(
            "{:<12} {changes:>7} {arrived:>7} {lost:>5} {:>8.1} {:>8.1} {:>6.2} {:>9.1} {:>9.1} {:>9.1} \
             {:>6} {:>6} {:>7.1} {:>7}  {}",
            self.name(),
            milliseconds(p50),
            milliseconds(p99),
            self.times(quiet),
            mebibytes(self.before.memory),
            mebibytes(self.most.memory),
            mebibytes(self.after.memory),
            self.most.files,
            self.after.files,
            self.lines() / self.seconds,
            self.begun,
            self.reasons,
        )
    }

    fn value(&self, quiet: Duration) -> Value {
        let Latency {
            changes,
            arrived,
            lost,
            p50,
            p99,
        } = self.pushes;
        let usage = |usage: Usage| json!({"memoryBytes": usage.memory, "files": usage.files});
        json!({
            "attack": self.name(),
            "changes": changes, "pushes": arrived, "lost": lost,
            "p50Milliseconds": milliseconds(p50), "p99Milliseconds": milliseconds(p99),
            "timesQuietP99": self.times(quiet),
            "before": usage(self.before), "most": usage(self.most), "after": usage(self.after),
            "linesPerSecond": self.lines() / self.seconds,
            "begun": self.begun, "counted": self.reasons,
        })
    }

    fn judge(&self, findings: &mut Findings) {
        let mut wrong = Vec::new();
        let Latency { arrived, lost, .. } = self.pushes;
        if arrived == 0 || lost > 0 {
            wrong.push(format!(
                "{lost} of {} lawful pushes did not arrive",
                arrived + lost
            ));
        }
        let added = self.most.memory.saturating_sub(self.quiet.memory);
        if added > MEMORY {
            wrong.push(format!(
                "{:.1} MiB more memory than in quiet",
                mebibytes(added)
            ));
        }
        if self.after.files > self.before.files + FILES_LEFT {
            let (before, after) = (self.before.files, self.after.files);
            wrong.push(format!("{after} files open afterwards, {before} before"));
        }
        if self.lines() > LINES_AT_ONCE + LINES * self.seconds {
            wrong.push(format!(
                "{:.0} log lines in {:.0} s",
                self.lines(),
                self.seconds
            ));
        }
        let name = self.name();
        findings.claim(
            wrong.is_empty(),
            if wrong.is_empty() {
                name
            } else {
                format!("{name}: {}", wrong.join(", "))
            },
        );
    }
}
