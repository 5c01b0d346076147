//! The proxy's side of the protocol as a state machine: no socket, no clock.
//!
//! A push is collected until its last message, decoded and laid over the snapshot in force as a
//! whole; the result is handed out to be applied, and only when that worked is it in force and
//! acknowledged. A push that arrived in part when the stream broke is forgotten, and so is
//! everything that was refused: the next Hello tells what is in force, nothing else.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_api::convert;
use mesh_api::error::Rejection;
use mesh_api::limits::{MAX_NAME_BYTES, MAX_PUSH_BYTES, MAX_REJECTIONS, PROTOCOL_REVISION};
use mesh_api::name::{ResourceName, WorkloadName};
use mesh_api::proto::{self, proxy_message, server_message};
use mesh_api::snapshot::Snapshot;
use mesh_api::version::Version;

use super::Identity;

/// Single workloads asked for at once; the oldest question makes room for the newest.
const MAX_WANTED: usize = 1_024;
/// What an entry of a push costs in memory beside its texts, at least.
const ENTRY_BYTES: usize = 64;

/// What a control plane may not do on a stream. The stream is given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A message of a kind this proxy does not know, or none.
    #[error("the control plane sent a message that is empty or of a kind this proxy does not know")]
    UnknownMessage,
    /// Nonces must increase.
    #[error("the control plane sent nonce {nonce} after nonce {last}; nonces must increase")]
    Nonce {
        /// The nonce.
        nonce: u64,
        /// The greatest before it.
        last: u64,
    },
    /// A push began before the one before it was complete.
    #[error("the control plane began push {begun} before push {unfinished} was complete")]
    Interleaved {
        /// The new push.
        begun: u64,
        /// The one that was not complete.
        unfinished: u64,
    },
    /// A push is larger than this proxy is willing to hold.
    #[error("push {nonce} is larger than {MAX_PUSH_BYTES} bytes")]
    TooLarge {
        /// The push.
        nonce: u64,
    },
    /// A push came before the one before it was applied.
    #[error("push {0} was taken before the one before it was answered")]
    Unanswered(u64),
}

/// What follows from a message.
#[derive(Debug)]
pub enum Step {
    /// Nothing yet: more messages belong to this push.
    Collecting,
    /// Apply this, then call [`Session::applied`] before anything else is received.
    Apply(Arc<Snapshot>),
    /// Send this; nothing is to be applied.
    Answer(Answer),
    /// The control plane has nothing for this proxy, and says why.
    Waiting(String),
}

/// The answer to a push.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is in force.
    Ack(proto::ProxyMessage),
    /// It was refused, and why.
    Nack(proto::ProxyMessage, Vec<Rejection>),
}

impl Answer {
    /// The message to send.
    pub fn message(&self) -> &proto::ProxyMessage {
        match self {
            Self::Ack(message) | Self::Nack(message, _) => message,
        }
    }
}

/// The proxy's side of the protocol, over all streams of a process.
#[derive(Debug)]
pub struct Session {
    identity: Identity,
    in_force: Arc<Snapshot>,
    /// The address of the workload this proxy stands for; always asked for.
    own: Option<WorkloadName>,
    /// Other workloads asked for, oldest first.
    wanted: VecDeque<WorkloadName>,
    stream: Stream,
}

/// What belongs to one stream and ends with it.
#[derive(Debug, Default)]
struct Stream {
    last_nonce: u64,
    collecting: Option<Collecting>,
    applying: Option<Applying>,
}

/// A push of which messages are missing.
#[derive(Debug)]
struct Collecting {
    nonce: u64,
    resources: Vec<proto::Resource>,
    removed: Vec<String>,
    bytes: usize,
}

/// A push that is being applied.
#[derive(Debug)]
struct Applying {
    nonce: u64,
    snapshot: Arc<Snapshot>,
}

impl Session {
    /// A session that holds nothing.
    pub fn new(identity: Identity) -> Self {
        Self {
            identity,
            in_force: Arc::default(),
            own: None,
            wanted: VecDeque::new(),
            stream: Stream::default(),
        }
    }

    /// Asks for the workload at this address on every stream: the one the proxy stands for, whose
    /// name its telemetry bears.
    pub fn stand_for(&mut self, address: IpAddr) {
        self.own = Some(WorkloadName(address.to_canonical()));
    }

    /// Takes over a snapshot that is in force already, from an earlier life of this proxy.
    pub fn resume(&mut self, snapshot: Arc<Snapshot>) {
        for workload in snapshot.workloads() {
            // Asked for in that life; else the control plane would take them away.
            if self.own != Some(workload.name) {
                self.remember(workload.name);
            }
        }
        self.in_force = snapshot;
        self.stream = Stream::default();
    }

    /// The snapshot in force.
    pub fn in_force(&self) -> &Arc<Snapshot> {
        &self.in_force
    }

    /// Whether part of a push has arrived.
    pub fn is_collecting(&self) -> bool {
        self.stream.collecting.is_some()
    }

    /// A stream was opened: the message to send first.
    pub fn opened(&mut self) -> proto::ProxyMessage {
        self.stream = Stream::default();
        let Identity {
            workload,
            role,
            capture_mode,
            software,
        } = &self.identity;
        let held = self
            .in_force
            .iter()
            .map(|(name, entry)| proto::HeldResource {
                name: name.to_string(),
                version: entry.version.0,
            })
            .collect();
        let names = self
            .own
            .iter()
            .chain(&self.wanted)
            .copied()
            .map(text)
            .collect();
        message(proxy_message::Message::Hello(proto::Hello {
            workload: workload.to_string(),
            role: proto::Role::from(*role).into(),
            capture_mode: proto::CaptureMode::from(*capture_mode).into(),
            proxy_version: String::from(*software),
            protocol_revision: PROTOCOL_REVISION,
            subscription: Some(proto::hello::Subscription::AllHosts(proto::AllHosts {})),
            names,
            held,
        }))
    }

    /// What is left of it without a stream: everything but what arrived in part.
    #[must_use]
    pub fn between_streams(&self) -> Self {
        Self {
            identity: self.identity.clone(),
            in_force: Arc::clone(&self.in_force),
            own: self.own,
            wanted: self.wanted.clone(),
            stream: Stream::default(),
        }
    }

    /// The stream is gone, and with it what had arrived in part.
    pub fn closed(&mut self) {
        self.stream = Stream::default();
    }

    /// Takes a message of the control plane.
    pub fn receive(&mut self, message: proto::ServerMessage) -> Result<Step, ProtocolError> {
        match message.message {
            None => Err(ProtocolError::UnknownMessage),
            Some(server_message::Message::Waiting(proto::Waiting { reason })) => {
                Ok(Step::Waiting(reason.chars().take(MAX_NAME_BYTES).collect()))
            }
            Some(server_message::Message::Push(push)) => self.collect(push),
        }
    }

    /// Says how applying went; only what worked is in force.
    pub fn applied(&mut self, result: Result<(), Vec<Rejection>>) -> Option<Answer> {
        let Applying { nonce, snapshot } = self.stream.applying.take()?;
        Some(match result {
            Ok(()) => {
                self.in_force = snapshot;
                ack(nonce)
            }
            Err(rejections) => nack(nonce, rejections),
        })
    }

    /// Asks for the workload behind an address; the message to send if a stream is open.
    pub fn want(&mut self, address: IpAddr) -> Option<proto::ProxyMessage> {
        let name = WorkloadName(address);
        if self.own == Some(name) || self.wanted.contains(&name) {
            return None;
        }
        let forgotten = self.remember(name);
        Some(message(proxy_message::Message::Subscribe(
            proto::Subscribe {
                subscription: None,
                names_added: vec![text(name)],
                names_removed: forgotten.into_iter().map(text).collect(),
            },
        )))
    }

    fn remember(&mut self, name: WorkloadName) -> Option<WorkloadName> {
        let forgotten = (self.wanted.len() >= MAX_WANTED)
            .then(|| self.wanted.pop_front())
            .flatten();
        self.wanted.push_back(name);
        forgotten
    }

    fn collect(&mut self, push: proto::Push) -> Result<Step, ProtocolError> {
        let proto::Push {
            nonce,
            snapshot_version: _,
            resources,
            removed,
            complete,
        } = push;
        if self.stream.applying.is_some() {
            return Err(ProtocolError::Unanswered(nonce));
        }
        let mut collecting = match self.stream.collecting.take() {
            Some(begun) if begun.nonce == nonce => begun,
            Some(begun) => {
                return Err(ProtocolError::Interleaved {
                    begun: nonce,
                    unfinished: begun.nonce,
                });
            }
            None => self.begin(nonce)?,
        };
        let bytes = resources
            .iter()
            .map(|resource| resource.name.len() + resource.body.len() + ENTRY_BYTES)
            .chain(removed.iter().map(|name| name.len() + ENTRY_BYTES))
            .fold(collecting.bytes, usize::saturating_add);
        if bytes > MAX_PUSH_BYTES {
            return Err(ProtocolError::TooLarge { nonce });
        }
        collecting.bytes = bytes;
        collecting.resources.extend(resources);
        collecting.removed.extend(removed);
        if complete {
            return Ok(self.take(&collecting));
        }
        self.stream.collecting = Some(collecting);
        Ok(Step::Collecting)
    }

    fn begin(&mut self, nonce: u64) -> Result<Collecting, ProtocolError> {
        let last = self.stream.last_nonce;
        if nonce <= last {
            return Err(ProtocolError::Nonce { nonce, last });
        }
        self.stream.last_nonce = nonce;
        Ok(Collecting {
            nonce,
            resources: Vec::new(),
            removed: Vec::new(),
            bytes: 0,
        })
    }

    /// A push is complete: what it makes of the snapshot in force.
    fn take(&mut self, push: &Collecting) -> Step {
        let nonce = push.nonce;
        let next = convert::decode_delta(&push.resources, &push.removed)
            .and_then(|delta| self.in_force.apply(delta));
        match next {
            Err(rejections) => Step::Answer(nack(nonce, rejections)),
            // Said again, or removed what was never there: nothing changes hands.
            Ok(next) if same(&next, &self.in_force) => Step::Answer(ack(nonce)),
            Ok(next) => {
                let snapshot = Arc::new(next);
                self.stream.applying = Some(Applying {
                    nonce,
                    snapshot: Arc::clone(&snapshot),
                });
                Step::Apply(snapshot)
            }
        }
    }
}

/// Whether two snapshots hold the same versions of the same resources.
fn same(one: &Snapshot, other: &Snapshot) -> bool {
    one.version() == other.version() && one.len() == other.len()
}

fn ack(nonce: u64) -> Answer {
    Answer::Ack(message(proxy_message::Message::Ack(proto::Ack { nonce })))
}

fn nack(nonce: u64, mut rejections: Vec<Rejection>) -> Answer {
    if rejections.is_empty() {
        // Whoever applies must say what is wrong; a refusal without a word is not allowed.
        rejections.push(Rejection {
            resource: mesh_api::error::RejectedName::Unreadable(String::new()),
            version: Version(0),
            field: String::new(),
            reason: "the configuration could not be applied".to_owned(),
        });
    }
    // The server withholds what is named here: one rejection per resource first, repetitions
    // only while there is room.
    let mut seen = BTreeSet::new();
    let (first, repeated): (Vec<_>, Vec<_>) = rejections
        .into_iter()
        .partition(|rejection| seen.insert((rejection.resource.clone(), rejection.version)));
    let rejections: Vec<Rejection> = first
        .into_iter()
        .chain(repeated)
        .take(MAX_REJECTIONS)
        .collect();
    let told = rejections.iter().map(proto::Rejection::from).collect();
    Answer::Nack(
        message(proxy_message::Message::Nack(proto::Nack {
            nonce,
            rejections: told,
        })),
        rejections,
    )
}

fn message(message: proxy_message::Message) -> proto::ProxyMessage {
    proto::ProxyMessage {
        message: Some(message),
    }
}

fn text(name: WorkloadName) -> String {
    ResourceName::Workload(name).to_string()
}

#[cfg(test)]
mod tests;
