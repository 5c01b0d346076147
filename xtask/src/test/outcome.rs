//! What `cargo xtask test` found: counts, a row per step, skipped tests, the last line.

use std::fmt;
use std::time::Duration;

/// Tests that ran.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) failed: usize,
}

impl Counts {
    /// Reads a line like `test result: ok. 12 passed; 0 failed; 0 ignored; …`.
    pub(super) fn read(line: &str) -> Option<Self> {
        let rest = line.strip_prefix("test result: ")?;
        let (_, rest) = rest.split_once(". ")?;
        let count = |name: &str| {
            let piece = rest
                .split(';')
                .find_map(|piece| piece.trim().strip_suffix(name))?;
            piece.trim().parse().ok()
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
        })
    }

    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// One step in the table.
#[derive(Debug)]
pub(super) struct Row {
    step: String,
    ok: bool,
    took: Duration,
    note: String,
}

impl Row {
    pub(super) fn ran(step: &str, ok: bool, took: Duration, note: String) -> Self {
        Self {
            step: step.to_owned(),
            ok,
            took,
            note,
        }
    }

    pub(super) fn not_run(step: &str, why: &str) -> Self {
        Self::ran(step, false, Duration::ZERO, format!("not run: {why}"))
    }
}

/// Everything that is printed at the end.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) rows: Vec<Row>,
    pub(super) counts: Counts,
    /// `name: reason` each.
    pub(super) skips: Vec<String>,
    skips_fail: bool,
}

impl Report {
    pub(super) fn new(skips_fail: bool) -> Self {
        Self {
            rows: Vec::new(),
            counts: Counts::default(),
            skips: Vec::new(),
            skips_fail,
        }
    }

    /// Failed tests, steps that failed for another reason, and skips where those are failures.
    pub(super) fn failed(&self) -> usize {
        let bad_steps = self.rows.iter().filter(|row| !row.ok).count();
        // A step whose tests failed is already counted by its tests.
        let bad_steps = if self.counts.failed > 0 {
            bad_steps.saturating_sub(1)
        } else {
            bad_steps
        };
        let skips = if self.skips_fail {
            self.distinct_skips().len()
        } else {
            0
        };
        self.counts.failed + bad_steps + skips
    }

    fn distinct_skips(&self) -> Vec<&str> {
        let mut skips: Vec<&str> = self.skips.iter().map(|skip| skip.trim()).collect();
        skips.retain(|skip| !skip.is_empty());
        skips.sort_unstable();
        skips.dedup();
        skips
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            let verdict = if row.ok { "ok" } else { "FAILED" };
            let seconds = row.took.as_secs_f64();
            write!(
                out,
                "{:<8} {verdict:<7} {seconds:>7.1} s  {}",
                row.step, row.note
            )?;
            writeln!(out)?;
        }
        for skip in self.distinct_skips() {
            let verdict = if self.skips_fail {
                " (a failure here, since CI=true)"
            } else {
                ""
            };
            writeln!(out, "SKIPPED: {skip}{verdict}")?;
        }
        writeln!(
            out,
            "{} passed, {} failed",
            self.counts.passed,
            self.failed()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(skips_fail: bool, failed: usize, steps: &[(&str, bool)]) -> Report {
        let mut report = Report::new(skips_fail);
        report.counts = Counts { passed: 7, failed };
        for (step, ok) in steps {
            report
                .rows
                .push(Row::ran(step, *ok, Duration::from_secs(1), String::new()));
        }
        report
    }

    #[test]
    fn a_result_line_is_read_and_others_are_not() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 1 filtered out";
        assert_eq!(
            Counts::read(line),
            Some(Counts {
                passed: 12,
                failed: 3
            })
        );
        assert_eq!(Counts::read("test a ... ok"), None);
        assert_eq!(Counts::read("test result: ok. x passed; y failed"), None);
    }

    #[test]
    fn a_failed_check_counts_once_and_failed_tests_are_not_counted_twice() {
        assert_eq!(
            report(false, 0, &[("tidy", true), ("test", true)]).failed(),
            0
        );
        assert_eq!(
            report(false, 0, &[("tidy", false), ("test", true)]).failed(),
            1
        );
        assert_eq!(
            report(false, 2, &[("tidy", true), ("test", false)]).failed(),
            2
        );
        assert_eq!(
            report(false, 2, &[("tidy", false), ("test", false)]).failed(),
            3
        );
    }

    #[test]
    fn a_skip_is_shown_once_and_fails_in_ci() {
        let mut local = report(false, 0, &[("test", true)]);
        local.skips = vec!["a: not root".to_owned(), "a: not root\n".to_owned()];
        assert_eq!(local.failed(), 0);
        assert_eq!(local.to_string().matches("SKIPPED: a: not root").count(), 1);
        let mut ci = report(true, 0, &[("test", true)]);
        ci.skips = local.skips;
        assert_eq!(ci.failed(), 1);
        assert!(ci.to_string().ends_with("\n7 passed, 1 failed\n"), "{ci}");
    }
}
