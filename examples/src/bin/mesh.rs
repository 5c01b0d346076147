//! The binary behind `cargo xtask mesh`, which builds what it needs and runs it.

use std::process::ExitCode;

use clap::Parser as _;
use examples::ended;
use examples::own::{OwnArgs, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ended(run(OwnArgs::parse()).await)
}
