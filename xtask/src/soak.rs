//! `cargo xtask soak`: builds the mesh and hands over to the program of the long runs.

use std::process::ExitCode;

use anyhow::Result;

use crate::{demo, tools};

/// Run a whole mesh for minutes while its configuration, control plane and clients misbehave
///
/// Swaps the configuration a thousand times under load, kills the control plane twenty times,
/// damages what is pushed, lets slow streams share a connection, and attacks every listener. Says what was claimed and whether it held;
/// the exit code is 1 if anything did not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What to run, and options, passed on as they are:
  swaps | restarts | wire-faults | shared | hostile-bytes | floods | plane
  pod-starts | all (but floods, plane and pod-starts)
  --swaps N --requests N    how many swaps and requests
  --restarts N              how many control plane crashes
  --shared-seconds N        how long slow streams and quick requests share a connection
  --flood-seconds N --flood-connections 3,10,80 --flood-rounds N --attacks resets,pings
                            how long, how many and which floods, beside HAProxy if installed
  --plane-seconds N --plane-proxies N --plane-attacks nacks,tokens
                            how long, how many lawful proxies and which attacks on the control plane
  --pods 1,30 --pod-rounds N --kubeconfig FILE
                            pods that start at once on a cluster with mesh and shop
  --json                    findings as JSON on standard output

Examples:
  cargo xtask soak
  cargo xtask soak swaps --swaps 100 --requests 20000
  cargo xtask soak restarts --json
  cargo xtask soak plane")]
pub(crate) struct Args {
    /// What to run, and options for it
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "RUN AND OPTIONS"
    )]
    options: Vec<String>,
}

/// Builds, and becomes the program.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    tools::require_build_tools()?;
    demo::become_example("soak", &args.options)
}
