//! The part of a configuration that only one proxy has: what is on its own address.

use std::net::{IpAddr, SocketAddr};

use mesh_api::encoded::Encoded;
use mesh_api::listener::{Bind, Listener};
use mesh_api::resource::Resource;

use super::compiled::Own;
use super::diagnostics::{Diagnostic, codes};
use super::inbound::Parts;
use super::scope::{ProxyRole, ProxyScope};
use super::{Shared, inbound, workload};
use crate::model::World;

/// Compiles the own part.
pub(crate) fn own(world: &World, scope: &ProxyScope, shared: &Shared) -> Own {
    let mut parts = Parts::default();
    if scope.role == ProxyRole::Sidecar {
        inbound::compile(world, scope, &mut parts);
    }
    if let Some(address) = scope.workload.addresses.first() {
        place(*address, shared, &mut parts);
    }
    for address in &scope.workload.addresses {
        let encoded = workload::encoded(&scope.workload, *address);
        parts.resources.insert(encoded.name.clone(), encoded);
    }
    Own {
        resources: parts.resources,
        diagnostics: parts.report.into_sorted(),
    }
}

/// Puts the listeners that still lack one on the proxy's address, unless an inbound listener is
/// there already.
fn place(address: IpAddr, shared: &Shared, parts: &mut Parts) {
    for unplaced in &shared.unplaced {
        let Bind::Socket(socket) = unplaced.listener.bind else {
            continue;
        };
        let socket = SocketAddr::new(address, socket.port());
        if let Some(owner) = parts.sockets.get(&socket) {
            parts.report.push(Diagnostic::new(
                codes::LISTENER_CONFLICT,
                &unplaced.object,
                "spec.ports",
                format!(
                    "is not reachable from the workload at {address}: its own listener {} has port \
                     {}",
                    owner.0,
                    socket.port()
                ),
            ));
            continue;
        }
        let listener = Listener {
            bind: Bind::Socket(socket),
            ..unplaced.listener.clone()
        };
        let encoded = Encoded::new(&Resource::from(listener));
        parts.resources.insert(encoded.name.clone(), encoded);
    }
}
