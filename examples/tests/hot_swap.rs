//! Configuration swaps under load, in short; `cargo xtask soak swaps` does a thousand.

use examples::mesh::MeshOptions;
use examples::soak::{SwapsPlan, swaps};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_or_sees_half_a_change() {
    let plan = SwapsPlan {
        swaps: 25,
        requests: 3_000,
    };
    let findings = swaps(plan, MeshOptions::default(), &|_line| {})
        .await
        .unwrap();
    assert!(findings.passed(), "{findings}");
}
