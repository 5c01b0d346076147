//! The example shop, a load generator, and a whole mesh on one machine to run both in.
//!
//! | module | what it gives |
//! |---|---|
//! | [`shop`] | a three-tier application that says what it received and misbehaves on request |
//! | [`load`] | bounded HTTP load without retries, with shares and latencies |
//! | [`mesh`] | control plane, proxies and shop as child processes over a folder of YAML |
//! | [`own`] | the same over a folder of your own, with a table of addresses |
//! | [`demo`] | the guided tour that `cargo xtask demo` runs |
//! | [`cluster`] | a real Kubernetes with the mesh on it, for the tests that need one |
//! | [`stream_probe`] | knocks at a configuration stream, for the tests of who is let in |
//! | [`soak`] | long runs that `cargo xtask soak` does, and tests do in short |

pub mod cluster;
pub mod demo;
pub mod load;
pub mod mesh;
pub mod own;
pub mod shop;
pub mod soak;
pub mod stream_probe;

use std::io::Write as _;
use std::process::ExitCode;

/// How a program ends: what is wrong is said once, for people, whatever the environment asks to be
/// shown of the program itself.
pub fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        // With nowhere to write to there is nobody to tell.
        drop(writeln!(std::io::stderr(), "error: {error:#}"));
        ExitCode::FAILURE
    })
}
