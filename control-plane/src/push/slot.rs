//! The one place per proxy where its newest desired state lies until its session is ready for it.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::discovery::desired::DesiredState;

/// What a proxy should have, as its session sees it.
#[derive(Clone, Debug)]
pub enum Desired {
    /// The sources have not been read yet.
    Starting,
    /// The proxy cannot be served yet.
    Waiting(Arc<str>),
    /// The proxy must not be served: its pod's name belongs to another pod now.
    Refused(Arc<str>),
    /// This configuration.
    State {
        /// The resources.
        state: Arc<DesiredState>,
        /// When the change that led to it was seen.
        changed: Instant,
        /// The revision of the configuration it was compiled from. A newer revision may have
        /// the same resources.
        revision: u64,
        /// How many [`Command::Wanted`](super::Command::Wanted) it takes into account.
        looked_up: u64,
    },
}

/// Leaves `desired` in the slot and wakes the session, unless it says what is already there.
///
/// A state that is the same as before but of a newer revision wakes it too: the proxy that holds
/// the one has applied the other. So does one for which more was looked up: what is not in it is
/// not there.
pub(super) fn offer(slot: &watch::Sender<Desired>, desired: Desired, kind: &'static str) {
    slot.send_if_modified(|current| {
        let (same, newer) = match (&*current, &desired) {
            (
                Desired::State {
                    state: old,
                    revision: before,
                    looked_up: looked_up_before,
                    ..
                },
                Desired::State {
                    state: new,
                    revision: now,
                    looked_up,
                    ..
                },
            ) => (
                old.version() == new.version(),
                now > before || looked_up > looked_up_before,
            ),
            (Desired::Waiting(old), Desired::Waiting(new))
            | (Desired::Refused(old), Desired::Refused(new)) => (old == new, false),
            (Desired::Starting, Desired::Starting) => (true, false),
            (
                Desired::Starting
                | Desired::Waiting(_)
                | Desired::Refused(_)
                | Desired::State { .. },
                _,
            ) => (false, true),
        };
        if !same {
            metrics::counter!("pilot_xds_pushes", "type" => kind).increment(1);
        }
        let tell = !same || newer;
        if tell {
            *current = desired;
        }
        tell
    });
}
