//! Compiles `proto/` at build time, without needing `protoc` on the machine.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = protox::compile(
        ["mesh/v1/discovery.proto", "mesh/v1/resources.proto"],
        ["proto"],
    )?;
    tonic_prost_build::configure()
        // Ordered maps make equal values encode to equal bytes, on which versions depend.
        .btree_map(".")
        .bytes(".")
        .build_transport(false)
        .codec_path("crate::codec::BoundedCodec")
        .compile_fds(files)?;
    Ok(())
}
