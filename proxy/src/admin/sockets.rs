//! The sockets that probes, scrapes and operators connect to.

use std::net::SocketAddr;

use anyhow::Context;
use mesh_runtime::admin::{AdminLimits, AdminServer};

use crate::net::bind;

/// Listens at all of these addresses. The first must be there; the others may be of a kind this
/// machine does not have.
pub(super) fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Vec<AdminServer>> {
    let mut servers = Vec::with_capacity(addresses.len());
    for (place, address) in addresses.iter().enumerate() {
        let listener = match bind::listen_alone(*address) {
            Ok(listener) => listener,
            Err(error) if place > 0 && error.is_no_such_family() => continue,
            // It names the address.
            Err(error) => return Err(error.into()),
        };
        let server = AdminServer::on(listener, AdminLimits::default())
            .with_context(|| format!("cannot answer at {address}"))?;
        servers.push(server);
    }
    Ok(servers)
}
