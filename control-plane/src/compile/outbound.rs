//! From the local application to the mesh: everything proxies of one client share.

mod captured;
mod explicit;
mod notes;
mod places;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use mesh_api::name::ListenerName;

use super::context::Context;
use super::{sidecar, virtual_hosts};
use crate::model::Service;

/// All addresses.
pub(crate) const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

pub(crate) fn name(text: impl Into<Arc<str>>) -> ListenerName {
    ListenerName(text.into())
}

pub(crate) const fn any_address(port: u16) -> SocketAddr {
    SocketAddr::new(ANY, port)
}

/// Compiles the outbound part of a sidecar.
pub(crate) fn compile(cx: &mut Context<'_>) {
    let namespace = Arc::clone(&cx.client.namespace);
    let sidecar = sidecar::select(cx.world, &namespace, &cx.client.labels);
    if let Some(sidecar) = sidecar {
        sidecar::report(sidecar, &mut cx.report);
    }
    let unmatched = sidecar::unmatched(cx.world, sidecar);
    let services = imported(cx);
    let without_service = virtual_hosts::compile(cx, &services, unmatched);
    if cx.client.knows_original_destination() {
        captured::listeners(cx, &services, &without_service, unmatched);
    } else {
        explicit::listeners(cx, &services);
    }
}

/// The services the client is told about, in the order that decides conflicts: those of Kubernetes
/// first, so that no service entry takes what is theirs by being older, then by age.
fn imported<'w>(cx: &Context<'w>) -> Vec<&'w Arc<Service>> {
    let mut services: Vec<_> = cx.viewer.services(cx.world).collect();
    services.sort_by(|a, b| {
        let precedence = a.precedence().cmp(&b.precedence());
        precedence.then_with(|| a.host.cmp(&b.host))
    });
    services
}
