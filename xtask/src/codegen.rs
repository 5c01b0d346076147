//! `cargo xtask codegen`: writes what is made from the sources, or checks that it is up to date.

use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::{cargo, tools};

/// Where the definitions of the mesh's kinds go.
const CRDS: &str = "deploy/crds";

/// Write deploy/crds from the Rust types of the mesh's kinds
///
/// The CustomResourceDefinitions are made from the types in mesh-api/resources, so that what
/// the API server accepts, what the control plane reads and what `kubectl explain` says are one.
/// Run this after changing those types; a test fails until you do.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask codegen
  cargo xtask codegen --check")]
pub(crate) struct Args {
    /// Change nothing; fail if a file differs
    #[arg(long)]
    check: bool,
}

/// Runs the control plane, which knows its own types.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    tools::require_build_tools()?;
    let status = cargo::command()
        .args(["run", "--quiet", "--package", "control-plane", "--"])
        .args(["crds", "--output", CRDS])
        .args(args.check.then_some("--check"))
        .status()
        .context("cargo could not be started")?;
    if !status.success() {
        return Ok(ExitCode::FAILURE);
    }
    let done = if args.check {
        "is up to date"
    } else {
        "written"
    };
    println!("{CRDS} {done}");
    Ok(ExitCode::SUCCESS)
}
