//! The guided tour of `cargo xtask demo`: a whole mesh on one machine, live figures, and a
//! verdict on everything it claims.

mod acts;
mod screen;
mod users;

use std::path::PathBuf;
use std::process::ExitCode;

use mesh_runtime::{Shutdown, StopReason};

use crate::mesh::{BusyPort, Mesh, MeshOptions};
use acts::Verdict;
use screen::Screen;

/// The exit code when the machine, not the mesh, is in the way: a busy port, a missing binary.
const EXIT_CANNOT_START: u8 = 2;

/// The exit code after ctrl-C, as shells expect it.
const EXIT_INTERRUPTED: u8 = 130;

/// Flags of the `demo` binary.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "demo",
    version,
    about = "A whole mesh on one machine, with live figures"
)]
pub struct DemoArgs {
    /// Leave everything running at the end, until ctrl-C.
    #[arg(long)]
    pub keep: bool,
    /// Requests that the split is measured over.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub requests: u64,
    /// No colours, also on a terminal.
    #[arg(long)]
    pub no_color: bool,
    /// The folder with control-plane, proxy and shop; beside this binary if left out.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
    /// The folder with the examples' YAML; where it was at build time if left out.
    #[arg(long, value_name = "DIR")]
    pub examples: Option<PathBuf>,
}

/// Runs the tour. However it ends, no process stays behind.
pub async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let mut shutdown = Shutdown::listen(false)?;
    let screen = Screen::new(!args.no_color);
    // Dropping the tour drops the mesh, and the mesh ends its processes.
    let toured = tokio::select! {
        toured = tour(&args, &screen) => toured,
        reason = shutdown.recv() => return Ok(interrupted(&screen, reason)),
    };
    let (mesh, verdicts) = match toured {
        Ok(toured) => toured,
        Err(error) => {
            screen.error(&format!("{error:#}"));
            let at_start = error.is::<BusyPort>() || error.is::<CannotStart>();
            return Ok(ExitCode::from(if at_start { EXIT_CANNOT_START } else { 1 }));
        }
    };
    let passed = summary(&screen, &verdicts);
    if args.keep {
        acts::leave_running(&mesh, &screen)?;
        shutdown.recv().await;
        screen.line("stopping");
    }
    drop(mesh);
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Marks an error that came before the mesh was up.
#[derive(Debug)]
struct CannotStart;

impl std::fmt::Display for CannotStart {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("the demo cannot start")
    }
}

async fn tour(args: &DemoArgs, screen: &Screen) -> anyhow::Result<(Mesh, Vec<Verdict>)> {
    let mut options = MeshOptions::story("canary");
    options.instance = Some(80);
    options.binaries.clone_from(&args.binaries);
    if let Some(examples) = &args.examples {
        options.examples.clone_from(examples);
    }
    screen.title("Starting a control plane, a gateway, and a shop of four workloads");
    let starting = screen.progress();
    let mut ready = 0_usize;
    let started = Mesh::start_watched(options.clone(), |name| {
        ready += 1;
        starting.tell(&format!("{name} is ready"));
    })
    .await;
    starting.finish();
    let mut mesh = match started {
        Ok(mesh) => mesh,
        Err(error) if error.is::<BusyPort>() => {
            return Err(error.context(
                "the demo cannot start; if this is another demo, end it with ctrl-C first",
            ));
        }
        Err(error) => return Err(error.context(CannotStart)),
    };
    screen.line(&format!(
        "{ready} processes are ready; the configuration is in"
    ));
    screen.line(&mesh.config_dir().display().to_string());
    let verdicts = acts::all(&mut mesh, screen, args.requests, &options.examples).await;
    Ok((mesh, verdicts))
}

fn summary(screen: &Screen, verdicts: &[Verdict]) -> bool {
    screen.title("Summary");
    for verdict in verdicts {
        screen.verdict(verdict.passed, &verdict.claim);
    }
    verdicts.iter().all(|verdict| verdict.passed)
}

fn interrupted(screen: &Screen, reason: StopReason) -> ExitCode {
    screen.line(&format!("{reason}: ending all processes"));
    ExitCode::from(EXIT_INTERRUPTED)
}
