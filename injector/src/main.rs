//! Starts the injector: as a server, on a file, or to restart what was missed.

mod args;
mod commands;

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the async runtime: {error}")),
    };
    let ended = runtime.block_on(async {
        match command {
            Command::Serve(serve) => commands::serve(*serve).await,
            Command::Inject(inject) => commands::inject(*inject).await,
            Command::RestartMissing(restart) => commands::restart_missing(*restart).await,
        }
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the log may not be set up yet; the operator must see why"
)]
fn fail(reason: &str) -> ExitCode {
    eprintln!("injector: {reason}");
    ExitCode::FAILURE
}
