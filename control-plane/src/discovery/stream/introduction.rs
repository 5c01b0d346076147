//! What follows from Hello: who the proxy is, and that everybody who has to knows it.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Ended, Known, ProxyStream};
use crate::discovery::authenticate::Refusal;
use crate::discovery::registry::ProxyIdentity;
use crate::discovery::seats::Sitter;
use crate::discovery::session::Introduction;
use crate::push::{Command, Desired};

impl ProxyStream {
    pub(super) async fn introduce(&mut self, introduction: Introduction) -> Result<(), Ended> {
        let Introduction {
            workload,
            role,
            capture,
            software,
        } = introduction;
        let verified = self.peer.verified.as_ref();
        if let Some(pod) = verified.filter(|pod| pod.workload != workload) {
            let refusal = Refusal::AnotherWorkload {
                token: pod.workload.clone(),
                hello: workload,
            };
            return self.refuse(&refusal).await;
        }
        self.deadlines.introduced();
        if self.peer.seat.is_none() {
            let sitter = Sitter {
                workload: workload.clone(),
                uid: None,
            };
            let seat = self.service.seats.take(sitter, Instant::now());
            self.peer.seat = seat.ok();
        }
        let name: Arc<str> = workload.to_string().into();
        let who = ProxyIdentity {
            workload,
            role,
            mode: capture,
            software: software.into(),
            address: self.peer.address,
            uid: self.peer.verified.as_ref().map(|pod| Arc::clone(&pod.uid)),
        };
        let id = self.service.registry.connect(who.clone(), Instant::now());
        let (slot, desired) = watch::channel(Desired::Starting);
        tracing::info!(proxy = &*name, address = ?self.peer.address, ?role, "proxy connected");
        self.known = Some(Known { id, name, desired });
        let command = Command::Connected {
            session: id,
            who,
            workloads: self.asking.first(),
            slot,
        };
        self.service.commands.send(command).await.or(Err(Ended))
    }
}
