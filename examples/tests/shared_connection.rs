//! Two streams that are read slowly, and 300 requests a second over the same connection between two
//! sidecars, for a few seconds.

use std::time::Duration;

use examples::mesh::MeshOptions;
use examples::soak::{SharedPlan, shared};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_streams_cost_nobody_on_their_connection_anything() {
    let plan = SharedPlan {
        time: Duration::from_secs(5),
    };
    let findings = shared(plan, MeshOptions::default(), &|_line| {})
        .await
        .unwrap();
    assert!(findings.passed(), "{findings}");
}
