//! The two drains of a process: what others open to it, and what its own application opens.
//!
//! A pod that is going must stop getting requests long before its application has stopped
//! making them.

use std::time::Duration;

use mesh_runtime::drain::{Drain, DrainWatch, Drained};
use tokio::time::Instant;

use crate::net::Way;

/// Both, on the side that starts them.
#[derive(Clone, Debug, Default)]
pub struct Drains {
    /// Of connections others open.
    pub inbound: Drain,
    /// Of connections the application opens.
    pub outbound: Drain,
}

/// Both, on the side that is told.
#[derive(Clone, Debug)]
pub struct DrainWatches {
    inbound: DrainWatch,
    outbound: DrainWatch,
}

impl Drains {
    /// Watches of both.
    pub fn watches(&self) -> DrainWatches {
        DrainWatches {
            inbound: self.inbound.watch(),
            outbound: self.outbound.watch(),
        }
    }

    /// Starts both.
    pub fn trigger(&self) {
        self.inbound.trigger();
        self.outbound.trigger();
    }

    /// Connections open now.
    pub fn in_flight(&self) -> usize {
        self.inbound.in_flight() + self.outbound.in_flight()
    }

    /// Waits until no connection is left, for at most `limit`. Those of others come first: until
    /// they are answered, the application may need its own.
    pub async fn wait_idle(&self, limit: Duration) -> Drained {
        let begun = Instant::now();
        // Whether time ran out shows in what remains.
        let _inbound = self.inbound.wait_idle(limit).await;
        let _outbound = self
            .outbound
            .wait_idle(limit.saturating_sub(begun.elapsed()))
            .await;
        match self.in_flight() {
            0 => Drained::Idle,
            remaining => Drained::DeadlinePassed { remaining },
        }
    }
}

impl DrainWatches {
    /// The drain of connections that go this way.
    pub fn of(&self, way: Way) -> &DrainWatch {
        match way {
            Way::Inbound => &self.inbound,
            Way::Outbound => &self.outbound,
        }
    }
}
