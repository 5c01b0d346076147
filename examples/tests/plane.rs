//! One hostile pod at a control plane, for a second of each attack.

use std::time::Duration;

use examples::mesh::MeshOptions;
use examples::soak::{PlanePlan, plane};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_elses_pushes_are_lost_by_a_hostile_pod() {
    let plan = PlanePlan {
        time: Duration::from_secs(1),
        proxies: 5,
        services: 20,
        only: Vec::new(),
    };
    let findings = plane(plan, MeshOptions::default(), &|_line| {})
        .await
        .unwrap();
    assert!(findings.passed(), "{findings}");
}
