//! The demo's binary; `cargo xtask demo` builds what it needs and runs it.

use std::process::ExitCode;

use clap::Parser as _;
use examples::demo::{DemoArgs, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    run(DemoArgs::parse()).await
}
