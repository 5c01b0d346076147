//! Istio resources in, snapshots out.
//!
//! The arrow inside the crate is source → model → compile → push → discovery.
//!
//! - [`analyze`]: what is wrong with a world, whether or not a proxy is connected
//! - [`compile`]: the pure function from a world and a proxy to that proxy's resources
//! - [`crd`]: the API users write, decoded and checked
//! - [`meta`]: what every object has: a key and an age
//! - [`model`]: [`model::World`], everything the mesh was told, indexed

pub mod admin;
pub mod analyze;
pub mod app;
pub mod args;
pub mod compile;
pub mod crd;
pub mod discovery;
pub mod meta;
pub mod metrics;
pub mod model;
pub mod push;
pub mod source;

#[cfg(test)]
mod testing;
