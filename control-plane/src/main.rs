//! Starts the control plane.

use std::process::ExitCode;

use clap::Parser;
use control_plane::app;
use control_plane::args::{Arguments, Command};

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the async runtime: {error}")),
    };
    let ended = match command {
        Command::Serve(settings) => runtime.block_on(app::folder::serve(*settings)),
        Command::Kubernetes(settings) => runtime.block_on(app::kubernetes::serve(*settings)),
        Command::Crds(settings) => app::write_crds(&settings),
        Command::CheckMeshConfig(settings) => app::check_mesh_config(&settings),
    };
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
    eprintln!("control-plane: {reason}");
    ExitCode::FAILURE
}
