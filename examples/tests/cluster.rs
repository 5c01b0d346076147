//! What the mesh promises on a real Kubernetes: API server, kubelet, pods.
//!
//! `cargo xtask test --cluster` starts a cluster, deploys the mesh the way a user would, and runs
//! this. The tests take turns, because they share the cluster and stop parts of it.
#![expect(clippy::unwrap_used, reason = "a failed test may end in a panic")]

#[path = "cluster/apart.rs"]
mod apart;
#[path = "cluster/at_home.rs"]
mod at_home;
#[path = "cluster/external.rs"]
mod external;
#[path = "cluster/history.rs"]
mod history;
#[path = "cluster/injection.rs"]
mod injection;
#[path = "cluster/jobs.rs"]
mod jobs;
#[path = "cluster/restarts.rs"]
mod restarts;
#[path = "cluster/shop.rs"]
mod shop;
#[path = "cluster/starts.rs"]
mod starts;
#[path = "cluster/status.rs"]
mod status;
#[path = "cluster/stream.rs"]
mod stream;
#[path = "cluster/support.rs"]
mod support;
