//! The binary of the long runs; `cargo xtask soak` builds what it needs and runs it.

use std::process::ExitCode;

use clap::Parser as _;
use examples::ended;
use examples::soak::{SoakArgs, run};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    ended(run(SoakArgs::parse()).await)
}
