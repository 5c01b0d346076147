//! Messages on their way out, and what does not wait for a proxy that takes none.

use std::time::Duration;

use mesh_api::proto::{ServerMessage, server_message};
use mesh_runtime::drain::DrainWatch;
use tokio::time::timeout;
use tonic::Status;

use super::{Ended, ProxyStream};
use crate::discovery::authenticate::Refusal;
use crate::discovery::seats::Seat;

/// How long a proxy may take nothing of what it is sent.
const STALLED: Duration = Duration::from_secs(30);
/// How long a proxy may take to hear why its stream ends.
const FAREWELL: Duration = Duration::from_secs(1);

impl ProxyStream {
    pub(super) async fn send(&mut self, message: ServerMessage) -> Result<(), Ended> {
        if let Some(server_message::Message::Push(push)) = &message.message {
            let (set, removed) = (push.resources.len() as u64, push.removed.len() as u64);
            metrics::counter!("mesh_push_resources_total").increment(set);
            metrics::counter!("mesh_push_removals_total").increment(removed);
            let complete = push.complete;
            self.report(|status| {
                status.resources_sent += set;
                status.removals_sent += removed;
                status.pushes += u64::from(complete);
            });
        }
        let drain = self.service.drain.clone();
        // Who does not read holds up nobody else: neither the newer stream nor the end.
        let sent = tokio::select! {
            biased;
            sent = timeout(STALLED, self.outgoing.send(Ok(message))) => sent,
            () = seat_lost(self.peer.seat.as_ref()) => return self.replaced().await,
            () = stopping(drain.as_ref()) => return Err(Ended),
        };
        match sent {
            Ok(sent) => sent.or(Err(Ended)),
            Err(_elapsed) => self.refuse(&Refusal::Stalled(STALLED)).await,
        }
    }

    pub(super) async fn close(&self, status: Status) {
        // A reader that is gone needs no farewell.
        let told = timeout(FAREWELL, self.outgoing.send(Err(status))).await;
        if !matches!(told, Ok(Ok(()))) {
            tracing::debug!(proxy = self.name(), "the proxy left before it was told why");
        }
    }
}

/// Waits until a newer stream has the seat.
pub(super) async fn seat_lost(seat: Option<&Seat>) {
    match seat {
        Some(seat) => seat.lost().await,
        None => std::future::pending().await,
    }
}

/// Waits until the process is about to end.
pub(super) async fn stopping(drain: Option<&DrainWatch>) {
    match drain {
        Some(drain) => drain.triggered().await,
        None => std::future::pending().await,
    }
}
