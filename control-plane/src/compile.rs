//! From a [`World`] and a proxy to that proxy's resources. Pure: no clock, no I/O.
//!
//! A configuration has three layers. The *shared* part (routes, clusters, outbound listeners) is
//! the same for all proxies of one namespace that no selector tells apart; the *own* part
//! (inbound listeners and policies, the proxy's own workload) is one proxy's; endpoint sets are
//! shared by all. So that a thousand proxies do not cost a thousand compilations, and a change of
//! endpoints costs none.
//!
//! User mistakes never reach a proxy as mistakes: they become refusals with a reason, and a
//! [`Diagnostic`].

pub mod clusters;
pub mod compiled;
pub(crate) mod context;
pub(crate) mod destination;
pub mod destination_rules;
pub mod diagnostics;
pub mod endpoints;
pub(crate) mod expressions;
pub(crate) mod gateway;
pub(crate) mod inbound;
pub(crate) mod not_acted_on;
pub(crate) mod outbound;
pub(crate) mod own;
pub(crate) mod routes;
pub mod scope;
pub(crate) mod security;
pub(crate) mod sidecar;
pub(crate) mod tcp;
pub mod uses;
pub(crate) mod virtual_hosts;
pub mod workload;

use std::collections::BTreeSet;

use mesh_api::listener::Listener;
use mesh_api::name::EndpointsName;

pub use compiled::{Compiled, Compiler, ResourceMap, compile};
pub use diagnostics::{Code, Diagnostic, Report, Severity};
pub use endpoints::endpoints;
pub use scope::{CaptureMode, ProxyRole, ProxyScope};
pub use uses::Uses;
pub use workload::workload;

use crate::meta::ObjectKey;
use crate::model::World;
#[cfg(test)]
mod tests;

use context::Context;
use own::own;
use scope::Client;

/// The part of a configuration that all proxies of one [`Client`] have.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) resources: ResourceMap,
    /// The endpoint sets the clusters refer to.
    pub(crate) endpoint_sets: BTreeSet<EndpointsName>,
    /// Listeners that still need the address of the proxy they are for.
    pub(crate) unplaced: Vec<Unplaced>,
    /// The objects that made a difference to it.
    pub(crate) acting: BTreeSet<ObjectKey>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A listener on the proxy's own address.
#[derive(Clone, Debug)]
pub(crate) struct Unplaced {
    /// The listener, bound to the unspecified address.
    pub(crate) listener: Listener,
    /// The service it is for, for diagnostics.
    pub(crate) object: ObjectKey,
}

/// Compiles the shared part.
pub(crate) fn shared(world: &World, client: &Client) -> Shared {
    let mut cx = Context::new(world, client);
    match client.role {
        ProxyRole::Sidecar => outbound::compile(&mut cx),
        ProxyRole::Gateway => gateway::compile(&mut cx),
    }
    cx.finish()
}
