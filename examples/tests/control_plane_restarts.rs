//! Control plane crashes under load, in short; `cargo xtask soak restarts` does twenty.

use examples::mesh::MeshOptions;
use examples::soak::{RestartsPlan, restarts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_cost_nothing_and_lose_nothing() {
    let plan = RestartsPlan { restarts: 2 };
    let findings = restarts(plan, MeshOptions::default(), &|_line| {})
        .await
        .unwrap();
    assert!(findings.passed(), "{findings}");
}
