//! Tests that cannot run where they are.

#![expect(unreachable_pub, reason = "every test binary has its own copy")]

use std::fs::File;
use std::io::Write;

/// Says that a test did not run and why: on its output, and where the whole run collects it.
pub fn skipped(test: &str, reason: &str) {
    println!("SKIPPED: {test}: {reason}");
    if let Ok(path) = std::env::var("MESH_TEST_SKIPS") {
        let file = File::options().create(true).append(true).open(path);
        // In one write: tests that run at the same time would put their lines into each other's.
        let line = format!("{test}: {reason}\n");
        file.unwrap().write_all(line.as_bytes()).unwrap();
    }
}
