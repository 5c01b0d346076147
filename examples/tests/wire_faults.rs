//! Damage on the wire between control plane and proxy, every kind once.

use examples::mesh::MeshOptions;
use examples::soak::{WirePlan, wire_faults};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_is_refused_and_all_else_goes_on() {
    let plan = WirePlan { rounds: 1 };
    let findings = wire_faults(plan, MeshOptions::default(), &|_line| {})
        .await
        .unwrap();
    assert!(findings.passed(), "{findings}");
}
