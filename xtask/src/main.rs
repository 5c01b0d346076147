//! Entry point of `cargo xtask`.

#[macro_use]
mod output;

mod bench;
mod cargo;
mod cluster;
mod codegen;
mod commands;
mod demo;
mod deploy;
mod go;
mod h2spec;
mod image;
mod mesh;
mod soak;
mod test;
mod tidy;
mod tools;
mod undeploy;

use std::process::ExitCode;

use clap::Parser;

use commands::Cli;

fn main() -> ExitCode {
    Cli::parse().run().unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
