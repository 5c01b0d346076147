//! The proxy binary: reads the command line, starts the control runtime, ends with an exit code.

use std::process::ExitCode;

use clap::Parser;
use proxy::args::Args;
use proxy::bootstrap::{Settings, check};
use proxy::{app, runtimes};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let settings = match check::settings(Args::parse()) {
        Ok(settings) => settings,
        Err(problems) => return complain(&problems, ExitCode::from(USAGE)),
    };
    if let Err(problem) = mesh_runtime::logging::init(settings.log_format, &settings.log_level) {
        return complain(&problem, ExitCode::from(USAGE));
    }
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime = runtimes::control()?;
    let ended = runtime.block_on(app::run(settings));
    // Nothing that still runs may keep the process from ending.
    runtime.shutdown_background();
    ended
}

#[expect(
    clippy::print_stderr,
    reason = "nothing is logged before the options are known"
)]
fn complain(problem: &dyn std::fmt::Display, code: ExitCode) -> ExitCode {
    eprintln!("error: {problem}\n\nFor what can be said, try '--help'.");
    code
}
