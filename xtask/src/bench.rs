//! `cargo xtask bench`: what a request costs through our proxy and through HAProxy, measured in
//! the same run.
//!
//! The figure to trust is the proxy's CPU time per 1,000 requests: the proxy has one CPU to
//! itself, backend and load generator share the other, so rates say how fast the load generator
//! is. Subjects take turns, so that a machine that slows down slows both.

mod load;
mod process;
mod report;
mod subject;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{cargo, tools};
use load::{Load, Shape};
use report::{Figures, Report, Run};
use subject::{Backend, Running, Subject};

/// Measure CPU per request, latency and memory beside HAProxy
///
/// Builds the release programs (this takes minutes), starts nginx as backend, HAProxy and our
/// proxy as a sidecar with its control plane, and drives each in turn with h2load. Needs two
/// CPUs, of which CPU 0 is for the proxy under test. Close everything else on the machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench
  cargo xtask bench --requests 50000 --runs 1 --only haproxy
  cargo xtask bench -o json > figures.json")]
pub(crate) struct Args {
    /// Requests per measured run
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    requests: u32,
    /// Connections of the HTTP/1.1 runs
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// How often each subject is measured; the table shows the middle one
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    runs: u32,
    /// Measure only these
    #[arg(long, value_delimiter = ',', value_name = "SUBJECT,SUBJECT")]
    only: Vec<Subject>,
    /// How to print the figures
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Requests of the latency run, which sends 1,000 a second.
const PACED: u32 = 10_000;

/// Requests before each measurement, for connections and caches to warm up.
const WARM_UP: u32 = 5_000;

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    require_machine()?;
    let subjects: Vec<Subject> = Subject::value_variants()
        .iter()
        .copied()
        .filter(|subject| args.only.is_empty() || args.only.contains(subject))
        .collect();
    let programs = if subjects.contains(&Subject::Proxy) {
        tools::require_build_tools()?;
        let programs = ["control-plane", "proxy"];
        Some(cargo::build_programs("release", &programs, &programs)?)
    } else {
        None
    };
    let scratch = tempfile::tempdir().context("temporary folder")?;
    let backend = Backend::start(scratch.path())?;
    let mut running = BTreeMap::new();
    let mut report = Report::default();
    for subject in &subjects {
        let started = subject.start(scratch.path(), programs.as_deref(), &backend)?;
        // Memory with its configuration in hand and nothing asked of it yet.
        thread::park_timeout(Duration::from_secs(1));
        report
            .figures
            .insert(*subject, Figures::idle(started.memory()?));
        running.insert(*subject, started);
    }
    for round in 1..=args.runs {
        for (subject, proxy) in &running {
            eprintln!("round {round} of {}: {subject}", args.runs);
            let figures = report.figures.entry(*subject).or_default();
            measure(args, proxy, scratch.path(), figures)?;
        }
    }
    if let Some(folder) = &programs {
        report.read_sizes(folder, &["control-plane", "proxy"]);
    }
    match args.output {
        Output::Table => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn require_machine() -> Result<()> {
    let lacking = tools::install_missing(tools::BENCH)?;
    if !lacking.is_empty() {
        bail!("{}", tools::explain(&lacking));
    }
    let cpus = thread::available_parallelism()
        .context("number of CPUs")?
        .get();
    if cpus < 2 {
        bail!(
            "the benchmark pins the proxy to CPU 0 and the rest to CPU 1; this machine has {cpus} CPU"
        );
    }
    Ok(())
}

/// One turn of one subject: HTTP/1.1 at full speed, HTTP/2 at full speed, latency at a fixed rate.
fn measure(args: &Args, proxy: &Running, scratch: &Path, figures: &mut Figures) -> Result<()> {
    let (n, c) = (args.requests, args.connections);
    let log = scratch.join("latency.log");
    let http1 = Load::new(proxy.http1(), Shape::Http1 { connections: c });
    http1.run(WARM_UP)?;
    figures.http1.push(costed(proxy, || http1.run(n))?);
    let http2 = Load::new(proxy.http2(), Shape::Http2 { streams: 100 });
    http2.run(WARM_UP)?;
    figures.http2.push(costed(proxy, || http2.run(n))?);
    figures
        .paced
        .push(costed(proxy, || http1.run_paced(PACED, &log))?);
    Ok(())
}

/// Adds what the proxy's CPU spent meanwhile to the load generator's figures.
fn costed(proxy: &Running, load: impl FnOnce() -> Result<load::Outcome>) -> Result<Run> {
    let before = proxy.cpu_millis()?;
    let outcome = load()?;
    let spent = proxy.cpu_millis()? - before;
    Ok(Run::new(&outcome, spent))
}
