//! What sessions tell the push loop.

use std::collections::BTreeSet;

use mesh_api::name::WorkloadName;
use tokio::sync::{oneshot, watch};

use super::Desired;
use crate::discovery::registry::{ProxyIdentity, SessionId};
use crate::discovery::session::Workloads;

/// What sessions tell the loop. Each is a small piece of work, whatever a proxy asks for: the loop
/// serves everybody.
#[derive(Debug)]
pub enum Command {
    /// A proxy introduced itself.
    Connected {
        /// Its session.
        session: SessionId,
        /// Who it is.
        who: ProxyIdentity,
        /// The workloads it wants beside its configuration, or the first of them.
        workloads: BTreeSet<WorkloadName>,
        /// Where its newest desired state goes.
        slot: watch::Sender<Desired>,
    },
    /// What it wants beside its configuration has changed.
    Wanted {
        /// Its session.
        session: SessionId,
        /// What comes and goes.
        workloads: Workloads,
        /// Whether more of the same follows; the proxy hears of it together.
        more: bool,
        /// Dropped when it is done.
        done: oneshot::Sender<()>,
    },
    /// Its stream ended.
    Disconnected {
        /// Its session.
        session: SessionId,
    },
}
