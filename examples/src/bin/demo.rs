//! The demo's binary; `cargo xtask demo` builds what it needs and runs it.

use std::process::ExitCode;

use clap::Parser as _;
use examples::demo::{DemoArgs, run};
use examples::ended;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    ended(run(DemoArgs::parse()).await)
}
