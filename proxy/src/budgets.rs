//! What all peers together may cost this process, in the units that run out: places for
//! connections, sockets to upstreams, and bytes held for clients.

use std::fmt::Write as _;

use mesh_api::proxy::ProxyRole;

use crate::bootstrap::Settings;

use crate::http::outbox::BufferBudget;
use crate::net::Way;
use crate::net::slots::ConnectionSlots;
use crate::net::sockets::SocketBudget;

/// Of the memory there is, one part in so many may be held for clients.
const MEMORY_SHARE: u64 = 8;
/// What a connection takes at least, with room for its requests.
const PER_CONNECTION: u64 = 96 * 1024;
/// Bounds of that. More would not make anything faster: the kernel holds what is on its way.
const LEAST_BUFFERED: u64 = 16 << 20;
const MOST_BUFFERED: u64 = 64 << 20;

/// The budgets of a process; clones share them.
#[derive(Clone, Debug)]
pub struct Budgets {
    /// Downstream connections.
    pub slots: ConnectionSlots,
    /// Connections to upstreams.
    pub sockets: SocketBudget,
    /// Bytes held for clients.
    pub buffers: BufferBudget,
}

/// What a process has. `None` where that is not known, or does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resources {
    /// Files it may have open.
    pub open_files: Option<u64>,
    /// Bytes of memory it may use.
    pub memory: Option<u64>,
}

impl Resources {
    /// Sockets for each of so many purposes; some files stay free for the admin port, the control
    /// plane and the disk.
    fn sockets(self, purposes: u64) -> usize {
        let files = self.open_files.map_or(u64::MAX, |files| {
            let reserve = (files / 8).clamp(32, 512);
            files.saturating_sub(reserve) / purposes
        });
        let memory = self
            .memory
            .map_or(u64::MAX, |memory| memory / PER_CONNECTION);
        let sockets = files.min(memory).max(1);
        usize::try_from(sockets).unwrap_or(usize::MAX)
    }

    fn buffers(self) -> usize {
        let bytes = self
            .memory
            .map_or(LEAST_BUFFERED, |memory| memory / MEMORY_SHARE)
            .clamp(LEAST_BUFFERED, MOST_BUFFERED);
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

impl Budgets {
    /// Budgets for as many connections as settings ask for, or as many as the process has room for.
    pub fn new(settings: &Settings, resources: Resources) -> Self {
        let (sockets, outbound) = match settings.role {
            // From the application, from others, to upstreams.
            ProxyRole::Sidecar => {
                let sockets = resources.sockets(3);
                (sockets, sockets)
            }
            ProxyRole::Gateway => (resources.sockets(2), 0),
        };
        let asked = settings.max_connections;
        Self {
            slots: ConnectionSlots::new(outbound.min(asked), sockets.min(asked)),
            sockets: SocketBudget::new(sockets),
            buffers: BufferBudget::new(resources.buffers(), settings.concurrency),
        }
    }

    /// The gauges of all budgets, for the scrape page.
    pub fn render(&self, out: &mut String) {
        for (name, help, value) in [
            (
                "proxy_downstream_connections",
                "Downstream connections open now.",
                self.slots.open(Way::Inbound) + self.slots.open(Way::Outbound),
            ),
            (
                "proxy_downstream_connections_limit",
                "The cap on them.",
                self.slots.limit(Way::Inbound) + self.slots.limit(Way::Outbound),
            ),
            (
                "proxy_upstream_connections",
                "Connections to upstreams open now.",
                self.sockets.open(),
            ),
            (
                "proxy_upstream_connections_limit",
                "The cap on them; towards it every client gets less.",
                self.sockets.limit(),
            ),
            (
                "proxy_buffered_bytes",
                "Bytes held in memory for clients that have not taken them yet.",
                self.buffers.held(),
            ),
            (
                "proxy_buffered_bytes_limit",
                "What may be held; towards it every connection gets less.",
                self.buffers.limit(),
            ),
        ] {
            // Writing to a String cannot fail.
            let _written = writeln!(
                out,
                "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_is_shared_and_some_files_stay_free() {
        let files = |files| Resources {
            open_files: Some(files),
            memory: None,
        };
        assert_eq!(files(96).sockets(3), 21);
        assert_eq!(files(256).sockets(2), 112);
        assert_eq!(files(20_000).sockets(2), 9_744);
        assert_eq!(files(10).sockets(3), 1);
        let small = Resources {
            open_files: Some(1 << 20),
            memory: Some(64 << 20),
        };
        assert_eq!(small.sockets(3), 682);
        assert_eq!(small.buffers(), 16 << 20);
        let large = Resources {
            memory: Some(64 << 30),
            ..small
        };
        assert_eq!(large.buffers(), 64 << 20);
        assert!(Resources::default().sockets(2) > 1 << 30);
    }
}
