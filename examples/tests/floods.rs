//! A few hostile clients at every kind of listener, for a few seconds each.

use std::time::Duration;

use examples::mesh::MeshOptions;
use examples::soak::{FloodsPlan, floods};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_else_notices_floods_and_greed() {
    let plan = FloodsPlan {
        time: Duration::from_secs(1),
        connections: vec![3],
        rounds: 1,
        only: Vec::new(),
    };
    let findings = floods(plan, MeshOptions::default(), &|_line| {})
        .await
        .unwrap();
    assert!(findings.passed(), "{findings}");
}
