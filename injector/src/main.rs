//! Starts the injector: as a server, on a file, or to restart what was missed.

mod args;
mod commands;

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;
use mesh_runtime::process;

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let why = format!("cannot start the async runtime: {error}");
            return process::end("injector", Err(why));
        }
    };
    let ended = runtime.block_on(async {
        match command {
            Command::Serve(serve) => commands::serve(*serve).await,
            Command::Inject(inject) => commands::inject(*inject).await,
            Command::RestartMissing(restart) => commands::restart_missing(*restart).await,
        }
    });
    // Nothing that still runs may keep the process from ending.
    runtime.shutdown_background();
    process::end("injector", ended)
}
