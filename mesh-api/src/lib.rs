//! The words both sides of the mesh use.
//!
//! Values only: no I/O, no clock. The control plane compiles Istio's resources into these types,
//! the proxy runs them, and both ask the same functions what they mean.
//!
//! - [`name`], [`units`]: names of resources and numbers that cannot be wrong
//! - [`listener`], [`route`], [`cluster`], [`endpoint`], [`policy`], [`workload`], [`settings`]: the
//!   resources
//! - [`header`]: names of headers that are not the user's to write
//! - [`destination`]: which of them a connection meets
//! - [`resource`], [`version`], [`snapshot`]: any of them, what it says in eight bytes, and all of
//!   them together; differences between snapshots
//! - [`proto`], [`codec`], [`convert`], [`encoded`], [`limits`]: the wire, both directions, and how
//!   large things on it may be
//! - [`proxy`]: what a proxy is there for, and how connections reach it
//! - [`mesh_config`]: the settings of a mesh and of its proxies, as users write them
//! - [`reserved`]: addresses and ports no configuration may lead a proxy to
//! - [`pod`]: what the injector and the proxy in a pod agree on
//! - [`error`]: why a resource was refused

#[cfg(test)]
mod arbitrary;
pub mod cluster;
pub mod codec;
pub mod convert;
pub mod destination;
pub mod encoded;
pub mod endpoint;
pub mod error;
pub mod header;
pub mod limits;
pub mod listener;
pub mod mesh_config;
pub mod name;
pub mod pod;
pub mod policy;
pub mod proto;
pub mod proxy;
pub mod reserved;
pub mod resource;
pub mod route;
pub mod settings;
pub mod snapshot;
pub mod units;
pub mod version;
pub mod workload;
