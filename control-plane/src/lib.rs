//! Istio resources in, snapshots out.
//!
//! The arrow inside the crate is source → model → compile → push → discovery.
//!
//! - [`mod@allowance`]: how much somebody outside may make it do
//! - [`admission`]: whether an object may be stored at all
//! - [`analyze`]: what is wrong with a world, whether or not a proxy is connected
//! - [`compile`]: the pure function from a world and a proxy to that proxy's resources
//! - [`crd`]: the API users write, decoded and checked
//! - [`identity`]: who this control plane is, and who may connect to it
//! - [`keep`]: where what must outlive a change is stored
//! - [`meta`]: what every object has: a key and an age
//! - [`model`]: [`model::World`], everything the mesh was told, indexed

pub mod admin;
pub mod admission;
pub mod allowance;
pub mod analyze;
pub mod app;
pub mod args;
pub mod compile;
pub mod crd;
pub mod discovery;
pub mod identity;
pub mod keep;
pub mod meta;
pub mod metrics;
pub mod model;
pub mod push;
pub mod source;
pub mod status;

#[cfg(test)]
mod testing;
