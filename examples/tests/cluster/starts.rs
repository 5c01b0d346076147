//! Pods that start at once: all become ready, and nobody is warned of a healthy start.

use examples::cluster::{Cluster, Stage, StartsPlan, compare};

use super::support::image;

/// As many as a node of a small machine starts in some seconds; `cargo xtask soak pod-starts` is the
/// same with more, and its table.
const PODS: usize = 8;

#[tokio::test]
async fn pods_start_at_once_and_nobody_is_warned() {
    let Some(cluster) = Cluster::connect("cluster pods at once").await.unwrap() else {
        return;
    };
    let plan = StartsPlan {
        pods: PODS,
        rounds: 1,
        image: image(&cluster).unwrap(),
    };
    let compared = compare(&cluster, &plan).await.unwrap();
    let (plain, meshed) = (&compared.plain, &compared.meshed);
    assert_eq!(plain.count(Stage::Ready), PODS, "{compared}");
    assert_eq!(plain.count(Stage::ProxyRuns), 0, "{compared}");
    for stage in [Stage::ProxyReady, Stage::Captured, Stage::Ready] {
        assert_eq!(meshed.count(stage), PODS, "{stage:?}: {compared}");
    }
    assert_eq!(meshed.warnings, Vec::<String>::new(), "{compared}");
}
