//! `cargo xtask mesh DIR`: your own YAML on one machine. A control plane over the folder, a proxy
//! for every workload in it, and a table that says where to call and where to listen.
//!
//! The folder stays the truth while it runs: what is saved there is pushed, workloads that come
//! get a proxy and those that go lose theirs, and what is wrong is told as it appears.

mod folder;
mod plan;
mod running;
mod table;
mod watch;

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use mesh_runtime::{Shutdown, StopReason};

use crate::mesh::BusyPort;
use running::Running;

/// The exit code when the machine or the folder, not the mesh, is in the way.
const EXIT_CANNOT_START: u8 = 2;

/// Flags of the `mesh` binary.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "mesh",
    version,
    about = "Run your own YAML on this machine: no root, no Kubernetes",
    after_help = "`cargo xtask mesh --help` says what the folder needs, examples/README.md how to begin."
)]
pub struct OwnArgs {
    /// The folder with your YAML; it is watched, sub-folders included.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
    /// Also print every line the processes log.
    #[arg(long)]
    pub follow: bool,
    /// The address of the control plane, ports 15012 and 15014.
    #[arg(long, value_name = "127.x.y.z", default_value = "127.80.0.2")]
    pub control_plane: Ipv4Addr,
    /// What proxies write about each request: off, text or json.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub access_log: String,
    /// The folder with the programs control-plane and proxy; beside this one if left out.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
}

/// Runs until it is told to stop. However it ends, no process stays behind.
pub async fn run(args: OwnArgs) -> anyhow::Result<ExitCode> {
    let mut shutdown = Shutdown::listen(false)?;
    // Dropping what runs ends its processes.
    let started = tokio::select! {
        started = Running::start(&args) => started,
        reason = shutdown.recv() => return Ok(interrupted(reason)),
    };
    let mut running = match started {
        Ok(running) => running,
        Err(error) => {
            complain(&format!("{error:#}"));
            let ours = error.is::<BusyPort>() || error.is::<folder::NothingToRun>();
            return Ok(ExitCode::from(if ours { EXIT_CANNOT_START } else { 1 }));
        }
    };
    let ended = tokio::select! {
        ended = running.watch() => Some(ended),
        _reason = shutdown.recv() => None,
    };
    table::say("stopping");
    tokio::select! {
        stopped = running.stop() => stopped.context("not everything stopped in order")?,
        _again = shutdown.recv() => {}
    }
    match ended {
        None => Ok(ExitCode::SUCCESS),
        Some(Ok(())) => Ok(ExitCode::FAILURE),
        Some(Err(error)) => {
            complain(&format!("{error:#}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn interrupted(reason: StopReason) -> ExitCode {
    table::say(&format!("stopped before everything had started: {reason}"));
    ExitCode::FAILURE
}

fn complain(problem: &str) {
    // Nobody may be there to read it.
    drop(writeln!(std::io::stderr(), "error: {problem}"));
}
