//! What the injector and the proxy it puts into a pod agree on without a word.

/// Where a proxy in a pod keeps what outlives its process. The volume is mounted into the proxy's
/// container and no other, so what lies there is the proxy's alone.
pub const DATA_DIR: &str = "/var/lib/istio/data";
