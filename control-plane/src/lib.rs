//! Istio resources in, snapshots out.
//!
//! The arrow inside the crate is source → model → compile → push → discovery. What users write is
//! decoded and checked by [`mesh_resources`], which is called `crd` here.
//!
//! - [`mod@allowance`]: how much somebody outside may make it do
//! - [`admission`]: whether an object may be stored at all
//! - [`analyze`]: what is wrong with a world, whether or not a proxy is connected
//! - [`compile`]: the pure function from a world and a proxy to that proxy's resources
//! - [`identity`]: who this control plane is, and who may connect to it
//! - [`keep`]: where what must outlive a change is stored
//! - [`model`]: [`model::World`], everything the mesh was told, indexed

pub mod admin;
pub mod admission;
pub mod allowance;
pub mod analyze;
pub mod app;
pub mod args;
pub mod compile;
pub mod discovery;
pub mod identity;
pub mod keep;
pub mod metrics;
pub mod model;
pub mod push;
pub mod source;
pub mod status;

use mesh_resources as crd;
use mesh_resources::meta;

#[cfg(test)]
mod testing;
