//! Starts the control plane.

use std::process::ExitCode;

use clap::Parser;
use control_plane::app;
use control_plane::args::{Arguments, Command};
use mesh_runtime::process;

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let why = format!("cannot start the async runtime: {error}");
            return process::end("control-plane", Err(why));
        }
    };
    let ended = match command {
        Command::Serve(settings) => runtime.block_on(app::folder::serve(*settings)),
        Command::Kubernetes(settings) => runtime.block_on(app::kubernetes::serve(*settings)),
        Command::Crds(settings) => app::write_crds(&settings),
        Command::CheckMeshConfig(settings) => app::check_mesh_config(&settings),
    };
    // Nothing that still runs may keep the process from ending.
    runtime.shutdown_background();
    process::end("control-plane", ended)
}
