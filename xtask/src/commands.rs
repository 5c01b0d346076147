//! The command line of `cargo xtask`: which commands there are, and what each one runs.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{bench, cluster, codegen, demo, deploy, image, mesh, soak, test, tidy, undeploy};

/// Everything a person does in this repository, one command each.
///
/// New here? `cargo xtask demo` shows a mesh routing real traffic, `cargo xtask test` checks a
/// change the way CI does. Neither needs anything but Rust, a C compiler and a network
/// connection for the crates.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Mesh(mesh::Args),
    Soak(soak::Args),
    Test(test::Args),
    Tidy(tidy::Args),
    Bench(bench::Args),
    Cluster(cluster::Args),
    Codegen(codegen::Args),
    Image(image::Args),
    Deploy(Box<deploy::Args>),
    Undeploy(undeploy::Args),
}

impl Cli {
    /// Runs the chosen command.
    pub(crate) fn run(&self) -> Result<ExitCode> {
        match &self.command {
            Command::Demo(args) => demo::run(args),
            Command::Mesh(args) => mesh::run(args),
            Command::Soak(args) => soak::run(args),
            Command::Test(args) => test::run(args),
            Command::Tidy(args) => tidy::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Cluster(args) => cluster::run(args),
            Command::Codegen(args) => codegen::run(args),
            Command::Image(args) => image::run(args),
            Command::Deploy(args) => deploy::run(args),
            Command::Undeploy(args) => undeploy::run(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
