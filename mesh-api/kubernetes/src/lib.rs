//! What the mesh's servers share when they run on Kubernetes, and nothing a proxy needs.
//!
//! One idea per module: how the API server is reached, who of several replicas writes, where a
//! certificate authority is kept, and how webhook configurations are kept trusting it.

pub mod authority;
pub mod client;
pub mod lease;
pub mod outage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod webhooks;
