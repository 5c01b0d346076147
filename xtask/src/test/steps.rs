//! What each step of `cargo xtask test` runs.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::outcome::Counts;
use super::{Done, SKIPS, Step, cluster};
use crate::{cargo, h2spec, tidy};

/// What the steps need to know of the command line.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub(super) skips_file: &'a Path,
    pub(super) h2spec: Option<&'a Path>,
    pub(super) skip_slow: bool,
    pub(super) filter: Option<&'a str>,
    pub(super) cluster: &'a cluster::ClusterArgs,
}

pub(super) fn run(step: Step, setting: &Setting<'_>) -> Result<Done> {
    match step {
        Step::Tidy => {
            let ok = tidy::is_tidy()?;
            Ok(Done {
                ok,
                ..Done::default()
            })
        }
        Step::Fmt => check(
            &["fmt", "--all", "--check"],
            &[],
            "`cargo fmt --all` formats everything",
        ),
        Step::Clippy => check(
            &[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ],
            &[],
            "see the warnings above (`rustup component add clippy` if it is missing)",
        ),
        // With the tests, so that what both need is built once, with the features of both.
        Step::Build => check(
            &["build", "--workspace", "--bins", "--tests"],
            &[],
            "see the errors above",
        ),
        Step::Test => tests(setting),
        Step::Cluster => cluster::run(setting),
        Step::Doc => check(
            &["doc", "--workspace", "--no-deps"],
            &[("RUSTDOCFLAGS", "-D warnings")],
            "see the warnings above",
        ),
    }
}

fn check(arguments: &[&str], environment: &[(&str, &str)], advice: &str) -> Result<Done> {
    let status = cargo::command()
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .context("cargo could not be started")?;
    let ok = status.success();
    let note = if ok { String::new() } else { advice.to_owned() };
    Ok(Done {
        ok,
        note,
        ..Done::default()
    })
}

fn tests(setting: &Setting<'_>) -> Result<Done> {
    let mut command = cargo::command();
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .env(SKIPS, setting.skips_file);
    if let Some(program) = setting.h2spec {
        command.env(h2spec::VARIABLE, program);
    }
    if setting.skip_slow {
        command.args(["--exclude", "examples"]);
    }
    if let Some(filter) = setting.filter {
        command.args(["--", filter]);
    }
    stream(&mut command, &mut io::stdout())
}

/// Runs a command, shows its output line by line as it comes, and reads the results out of it.
pub(super) fn stream(command: &mut Command, shown: &mut impl Write) -> Result<Done> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo could not be started")?;
    let stdout = child.stdout.take().context("cargo has no stdout")?;
    let mut done = Done::default();
    let mut reader = BufReader::new(stdout);
    let mut line = Vec::new();
    while reader
        .read_until(b'\n', &mut line)
        .context("output of the tests")?
        > 0
    {
        shown.write_all(&line).context("our own output")?;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if let Some(counts) = Counts::read(text) {
            done.counts.add(counts);
        }
        if let Some(skip) = text.strip_prefix("SKIPPED: ") {
            done.skips.push(skip.to_owned());
        }
        line.clear();
    }
    let success = child.wait().context("cargo")?.success();
    done.note = if done.counts.passed + done.counts.failed == 0 {
        "no test ran".to_owned()
    } else if success {
        String::new()
    } else if done.counts.failed == 0 {
        "a test did not compile, or a test program died; see above".to_owned()
    } else {
        format!("{} tests failed", done.counts.failed)
    };
    done.ok = done.note.is_empty();
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Done {
        stream(Command::new("sh").args(["-c", script]), &mut Vec::new()).unwrap()
    }

    #[test]
    fn results_and_skips_are_read_from_the_output() {
        let done = shell(
            "echo 'test result: ok. 3 passed; 0 failed; 0 ignored'; echo 'SKIPPED: a: b';\
             echo 'test result: ok. 2 passed; 0 failed; 0 ignored'",
        );
        assert!(done.ok, "{done:?}");
        assert_eq!(
            done.counts,
            Counts {
                passed: 5,
                failed: 0
            }
        );
        assert_eq!(done.skips, ["a: b"]);
    }

    #[test]
    fn no_tests_is_a_failure() {
        let done = shell("echo 'test result: ok. 0 passed; 0 failed; 0 ignored'");
        assert!(!done.ok);
        assert_eq!(done.note, "no test ran");
    }

    #[test]
    fn a_test_program_that_dies_is_a_failure() {
        assert!(!shell("echo 'test result: ok. 3 passed; 0 failed;'; exit 101").ok);
        let failed = shell("echo 'test result: FAILED. 3 passed; 2 failed;'; exit 101");
        assert_eq!(failed.note, "2 tests failed");
    }
}
