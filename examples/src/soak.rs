//! Long runs against a whole mesh: what must hold after thousands of configuration changes,
//! control plane crashes, damaged pushes and hostile clients.
//!
//! Each run is one function with its size as a parameter. The `soak` binary runs them at full
//! size; the tests run the same code for a few seconds.
//!
//! | run | what it claims |
//! |---|---|
//! | [`swaps`] | no request fails or sees half a change while the configuration is swapped |
//! | [`restarts`] | a control plane that dies and comes back costs nothing and loses nothing |
//! | [`wire_faults`] | a damaged resource is refused by name and field; everything else goes on |
//! | [`floods`] | no few clients that send or hold too much disturb the traffic of others |
//! | [`plane`] | no hostile pod holds up the pushes of others, or costs the control plane much |
//! | [`shared`] | whoever reads slowly costs nobody else on the same connection anything |
//! | [`hostile_bytes`] | no bytes on any listener disturb the traffic of others |
//! | [`pod_starts`] | on a cluster, nobody is warned of pods that start well, however many at once |

mod crowd;
mod findings;
mod floods;
mod hostile;
mod plane;
mod pod_starts;
mod relay;
mod restarts;
mod shared;
mod stage;
mod swaps;
mod usage;
mod versions;
mod wire;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use mesh_runtime::{Shutdown, StopReason};

use crate::mesh::MeshOptions;

pub use findings::{Claim, Findings};
pub use floods::{Attack, FloodsPlan, floods};
pub use hostile::{HostilePlan, hostile_bytes};
pub use plane::{PlaneAttack, PlanePlan, plane};
pub use pod_starts::{PodStartsPlan, pod_starts};
pub use restarts::{RestartsPlan, restarts};
pub use shared::{SharedPlan, shared};
pub use swaps::{SwapsPlan, swaps};
pub use wire::{WirePlan, wire_faults};

/// The exit code after ctrl-C, as shells expect it.
const EXIT_INTERRUPTED: u8 = 130;

/// Services with a route that proxies are told of in `plane`.
const SERVICES: usize = 100;

/// Is told what a run is doing, in short lines.
pub type Tell<'a> = &'a (dyn Fn(&str) + Sync);

/// Which run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// Configuration swaps under load.
    Swaps,
    /// Control plane crashes under load.
    Restarts,
    /// Damaged pushes.
    WireFaults,
    /// Slow streams and quick requests over one connection.
    Shared,
    /// Hostile clients.
    HostileBytes,
    /// Floods and greed, at every kind of listener and at HAProxy.
    Floods,
    /// One hostile pod at the control plane.
    Plane,
    /// Pods that start on a cluster, with and without a sidecar.
    PodStarts,
    /// All of them but floods, plane and what needs a cluster, one after the other.
    All,
}

/// Flags of the `soak` binary.
#[derive(Debug, Clone, clap::Parser)]
#[command(
    name = "soak",
    version,
    about = "Long runs against a whole mesh: swaps, restarts, damaged pushes, hostile clients",
    after_help = "Examples:\n  soak swaps --swaps 1000 --requests 200000\n  soak all --json > soak.json\n  soak floods --flood-seconds 5 --flood-connections 3 --flood-rounds 1\n  soak plane --plane-attacks nacks,tokens --json"
)]
pub struct SoakArgs {
    /// What to run.
    #[arg(value_enum, default_value_t = Which::All)]
    pub which: Which,
    /// Configuration changes of `swaps`.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub swaps: u64,
    /// Requests that `swaps` sends at least.
    #[arg(long, default_value_t = 200_000)]
    pub requests: u64,
    /// Crashes of the control plane in `restarts`.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub restarts: u64,
    /// Times that `wire-faults` goes through all its faults.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub fault_rounds: u64,
    /// Times that `hostile-bytes` goes through all its attacks.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    pub attack_rounds: u64,
    /// The seed of the random bytes of `hostile-bytes`.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Seconds that `shared` lasts.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub shared_seconds: u64,
    /// Seconds of each attack of `floods`.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub flood_seconds: u64,
    /// Connections at once of each attack of `floods`.
    #[arg(long, value_delimiter = ',', default_values_t = [3_usize, 10, 80])]
    pub flood_connections: Vec<usize>,
    /// How often `floods` makes each attack; the table shows the middle one.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=9))]
    pub flood_rounds: u64,
    /// Only these attacks of `floods`.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub attacks: Vec<Attack>,
    /// Seconds of each attack of `plane`.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub plane_seconds: u64,
    /// Lawful proxies of `plane`.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=2000))]
    pub plane_proxies: u16,
    /// Only these attacks of `plane`.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub plane_attacks: Vec<PlaneAttack>,
    /// Pods at once of `pod-starts`, a table each.
    #[arg(long, value_delimiter = ',', default_values_t = [1_usize, 30])]
    pub pods: Vec<usize>,
    /// How often `pod-starts` starts each number of pods.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=20))]
    pub pod_rounds: u64,
    /// The cluster of `pod-starts`, which has mesh and shop.
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubectl of `pod-starts`.
    #[arg(long, value_name = "PROGRAM", default_value = "kubectl")]
    pub kubectl: PathBuf,
    /// Print the findings as JSON, on standard output; progress goes to standard error.
    #[arg(long)]
    pub json: bool,
    /// The folder with control-plane, proxy and shop; beside this binary if left out.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
    /// The folder with the examples' YAML; where it was at build time if left out.
    #[arg(long, value_name = "DIR")]
    pub examples: Option<PathBuf>,
}

/// Runs what the flags ask for and prints what came of it. However it ends, no process stays
/// behind.
pub async fn run(args: SoakArgs) -> anyhow::Result<ExitCode> {
    let mut shutdown = Shutdown::listen(false)?;
    tokio::select! {
        outcome = all(&args) => outcome,
        reason = shutdown.recv() => Ok(interrupted(reason)),
    }
}

/// What `all` means: what takes minutes at most and needs nothing but this machine.
const ALL: [Which; 5] = [
    Which::Swaps,
    Which::Restarts,
    Which::WireFaults,
    Which::Shared,
    Which::HostileBytes,
];

async fn all(args: &SoakArgs) -> anyhow::Result<ExitCode> {
    let mut options = MeshOptions {
        binaries: args.binaries.clone(),
        ..MeshOptions::default()
    };
    if let Some(examples) = &args.examples {
        options.examples.clone_from(examples);
    }
    let wanted = if args.which == Which::All {
        ALL.to_vec()
    } else {
        vec![args.which]
    };
    let mut code = ExitCode::SUCCESS;
    for which in wanted {
        let findings = one(which, args, options.clone()).await?;
        if !findings.passed() {
            code = ExitCode::FAILURE;
        }
        let mut out = std::io::stdout().lock();
        if args.json {
            writeln!(out, "{}", findings.to_json())?;
        } else {
            writeln!(out, "{findings}")?;
        }
    }
    Ok(code)
}

async fn one(which: Which, args: &SoakArgs, options: MeshOptions) -> anyhow::Result<Findings> {
    let tell: Tell<'_> = &|line| progress(line);
    match which {
        Which::Swaps => {
            let plan = SwapsPlan {
                swaps: args.swaps,
                requests: args.requests,
            };
            swaps(plan, options, tell).await
        }
        Which::Restarts => {
            let plan = RestartsPlan {
                restarts: args.restarts,
            };
            restarts(plan, options, tell).await
        }
        Which::WireFaults => {
            let plan = WirePlan {
                rounds: args.fault_rounds,
            };
            wire_faults(plan, options, tell).await
        }
        Which::Shared => {
            let plan = SharedPlan {
                time: Duration::from_secs(args.shared_seconds),
            };
            shared(plan, options, tell).await
        }
        Which::Floods => {
            let plan = FloodsPlan {
                time: Duration::from_secs(args.flood_seconds),
                connections: args.flood_connections.clone(),
                rounds: usize::try_from(args.flood_rounds).unwrap_or(1),
                only: args.attacks.clone(),
            };
            floods(plan, options, tell).await
        }
        Which::Plane => {
            let plan = PlanePlan {
                time: Duration::from_secs(args.plane_seconds),
                proxies: usize::from(args.plane_proxies),
                services: SERVICES,
                only: args.plane_attacks.clone(),
            };
            plane(plan, options, tell).await
        }
        Which::PodStarts => {
            let kubeconfig = args.kubeconfig.clone();
            let plan = PodStartsPlan {
                kubeconfig: kubeconfig.context("pod-starts needs a cluster: --kubeconfig FILE")?,
                kubectl: args.kubectl.clone(),
                pods: args.pods.clone(),
                rounds: usize::try_from(args.pod_rounds).unwrap_or(1),
            };
            pod_starts(plan, tell).await
        }
        // `all` was taken apart before.
        Which::HostileBytes | Which::All => {
            let plan = HostilePlan {
                rounds: args.attack_rounds,
                seed: args.seed,
            };
            hostile_bytes(plan, options, tell).await
        }
    }
}

fn interrupted(reason: StopReason) -> ExitCode {
    progress(&format!("{reason}: ending all processes"));
    ExitCode::from(EXIT_INTERRUPTED)
}

fn progress(line: &str) {
    // With nobody to read it there is nobody to tell.
    drop(writeln!(std::io::stderr(), "{line}"));
}
