//! `cargo xtask cluster`: a real Kubernetes of one node on this machine, for tests and daily work.
//!
//! The programs come from Debian packages and Go modules and no image is pulled, so it works
//! where only package registries can be reached. Everything it makes is in one folder, on two
//! network interfaces and in one control group of its own, so that `down` leaves nothing behind.

mod assets;
mod components;
mod configuration;
mod dns;
mod layout;
mod network;
mod pods;
mod process;
pub(crate) mod progress;
mod remains;
mod shims;
mod start;
mod stop;

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use layout::Layout;
pub(crate) use start::up;
pub(crate) use stop::down;

/// A real Kubernetes of one node on this machine, for tests and daily work
///
/// Needs root and Debian packages (installed when missing) and Go for the first start, which
/// builds Kubernetes and takes some ten minutes; later starts take seconds.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask cluster up
  eval \"$(cargo xtask cluster env)\"; kubectl get pods -A
  cargo xtask cluster kubectl -- get nodes
  cargo xtask cluster down")]
pub(crate) struct Args {
    /// Where everything of the cluster is kept [default: ~/.cache/mesh-cluster]
    #[arg(long, value_name = "DIR", global = true)]
    state: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start the cluster, or what is missing of it, and wait until it is ready
    Up {
        /// Ask this DNS server for names outside of the cluster, which do not exist otherwise
        #[arg(long, value_name = "ADDRESS")]
        upstream_dns: Vec<IpAddr>,
    },
    /// End the cluster and remove everything of it
    Down,
    /// Say which parts run; fails unless all do and the node is ready
    Status,
    /// Run kubectl on the cluster
    Kubectl {
        /// What to tell kubectl
        #[arg(
            trailing_var_arg = true,
            allow_hyphen_values = true,
            value_name = "ARGS"
        )]
        arguments: Vec<String>,
    },
    /// Print the shell commands that make the cluster that of this shell, for `eval`
    Env,
}

/// Which cluster, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Its folder; `~/.cache/mesh-cluster` if none is given.
    pub(crate) state: Option<PathBuf>,
    /// DNS servers for names outside of the cluster.
    pub(crate) upstream_dns: Vec<IpAddr>,
}

/// A cluster that is ready.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    /// Its administrator's kubeconfig.
    pub(crate) kubeconfig: PathBuf,
    /// A folder with `kubectl`, `ctr` and `microk8s` that talk to this cluster.
    pub(crate) bin: PathBuf,
}

impl Running {
    fn of(layout: &Layout) -> Self {
        Self {
            kubeconfig: layout.kubeconfig(),
            bin: layout.bin(),
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let mut options = Options {
        state: args.state.clone(),
        upstream_dns: Vec::new(),
    };
    let layout = Layout::new(args.state.as_deref())?;
    match &args.action {
        Action::Up { upstream_dns } => {
            options.upstream_dns.clone_from(upstream_dns);
            let running = up(&options)?;
            println!("the cluster is ready; to use it in this shell:");
            println!("  eval \"$(cargo xtask cluster env)\"");
            println!("kubeconfig: {}", running.kubeconfig.display());
            println!("logs:       {}", layout.logs().display());
            Ok(ExitCode::SUCCESS)
        }
        Action::Down => {
            down(&options)?;
            println!("the cluster is gone");
            Ok(ExitCode::SUCCESS)
        }
        Action::Status => status(&layout),
        Action::Kubectl { arguments } => {
            let running = existing(&layout)?;
            let error = Command::new(running.bin.join("kubectl"))
                .args(arguments)
                .env("KUBECONFIG", &running.kubeconfig)
                .exec();
            Err(error).context("kubectl could not be started")
        }
        Action::Env => {
            let running = existing(&layout)?;
            println!("export KUBECONFIG={}", running.kubeconfig.display());
            println!("export PATH={}:\"$PATH\"", running.bin.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The cluster that was started before.
fn existing(layout: &Layout) -> Result<Running> {
    if !layout.kubeconfig().is_file() || !layout.bin().join("kubectl").is_file() {
        bail!(
            "there is no cluster in {}; start one: cargo xtask cluster up",
            layout.root().display()
        );
    }
    Ok(Running::of(layout))
}

fn status(layout: &Layout) -> Result<ExitCode> {
    if remains::read(layout)?.is_none() {
        println!("there is no cluster; start one: cargo xtask cluster up");
        return Ok(ExitCode::FAILURE);
    }
    let mut complete = true;
    for name in components::NAMES {
        let running = process::running(layout, name);
        complete &= running.is_some();
        let state = running.map_or_else(
            || format!("does not run; see {}", layout.log(name).display()),
            |process| format!("runs as {}", process.pid),
        );
        println!("{name:<24} {state}");
    }
    let ready = complete && start::is_node_ready(layout);
    let state = if ready { "ready" } else { "not ready" };
    println!("{:<24} {state}", layout::NODE);
    std::io::stdout().flush()?;
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
