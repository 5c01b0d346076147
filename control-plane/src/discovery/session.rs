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

mod chunk;
mod difference;
mod hello;
mod refusals;
mod subscription;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_api::error::Rejection;
use mesh_api::name::{ResourceName, WorkloadName};
use mesh_api::proto::{self, proxy_message, server_message};
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::version::{SnapshotVersion, Version};
use mesh_api::workload::WorkloadId;

use super::desired::DesiredState;
use difference::Difference;
use refusals::Refusals;
use subscription::Subscription;
use view::{InFlight, View};

/// What a proxy may not do on a stream. The stream is closed with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Something came before Hello.
    #[error("the first message of a stream must be Hello")]
    HelloMissing,
    /// Hello came again.
    #[error("Hello may only be the first message of a stream")]
    HelloAgain,
    /// A message of a kind this server does not know, or none.
    #[error("a message was empty or of a kind this server does not know")]
    UnknownMessage,
    /// The proxy speaks no revision this server speaks.
    #[error("protocol revision {0} is not supported; this server speaks revision 1")]
    Revision(u32),
    /// A field of Hello or Subscribe is missing or wrong.
    #[error("{field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
    /// An answer to no push.
    #[error("nonce {0} answers no push that is in flight")]
    UnknownNonce(u64),
    /// A second push was answered before the first.
    #[error("nonce {answered} was answered before nonce {expected}; pushes are answered in order")]
    AnswerOrder {
        /// The nonce answered.
        answered: u64,
        /// The nonce whose turn it was.
        expected: u64,
    },
    /// A refusal without a reason.
    #[error("Nack of nonce {0} has no rejections; a refusal must say what is wrong")]
    EmptyNack(u64),
}

impl From<ProtocolError> for tonic::Status {
    fn from(error: ProtocolError) -> Self {
        let text = error.to_string();
        match error {
            ProtocolError::UnknownMessage
            | ProtocolError::Field { .. }
            | ProtocolError::EmptyNack(_) => Self::invalid_argument(text),
            ProtocolError::HelloMissing
            | ProtocolError::HelloAgain
            | ProtocolError::Revision(_)
            | ProtocolError::UnknownNonce(_)
            | ProtocolError::AnswerOrder { .. } => Self::failed_precondition(text),
        }
    }
}

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
    /// Of single workloads, the proxy wants exactly these from now on.
    WantedWorkloads(BTreeSet<WorkloadName>),
    /// The proxy took a push.
    Acked {
        /// The desired state the push was made for.
        version: SnapshotVersion,
    },
    /// The proxy refused a push; what its rejections name is withheld.
    Refused(Vec<Rejection>),
}

/// One proxy's stream.
#[derive(Debug, Default)]
pub struct Session {
    greeted: bool,
    /// The proxy brought nothing: if it is to have nothing, it is told so once, or it would
    /// wait for its configuration for ever.
    brought_nothing: bool,
    subscription: Subscription,
    desired: Option<Arc<DesiredState>>,
    /// Desired states seen. The first may have been made before anybody knew which single
    /// workloads the proxy wants: those it holds are not taken away for its sake.
    states: u64,
    view: View,
    refusals: Refusals,
    /// Whether a difference may exist that no push in flight covers.
    unsettled: bool,
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

    /// Takes a message of the proxy.
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
                self.subscription.change(subscribe)?;
                self.refusals.stuck = false;
                self.unsettled = true;
                outputs.push(Output::WantedWorkloads(self.subscription.workloads()));
            }
            (Message::Ack(proto::Ack { nonce }), true) => {
                let version = self.answered(nonce)?.version;
                outputs.push(Output::Acked { version });
            }
            (Message::Nack(nack), true) => self.refused(nack, &mut outputs)?,
        }
        self.push(&mut outputs);
        Ok(outputs)
    }

    /// Takes a newer desired state; the one before is forgotten.
    pub fn on_desired(&mut self, desired: Arc<DesiredState>) -> Vec<Output> {
        self.refusals.desired_changed(&desired);
        self.states += 1;
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
        outputs.push(Output::WantedWorkloads(self.subscription.workloads()));
        Ok(())
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
        let rejections: Vec<Rejection> = rejections.into_iter().map(Rejection::from).collect();
        self.refusals.refused(
            &push,
            &rejections,
            &self.view,
            self.desired.as_deref(),
            self.unsettled,
        );
        self.unsettled = true;
        outputs.push(Output::Refused(rejections));
        Ok(())
    }

    /// Sends what there is to send and room for.
    fn push(&mut self, outputs: &mut Vec<Output>) {
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
