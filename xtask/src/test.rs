//! `cargo xtask test`: every check of a change, in the order in which a failure is cheapest.

mod cluster;
mod outcome;
mod steps;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{h2spec, tools};
use outcome::{Counts, Report, Row};
use steps::Setting;

/// The file tests append `name: reason` to when they cannot run.
pub(crate) const SKIPS: &str = "MESH_TEST_SKIPS";

/// Run all checks and tests, set-up included
///
/// Checks the house rules, formatting and lints, builds the programs that tests start, runs all
/// tests and builds the documentation. As root it also runs the tests that need network
/// namespaces, and first installs the Debian packages they use; otherwise they are reported as
/// skipped. Where Go is installed it builds h2spec, which asks every kind of listener whether it
/// keeps to HTTP/2 (`cargo xtask test h2spec`). With --cluster it then starts a Kubernetes of its
/// own, deploys the mesh, tests it there, and removes both. With CI=true a skipped test is a
/// failure. The last line is `N passed, N failed`; a failed check counts as one failure.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                     everything
  cargo xtask test --only tidy,clippy  two steps
  cargo xtask test canary              only the tests with `canary` in their name
  cargo xtask test --skip-slow         leave out the tests that start a whole mesh
  cargo xtask test --cluster           everything, and the tests on a real Kubernetes
  cargo xtask test --cluster ingress   only tests on Kubernetes with `ingress` in their name")]
pub(crate) struct Args {
    /// Leave out the tests that start a whole mesh (package `examples`)
    #[arg(long)]
    skip_slow: bool,
    /// Run only these steps, in this program's order
    #[arg(long, value_delimiter = ',', value_name = "STEP,STEP")]
    only: Vec<Step>,
    #[command(flatten)]
    cluster: cluster::ClusterArgs,
    /// Run only tests whose name contains this; means `--only build,test`, or with --cluster
    /// `--only cluster`
    filter: Option<String>,
}

/// One step, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Step {
    /// House rules
    Tidy,
    /// Formatting
    Fmt,
    /// Lints, with warnings as errors
    Clippy,
    /// The programs that tests start
    Build,
    /// All tests
    Test,
    /// Documentation, with warnings as errors
    Doc,
    /// Tests on a real Kubernetes; only with --cluster
    Cluster,
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value()
            .map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// Runs the chosen steps and reports.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    tools::require_build_tools()?;
    let chosen = chosen(args);
    let ci = env::var("CI").is_ok_and(|value| value == "true");
    let scratch = tempfile::tempdir().context("temporary folder")?;
    let skips_file = scratch.path().join("skips");
    fs::write(&skips_file, "").context("list of skipped tests")?;
    let mut report = Report::new(ci);
    let mut h2spec = None;
    if chosen.contains(&Step::Test) {
        prepare_namespaces(&mut report)?;
        if asks_for(args.filter.as_deref(), "h2spec") {
            h2spec = prepare_h2spec();
        }
    }
    let setting = Setting {
        skips_file: &skips_file,
        h2spec: h2spec.as_deref(),
        skip_slow: args.skip_slow,
        filter: args.filter.as_deref(),
        cluster: &args.cluster,
    };
    let mut built = true;
    for (index, step) in chosen.iter().enumerate() {
        if *step == Step::Test && !built {
            report.rows.push(Row::not_run(
                "test",
                "the programs that tests start do not build",
            ));
            continue;
        }
        println!("\n==> {} of {}: {}", index + 1, chosen.len(), step.name());
        let started = Instant::now();
        let done = steps::run(*step, &setting)?;
        built &= *step != Step::Build || done.ok;
        report.counts.add(done.counts);
        report.skips.extend(done.skips);
        report.rows.push(Row::ran(
            &step.name(),
            done.ok,
            started.elapsed(),
            done.note,
        ));
    }
    if args.skip_slow && chosen.contains(&Step::Test) {
        report
            .skips
            .push("whole-mesh tests: left out by --skip-slow".to_owned());
    }
    report
        .skips
        .extend(fs::read_to_string(&skips_file)?.lines().map(str::to_owned));
    // What the step `test` cannot run, the step `cluster` does, for whoever asks for it.
    report.skips.retain(|skip| !cluster::has_own_step(skip));
    if chosen.contains(&Step::Test) && !chosen.contains(&Step::Cluster) {
        println!("\nnot asked for: the tests on a real Kubernetes (--cluster)");
    }
    print!("\n{report}");
    Ok(if report.failed() == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn chosen(args: &Args) -> BTreeSet<Step> {
    let cluster = args.cluster.cluster;
    if !args.only.is_empty() {
        args.only.iter().copied().collect()
    } else if args.filter.is_some() {
        if cluster {
            [Step::Cluster].into()
        } else {
            [Step::Build, Step::Test].into()
        }
    } else {
        let all = Step::value_variants().iter().copied();
        all.filter(|step| cluster || *step != Step::Cluster)
            .collect()
    }
}

/// Gets what the tests in network namespaces need, or says why they will not run.
fn prepare_namespaces(report: &mut Report) -> Result<()> {
    if !tools::is_root() {
        println!("not root: tests in network namespaces will be skipped");
        return Ok(());
    }
    let lacking = tools::install_missing(tools::NAMESPACES)?;
    if !lacking.is_empty() {
        let names: Vec<&str> = lacking.iter().map(|tool| tool.program).collect();
        report.skips.push(format!(
            "network namespaces: {} not installed",
            names.join(", ")
        ));
    }
    Ok(())
}

/// Whether tests with this in their names may run.
fn asks_for(filter: Option<&str>, name: &str) -> bool {
    filter.is_none_or(|filter| name.contains(filter) || filter.contains(name))
}

/// Builds the program that asks every listener whether it keeps to HTTP/2, or says why the test
/// that starts it will report itself as skipped.
fn prepare_h2spec() -> Option<PathBuf> {
    match h2spec::provide() {
        Ok(program) => Some(program),
        Err(error) => {
            eprintln!("h2spec cannot be had, so its tests will be skipped: {error:#}");
            None
        }
    }
}

/// What one step led to.
#[derive(Debug, Default)]
struct Done {
    ok: bool,
    counts: Counts,
    skips: Vec<String>,
    note: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(only: &[Step], filter: Option<&str>) -> Args {
        Args {
            skip_slow: false,
            only: only.to_vec(),
            cluster: cluster::ClusterArgs::default(),
            filter: filter.map(str::to_owned),
        }
    }

    #[test]
    fn steps_run_in_one_order_however_they_are_named() {
        let steps: Vec<Step> = chosen(&args(&[Step::Test, Step::Tidy], None))
            .into_iter()
            .collect();
        assert_eq!(steps, [Step::Tidy, Step::Test]);
    }

    #[test]
    fn all_steps_run_unless_some_are_chosen() {
        let mut all = args(&[], None);
        assert_eq!(chosen(&all).len() + 1, Step::value_variants().len());
        assert!(!chosen(&all).contains(&Step::Cluster));
        all.cluster.cluster = true;
        assert_eq!(chosen(&all).len(), Step::value_variants().len());
        assert_eq!(chosen(&all).last(), Some(&Step::Cluster));
        all.filter = Some("ingress".to_owned());
        assert_eq!(chosen(&all), [Step::Cluster].into());
        assert_eq!(
            chosen(&args(&[], Some("canary"))),
            [Step::Build, Step::Test].into()
        );
        assert_eq!(
            chosen(&args(&[Step::Test], Some("canary"))),
            [Step::Test].into()
        );
    }
}
