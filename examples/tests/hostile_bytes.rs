//! Hostile clients on every listener, every attack once.

use examples::mesh::MeshOptions;
use examples::soak::{HostilePlan, hostile_bytes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_notices_hostile_clients() {
    let plan = HostilePlan { rounds: 1, seed: 7 };
    let findings = hostile_bytes(plan, MeshOptions::default(), &|_line| {})
        .await
        .unwrap();
    assert!(findings.passed(), "{findings}");
}
