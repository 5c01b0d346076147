//! One proxy's stream as a state machine: what it was sent, what it acknowledged, what it
//! refused, and therefore what it is sent next.
//!
//! No sockets and no clock: messages and desired states go in, messages come out. The newest
//! desired state is the only one remembered, so a slow proxy skips states instead of queueing
//! them. What is sent is always the difference between what the proxy will hold once it has
//! taken everything in flight, and what it should hold; where there is none, nothing is sent
//! (but a proxy that holds nothing and is to hold nothing is told so once).
//!
//! At most one ordinary push and one push of endpoints alone are in flight at once, so that
//! endpoints never wait for routes. A refused resource is withheld in exactly the version that
//! was refused, together with what cannot be without it; everything else goes on.

mod asked_hosts;
mod chunk;
mod difference;
mod error;
mod hello;
mod refusals;
mod rejections;
mod subscription;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::error::Rejection;
use mesh_api::name::ResourceName;
use mesh_api::proto::{self, proxy_message, server_message};
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::version::{SnapshotVersion, Version};
use mesh_api::workload::WorkloadId;

use super::desired::DesiredState;
use difference::Difference;
pub use error::ProtocolError;
use refusals::Refusals;
use subscription::Subscription;
pub use subscription::Workloads;
use view::{InFlight, View};

/// What a proxy says about itself in Hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Which workload it serves.
    pub workload: WorkloadId,
    /// Where it stands.
    pub role: ProxyRole,
    /// How connections reach it.
    pub capture: CaptureMode,
    /// The version of its software; untrusted text, at most 200 characters.
    pub software: String,
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send this.
    Send(proto::ServerMessage),
    /// The proxy introduced itself.
    Hello(Introduction),
    /// The single workloads the proxy wants have changed.
    Workloads(Workloads),
    /// The proxy took a push.
    Acked {
        /// The desired state the push was made for.
        version: SnapshotVersion,
    },
    /// The proxy refused a push; what its rejections name is withheld, and if they name nothing
    /// that was sent, all of it.
    Refused {
        /// What it said about what it was sent, once for each resource.
        rejections: Vec<Rejection>,
        /// How many more things it said.
        dropped: usize,
    },
}

/// One proxy's stream.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, in any combination with the others"
)]
pub struct Session {
    greeted: bool,
    /// The proxy brought nothing: if it is to have nothing, it is told so once, or it would
    /// wait for its configuration for ever.
    brought_nothing: bool,
    subscription: Subscription,
    desired: Option<Arc<DesiredState>>,
    /// Whether the proxy asked for single workloads that nobody had looked for when the desired
    /// state was made. What it holds of those it wants is not taken away meanwhile.
    looking_up: bool,
    view: View,
    refusals: Refusals,
    /// Whether a difference may exist that no push in flight covers.
    unsettled: bool,
    /// Whether it exists because of what the proxy said. Finding differences costs as much as the
    /// proxy should have, so how often a proxy can ask for that is not up to the proxy.
    asked: bool,
    ordinary: Option<InFlight>,
    endpoints: Option<InFlight>,
    last_nonce: u64,
    told_to_wait: Option<Arc<str>>,
}

impl Session {
    /// A stream that was just opened.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a message of the proxy. If it [`asks`](Self::asks) for something by it, what there is
    /// to send comes out of [`settle`](Self::settle).
    pub fn on_message(
        &mut self,
        message: proto::ProxyMessage,
    ) -> Result<Vec<Output>, ProtocolError> {
        use proxy_message::Message;
        let message = message.message.ok_or(ProtocolError::UnknownMessage)?;
        let mut outputs = Vec::new();
        match (message, self.greeted) {
            (Message::Hello(hello), false) => self.greet(hello, &mut outputs)?,
            (Message::Hello(_), true) => return Err(ProtocolError::HelloAgain),
            (_, false) => return Err(ProtocolError::HelloMissing),
            (Message::Subscribe(subscribe), true) => {
                let workloads = self.subscription.change(subscribe)?;
                self.refusals.stuck = false;
                self.unsettled = true;
                self.asked = true;
                self.wants(workloads, &mut outputs);
            }
            (Message::Ack(proto::Ack { nonce }), true) => {
                let version = self.answered(nonce)?.version;
                outputs.push(Output::Acked { version });
            }
            (Message::Nack(nack), true) => self.refused(nack, &mut outputs)?,
        }
        if !self.asked {
            self.push(&mut outputs);
        }
        Ok(outputs)
    }

    /// Whether the proxy waits for the consequences of something it said.
    pub fn asks(&self) -> bool {
        self.asked
    }

    /// Draws the consequences of everything the proxy said since the last time.
    pub fn settle(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.push(&mut outputs);
        outputs
    }

    /// The desired state that is taken next was made when all workloads the proxy wants had been
    /// looked for, and so are those after it until it asks for more.
    pub fn looked_up(&mut self) {
        self.looking_up = false;
    }

    /// Whether that has not been said since the proxy asked for workloads.
    pub fn is_looking_up(&self) -> bool {
        self.looking_up
    }

    /// Takes a newer desired state; the one before is forgotten.
    pub fn on_desired(&mut self, desired: Arc<DesiredState>) -> Vec<Output> {
        self.refusals.desired_changed(&desired);
        self.desired = Some(desired);
        self.subscription.desired_changed();
        self.unsettled = true;
        self.told_to_wait = None;
        let mut outputs = Vec::new();
        self.push(&mut outputs);
        outputs
    }

    /// There is no desired state yet, and why; said once per reason.
    ///
    /// What the proxy holds stays as it is: a server that does not know is not a reason to
    /// take anything away.
    pub fn on_waiting(&mut self, reason: &Arc<str>) -> Vec<Output> {
        self.desired = None;
        if !self.greeted || self.told_to_wait.as_ref() == Some(reason) {
            return Vec::new();
        }
        self.told_to_wait = Some(Arc::clone(reason));
        let waiting = proto::Waiting {
            reason: String::from(&**reason),
        };
        vec![Output::Send(proto::ServerMessage {
            message: Some(server_message::Message::Waiting(waiting)),
        })]
    }

    /// Tries everything again that was refused: what a proxy could not do then (a port that was
    /// in use, say) it may be able to do now.
    pub fn retry_refused(&mut self) -> Vec<Output> {
        self.refusals = Refusals::default();
        self.unsettled = true;
        let mut outputs = Vec::new();
        self.push(&mut outputs);
        outputs
    }

    /// Whether the proxy holds what it should, apart from what it refused.
    pub fn is_synced(&self) -> bool {
        self.greeted
            && self.desired.is_some()
            && !self.unsettled
            && self.ordinary.is_none()
            && self.endpoints.is_none()
    }

    /// What is withheld because the proxy refused exactly these versions.
    pub fn withheld(&self) -> &BTreeMap<ResourceName, Version> {
        &self.refusals.withheld
    }

    /// What the proxy holds once it has taken everything in flight.
    pub fn expected(&self) -> impl Iterator<Item = (&ResourceName, Version)> {
        self.view.versions()
    }

    fn greet(
        &mut self,
        hello: proto::Hello,
        outputs: &mut Vec<Output>,
    ) -> Result<(), ProtocolError> {
        let (introduction, subscription, view) = hello::read(hello)?;
        self.greeted = true;
        self.unsettled = true;
        self.subscription = subscription;
        self.brought_nothing = view.is_empty();
        self.view = view;
        outputs.push(Output::Hello(introduction));
        let workloads = Workloads {
            added: self.subscription.workloads(),
            removed: BTreeSet::new(),
        };
        self.wants(workloads, outputs);
        Ok(())
    }

    fn wants(&mut self, workloads: Workloads, outputs: &mut Vec<Output>) {
        if workloads != Workloads::default() {
            self.looking_up |= !workloads.added.is_empty();
            outputs.push(Output::Workloads(workloads));
        }
    }

    /// Takes the push that `nonce` answers out of flight; it must be the older one.
    fn answered(&mut self, nonce: u64) -> Result<InFlight, ProtocolError> {
        let nonce_of = |push: &Option<InFlight>| push.as_ref().map(|push| push.nonce);
        let (ordinary, endpoints) = (nonce_of(&self.ordinary), nonce_of(&self.endpoints));
        let oldest = [ordinary, endpoints].into_iter().flatten().min();
        if Some(nonce) != ordinary && Some(nonce) != endpoints {
            return Err(ProtocolError::UnknownNonce(nonce));
        }
        if let Some(expected) = oldest
            && expected != nonce
        {
            return Err(ProtocolError::AnswerOrder {
                answered: nonce,
                expected,
            });
        }
        let slot = if ordinary == Some(nonce) {
            &mut self.ordinary
        } else {
            &mut self.endpoints
        };
        slot.take().ok_or(ProtocolError::UnknownNonce(nonce))
    }

    fn refused(
        &mut self,
        nack: proto::Nack,
        outputs: &mut Vec<Output>,
    ) -> Result<(), ProtocolError> {
        let proto::Nack { nonce, rejections } = nack;
        if rejections.is_empty() {
            return Err(ProtocolError::EmptyNack(nonce));
        }
        let mut push = self.answered(nonce)?;
        // The other push, if there is one, is the later one.
        let later = self.ordinary.as_mut().or(self.endpoints.as_mut());
        self.view.undo(&mut push, later);
        let rejections = rejections::read(&push, &self.view, rejections);
        self.refusals.refused(
            &push,
            &rejections.known,
            &self.view,
            self.desired.as_deref(),
            self.unsettled,
        );
        self.unsettled = true;
        self.asked = true;
        outputs.push(Output::Refused {
            rejections: rejections.known,
            dropped: rejections.dropped,
        });
        Ok(())
    }

    /// Sends what there is to send and room for.
    fn push(&mut self, outputs: &mut Vec<Output>) {
        self.asked = false;
        let Some(desired) = self.desired.clone().filter(|_| self.greeted) else {
            return;
        };
        self.subscription.close_over(&desired);
        // After a refusal, endpoints that the refused push would have introduced may be on their
        // way alone. What refers to them waits until it is clear that they arrived.
        let sure = !self.endpoints.as_ref().is_some_and(InFlight::introduces);
        if self.unsettled && sure && self.ordinary.is_none() && !self.refusals.stuck {
            let change = self.difference(&desired);
            self.unsettled = false;
            let alone = change.is_endpoints_only() && self.endpoints.is_none();
            let first = std::mem::take(&mut self.brought_nothing);
            if first || !change.is_empty() {
                self.send(&desired, &change, alone && !first, outputs);
            }
        }
        if self.unsettled && self.endpoints.is_none() {
            let change = self.endpoint_updates(&desired);
            if !change.is_empty() {
                self.send(&desired, &change, true, outputs);
            }
        }
    }

    fn send(
        &mut self,
        desired: &DesiredState,
        change: &Difference<'_>,
        endpoints_only: bool,
        outputs: &mut Vec<Output>,
    ) {
        self.last_nonce += 1;
        let version = desired.version();
        let messages = chunk::messages(self.last_nonce, version, change);
        outputs.extend(messages.into_iter().map(Output::Send));
        let push = self.view.sent(self.last_nonce, version, change);
        if endpoints_only {
            self.endpoints = Some(push);
        } else {
            self.ordinary = Some(push);
        }
    }
}

#[cfg(test)]
mod tests;
