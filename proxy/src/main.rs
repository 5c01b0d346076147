//! The proxy binary: reads the command line, starts the control runtime, ends with an exit code.
//!
//! The same binary is `pilot-agent`, by whose name people and hooks ask a sidecar things.

use std::process::ExitCode;

use clap::Parser;
use mesh_runtime::logging;
use proxy::args::Args;
use proxy::bootstrap::Settings;
use proxy::command::{Failed, Task, begin, show};
use proxy::{app, runtimes};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line is wrong.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let settings = match begin(Args::parse()) {
        Ok(Task::Serve(settings)) => *settings,
        Ok(Task::Done(output)) => {
            let failed = |error| complain(&error, ExitCode::FAILURE);
            return show(&output).map_or_else(failed, |()| ExitCode::SUCCESS);
        }
        Err(Failed::Failed(problem)) => return complain(&problem, ExitCode::FAILURE),
        Err(Failed::Usage(problem)) => {
            let hint = format!("{problem}\n\nFor what can be said, try '--help'.");
            return complain(&hint, ExitCode::from(USAGE));
        }
    };
    if let Err(problem) = logging::init(settings.log_format, &settings.log_level) {
        return complain(&problem, ExitCode::from(USAGE));
    }
    logging::log_panics();
    let code = match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    };
    logging::flush();
    code
}

fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime = runtimes::control()?;
    let ended = runtime.block_on(app::run(settings));
    // Nothing that still runs may keep the process from ending.
    runtime.shutdown_background();
    ended
}

/// Nothing is logged before the options are known.
fn complain(problem: &dyn std::fmt::Display, code: ExitCode) -> ExitCode {
    logging::complain(&format!("error: {problem}"));
    code
}
