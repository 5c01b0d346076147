//! `cargo xtask bench`: what a request and a connection cost through our proxy and through its
//! peers, measured in the same run.
//!
//! The figure to trust is the proxy's CPU time per 1,000 requests: the proxy has one CPU to
//! itself, backend and load generator share the other, so rates say how fast the load generator
//! is. Subjects take turns, so that a machine that slows down slows both.

mod backend;
mod frames;
mod held;
mod load;
mod process;
mod report;
mod subject;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::{cargo, tools};
use backend::Backend;
use held::Kind;
use load::{Load, Shape};
use report::{Figures, Report, Run};
use subject::{Programs, Running, Subject};

/// Measure CPU per request, latency and memory beside HAProxy and Envoy
///
/// Builds the release programs (this takes minutes), starts nginx as backend, HAProxy, Envoy
/// where it is installed, and our proxy as a sidecar with its control plane, and drives each in
/// turn with h2load. Then starts each again and opens connections that ask for nothing, or for
/// more than they read. Needs two CPUs, of which CPU 0 is for the proxy under test. Close
/// everything else on the machine.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench
  cargo xtask bench --requests 50000 --runs 1 --only haproxy
  cargo xtask bench --runs 5 --before ../old/target/release --envoy ~/envoy/bin/envoy
  cargo xtask bench --runs 0
  cargo xtask bench -o json > figures.json")]
pub(crate) struct Args {
    /// Requests per measured run
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    requests: u32,
    /// Connections of the HTTP/1.1 runs
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// How often each subject is measured; the table shows the middle one, and 0 leaves the
    /// requests out
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=20))]
    runs: u32,
    /// Connections of each kind that are held to see what one costs; 0 leaves them out
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(0..=2_000))]
    held: u32,
    /// A folder with the `control-plane` and `proxy` to measure; without this they are built
    #[arg(long, value_name = "FOLDER")]
    built: Option<PathBuf>,
    /// A folder with the `control-plane` and `proxy` of an earlier build, measured beside ours
    #[arg(long, value_name = "FOLDER")]
    before: Option<PathBuf>,
    /// Envoy's program; without this the `envoy` on PATH, if there is one
    #[arg(long, value_name = "PROGRAM")]
    envoy: Option<PathBuf>,
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

/// After the last connection is open, for what it asked for to be held.
const SETTLE: Duration = Duration::from_millis(1_500);

/// Runs the benchmark.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    require_machine()?;
    let (subjects, programs) = subjects(args)?;
    let scratch = tempfile::tempdir().context("temporary folder")?;
    let backend = Backend::start(scratch.path())?;
    let mut report = Report::default();
    if args.runs > 0 {
        requests(
            args,
            &subjects,
            &programs,
            &backend,
            &mut report,
            scratch.path(),
        )?;
    }
    if args.held > 0 {
        connections(
            args,
            &subjects,
            &programs,
            &backend,
            &mut report,
            scratch.path(),
        )?;
    }
    if let Some(folder) = &programs.now {
        report.read_sizes(folder, &["control-plane", "proxy"]);
    }
    match args.output {
        Output::Table => print!("{report}"),
        Output::Json => println!("{}", serde_json::to_string_pretty(&report)?),
    }
    Ok(ExitCode::SUCCESS)
}

/// Who takes part, and where its programs are.
fn subjects(args: &Args) -> Result<(Vec<Subject>, Programs)> {
    let asked = |subject: Subject| args.only.is_empty() || args.only.contains(&subject);
    let mut programs = Programs {
        now: args.built.clone(),
        before: args.before.clone(),
        envoy: args.envoy.clone().or_else(|| tools::find("envoy")),
    };
    if asked(Subject::Proxy) && programs.now.is_none() {
        tools::require_build_tools()?;
        let names = ["control-plane", "proxy"];
        programs.now = Some(cargo::build_programs("release", &names, &names)?);
    }
    let mut subjects = Vec::new();
    for subject in Subject::value_variants()
        .iter()
        .copied()
        .filter(|it| asked(*it))
    {
        let lacking = match subject {
            Subject::Envoy => programs.envoy.is_none().then_some("--envoy PROGRAM"),
            Subject::Before => programs.before.is_none().then_some("--before FOLDER"),
            Subject::Haproxy | Subject::Proxy => None,
        };
        match lacking {
            None => subjects.push(subject),
            Some(lacking) if args.only.contains(&subject) => {
                bail!("{subject} can only be measured with {lacking}")
            }
            Some(lacking) => eprintln!("{subject} does not take part; {lacking} would change that"),
        }
    }
    Ok((subjects, programs))
}

/// All subjects side by side, in turns.
fn requests(
    args: &Args,
    subjects: &[Subject],
    programs: &Programs,
    backend: &Backend,
    report: &mut Report,
    scratch: &Path,
) -> Result<()> {
    let mut running = BTreeMap::new();
    for subject in subjects {
        let started = subject.start(scratch, programs, backend)?;
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
            measure(args, proxy, scratch, figures)?;
        }
    }
    Ok(())
}

/// Each subject by itself and anew for each kind, since what one kind left would serve the next.
fn connections(
    args: &Args,
    subjects: &[Subject],
    programs: &Programs,
    backend: &Backend,
    report: &mut Report,
    scratch: &Path,
) -> Result<()> {
    raise_file_limit(u64::from(args.held) + 100)?;
    for subject in subjects {
        for kind in Kind::value_variants().iter().copied() {
            eprintln!("{} connections, {}: {subject}", args.held, kind.title());
            let proxy = subject.start(scratch, programs, backend)?;
            Load::new(proxy.http1(), Shape::Http1 { connections: 1 }).run(WARM_UP)?;
            Load::new(proxy.http2(), Shape::Http2 { streams: 1 }).run(WARM_UP)?;
            let before = proxy.memory()?;
            let mut held = Vec::new();
            for _ in 0..args.held {
                held.push(kind.open(&proxy)?);
            }
            thread::park_timeout(SETTLE);
            let more = proxy.memory()?.pss_kib.saturating_sub(before.pss_kib);
            let more = u32::try_from(more).context("memory")?;
            let each = f64::from(more) / f64::from(args.held);
            let figures = report.figures.entry(*subject).or_default();
            figures.held.insert(kind, each);
        }
    }
    Ok(())
}

fn raise_file_limit(needed: u64) -> Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files")?;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        bail!("--held needs {needed} open files, and {hard} are allowed: `ulimit -Hn` raises that");
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard).context("the limit of open files")
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
    let before = proxy.cpu()?;
    let outcome = load()?;
    let spent = proxy.cpu()? - before;
    Ok(Run::new(&outcome, spent))
}
