//! The example shop's binary: one tier per process.

use std::process::ExitCode;

use clap::Parser as _;
use examples::shop::{ShopArgs, run};
use mesh_runtime::logging::{self, Levels};
use mesh_runtime::{LogFormat, process};

// One thread: several shops share a small machine with the mesh they demonstrate.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if let Err(error) = logging::init(LogFormat::Text, &Levels::default()) {
        return process::end("shop", Err(error));
    }
    logging::log_panics();
    process::end("shop", run(ShopArgs::parse()).await)
}
