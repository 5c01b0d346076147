//! The words both sides of the mesh use.
//!
//! Values only: no I/O, no clock. The control plane compiles Istio's resources into these types,
//! the proxy runs them, and both ask the same functions what they mean.
//!
//! - [`name`], [`units`]: names of resources and numbers that cannot be wrong
//! - [`listener`], [`route`], [`cluster`], [`endpoint`], [`policy`], [`workload`]: the resources

pub mod cluster;
pub mod endpoint;
pub mod listener;
pub mod name;
pub mod policy;
pub mod route;
pub mod units;
pub mod workload;
