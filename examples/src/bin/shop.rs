//! The example shop's binary: one tier per process.

use clap::Parser as _;
use examples::shop::{ShopArgs, run};
use mesh_runtime::{LogFormat, logging};

// One thread: several shops share a small machine with the mesh they demonstrate.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    logging::init(LogFormat::Text, "info")?;
    run(ShopArgs::parse()).await
}
