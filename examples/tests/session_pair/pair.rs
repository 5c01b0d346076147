//! A server's session and a proxy's, and the messages between them.
//!
//! Every step checks what must hold at any time: no error on either side, at most two pushes in
//! flight of which one carries endpoints only, nothing withheld is sent, nothing is sent twice,
//! nothing leaves a reference dangling, and a proxy applies pushes whole and only when something
//! changes.

mod agreement;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use control_plane::discovery::desired::DesiredState;
use control_plane::discovery::session::{Output, Session as Server, Workloads};
use mesh_api::error::Rejection;
use mesh_api::name::{ResourceName, WorkloadName};
use mesh_api::proto::{self, proxy_message, server_message};
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::snapshot::Snapshot;
use mesh_api::version::Version;
use mesh_api::workload::WorkloadId;
use proxy::control::Identity;
use proxy::control::session::{Answer, Session as Proxy, Step};

use super::town::{Part, Town, address_of};

type Versions = BTreeMap<ResourceName, Version>;

/// Where a proxy comes from that opens another stream.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    SameProxy,
    KeptOnDisk,
}

/// Both sides of a stream.
pub(crate) struct Pair {
    pub(crate) town: Town,
    pub(crate) pushes: u64,
    pub(crate) applied: u64,
    pub(crate) refusals: u64,
    pub(crate) last_refusal: Option<(u64, Rejection)>,
    /// Whether states are published when half of the workloads asked for were looked for.
    pub(crate) slowly: bool,
    published: Arc<DesiredState>,
    wanted: BTreeSet<WorkloadName>,
    server: Option<Server>,
    proxy: Proxy,
    to_proxy: VecDeque<proto::ServerMessage>,
    to_server: VecDeque<proto::ProxyMessage>,
    /// Pushes sent on this stream and not answered: whole, by nonce.
    unanswered: BTreeMap<u64, proto::Push>,
    /// Refusals the server knew of when it began each of them.
    known_refusals: BTreeMap<u64, u64>,
    /// Refusals on this stream: sent by the proxy, and heard by the server.
    refused: (u64, u64),
    last_push: Option<proto::Push>,
    /// What the proxy cannot apply.
    refuses: BTreeSet<(ResourceName, Version)>,
}

fn new_proxy() -> Proxy {
    Proxy::new(Identity {
        workload: WorkloadId {
            namespace: "town".into(),
            name: "me".into(),
        },
        role: ProxyRole::Sidecar,
        capture_mode: CaptureMode::Explicit,
        software: "test",
    })
}

impl Pair {
    pub(crate) fn new(town: Town) -> Self {
        let published = Arc::new(town.desired(&BTreeSet::new()));
        Self {
            town,
            pushes: 0,
            applied: 0,
            refusals: 0,
            last_refusal: None,
            slowly: false,
            published,
            wanted: BTreeSet::new(),
            server: None,
            proxy: new_proxy(),
            to_proxy: VecDeque::new(),
            to_server: VecDeque::new(),
            unanswered: BTreeMap::new(),
            known_refusals: BTreeMap::new(),
            refused: (0, 0),
            last_push: None,
            refuses: BTreeSet::new(),
        }
    }

    /// The proxy refuses the newest version of a part, or everything is accepted again.
    pub(crate) fn refuse(&mut self, service: usize, part: Part) {
        let name = Town::name(service, part);
        if let Some(encoded) = self.published.get(&name) {
            let pair = (name, encoded.version);
            if !self.refuses.remove(&pair) && self.held().all(|held| held != (&pair.0, pair.1)) {
                self.refuses.insert(pair);
            }
        }
    }

    pub(crate) fn accept_everything(&mut self) {
        self.refuses.clear();
    }

    pub(crate) fn publish(&mut self) {
        let many = self.wanted.len();
        let looked_for = if self.slowly { many / 2 } else { many };
        let some = self.wanted.iter().take(looked_for).copied().collect();
        self.published = Arc::new(self.town.desired(&some));
        let published = Arc::clone(&self.published);
        if let Some(server) = &mut self.server {
            if looked_for == many {
                server.looked_up();
            }
            let outputs = server.on_desired(published);
            self.act(outputs);
        }
    }

    pub(crate) fn retry(&mut self) {
        if let Some(server) = &mut self.server {
            let outputs = server.retry_refused();
            self.act(outputs);
        }
    }

    pub(crate) fn want(&mut self, address: u8) {
        let message = self.proxy.want(address_of(address));
        if self.server.is_some() {
            self.to_server.extend(message);
        }
    }

    pub(crate) fn open(&mut self, informed: bool) {
        if self.server.is_some() {
            return;
        }
        let mut server = Server::new();
        if informed {
            let outputs = server.on_desired(Arc::clone(&self.published));
            assert_eq!(outputs, [], "something was sent before Hello");
        }
        self.server = Some(server);
        let hello = self.proxy.opened();
        self.to_server.push_back(hello);
        self.deliver_to_server();
        if !informed {
            self.publish();
        }
    }

    pub(crate) fn break_stream(&mut self) {
        self.server = None;
        self.to_proxy.clear();
        self.to_server.clear();
        self.unanswered.clear();
        self.known_refusals.clear();
        self.refused = (0, 0);
        // What is wanted is said anew on every stream.
        self.wanted.clear();
        self.published = Arc::new(self.town.desired(&self.wanted));
        self.proxy.closed();
    }

    pub(crate) fn restart_proxy(&mut self, kept: bool) {
        self.break_stream();
        let in_force = Arc::clone(self.proxy.in_force());
        self.proxy = new_proxy();
        if kept {
            self.proxy.resume(in_force);
        }
    }

    /// Opens another stream when nothing changed; whether nothing was pushed.
    pub(crate) fn reconnect(&mut self, origin: Origin) -> bool {
        self.break_stream();
        if let Origin::KeptOnDisk = origin {
            self.restart_proxy(true);
        }
        let (pushes, applied) = (self.pushes, self.applied);
        let empty = self.held().next().is_none();
        self.open(true);
        self.settle();
        assert_eq!(self.applied, applied, "something was applied");
        // Who holds nothing and is to hold nothing is told so.
        self.pushes == pushes + u64::from(empty)
    }

    /// Delivers the oldest message to the server; whether there was one.
    pub(crate) fn deliver_to_server(&mut self) -> bool {
        let Some(message) = self.to_server.pop_front() else {
            return false;
        };
        match &message.message {
            Some(proxy_message::Message::Ack(proto::Ack { nonce })) => {
                self.unanswered.remove(nonce).unwrap();
            }
            Some(proxy_message::Message::Nack(nack)) => {
                self.unanswered.remove(&nack.nonce).unwrap();
                self.refused.1 += 1;
            }
            Some(proxy_message::Message::Hello(_) | proxy_message::Message::Subscribe(_)) => {}
            None => panic!("the proxy sent nothing"),
        }
        let server = self.server.as_mut().unwrap();
        let outputs = server.on_message(message).unwrap();
        self.act(outputs);
        // What it asks for may be answered later, and then with what it says until then.
        let server = self.server.as_mut().unwrap();
        if server.asks() && self.to_server.is_empty() {
            let outputs = server.settle();
            self.act(outputs);
        }
        true
    }

    fn act(&mut self, outputs: Vec<Output>) {
        let mut wants_others = false;
        for output in outputs {
            match output {
                Output::Send(message) => self.sent(message),
                Output::Workloads(Workloads { added, removed }) => {
                    self.wanted.retain(|name| !removed.contains(name));
                    self.wanted.extend(added);
                    wants_others = true;
                }
                Output::Hello(introduction) => {
                    assert_eq!(introduction.workload.to_string(), "town/me");
                }
                Output::Acked { .. } => {}
                Output::Refused {
                    rejections,
                    dropped,
                } => assert!(!rejections.is_empty() && dropped == 0),
            }
        }
        if wants_others {
            self.publish();
        }
    }

    /// Notes a message on its way to the proxy, and checks the rules for what is sent.
    fn sent(&mut self, message: proto::ServerMessage) {
        self.to_proxy.push_back(message.clone());
        let Some(server_message::Message::Push(push)) = message.message else {
            panic!("only pushes are expected");
        };
        let server = self.server.as_ref().unwrap();
        for resource in &push.resources {
            let name: ResourceName = resource.name.parse().unwrap();
            let refused = server.withheld().get(&name) == Some(&Version(resource.version));
            assert!(!refused, "{name} is withheld and was sent");
        }
        for name in push.removed.iter().filter(|_| server.is_looking_up()) {
            let name: ResourceName = name.parse().unwrap();
            let wanted = matches!(&name, ResourceName::Workload(one) if self.wanted.contains(one));
            assert!(!wanted, "{name} was taken away before it was looked for");
        }
        self.known_refusals
            .entry(push.nonce)
            .or_insert(self.refused.1);
        let whole = self
            .unanswered
            .entry(push.nonce)
            .or_insert_with(|| proto::Push {
                nonce: push.nonce,
                ..proto::Push::default()
            });
        assert!(!whole.complete, "a push went on after its end");
        whole.resources.extend(push.resources);
        whole.removed.extend(push.removed);
        whole.complete = push.complete;
        if push.complete {
            self.pushes += 1;
            self.last_push = Some(whole.clone());
            assert!(self.unanswered.len() <= 2, "too many pushes in flight");
            let endpoints_only = |push: &proto::Push| {
                push.removed.is_empty()
                    && push
                        .resources
                        .iter()
                        .all(|resource| resource.name.starts_with("endpoints/"))
            };
            assert!(
                self.unanswered.len() < 2 || self.unanswered.values().any(endpoints_only),
                "two ordinary pushes in flight"
            );
        }
    }

    /// Delivers the oldest message to the proxy; whether there was one.
    pub(crate) fn deliver_to_proxy(&mut self) -> bool {
        let Some(message) = self.to_proxy.pop_front() else {
            return false;
        };
        let Some(server_message::Message::Push(push)) = &message.message else {
            panic!("only pushes are expected");
        };
        let (nonce, complete) = (push.nonce, push.complete);
        let before = self.proxy.in_force().versions();
        if complete && self.known_refusals[&nonce] == self.refused.0 {
            // The server knew what the proxy would hold when this arrives.
            for resource in &self.unanswered[&nonce].resources {
                let held = before.get(&resource.name.parse().unwrap());
                let again = held == Some(&Version(resource.version));
                assert!(!again, "{} was sent again", resource.name);
            }
        }
        let answer = match self.proxy.receive(message).unwrap() {
            Step::Collecting => {
                assert!(!complete);
                None
            }
            Step::Waiting(reason) => panic!("unexpected: {reason}"),
            Step::Answer(answer) => Some(answer),
            Step::Apply(snapshot) => Some(self.apply(nonce, &snapshot, &before)),
        };
        let Some(answer) = answer else {
            assert_eq!(self.proxy.in_force().versions(), before);
            return true;
        };
        if let Answer::Nack(_, rejections) = &answer {
            self.refusals += 1;
            self.refused.0 += 1;
            for rejection in rejections {
                let dangles = rejection.reason.contains("this change removes")
                    || rejection.reason.contains("there is no");
                assert!(!dangles, "{rejection}");
            }
            self.last_refusal = Some((nonce, rejections[0].clone()));
            assert_eq!(self.proxy.in_force().versions(), before);
        }
        self.to_server.push_back(answer.message().clone());
        true
    }

    /// Applies a snapshot, unless it holds what this proxy refuses.
    fn apply(&mut self, nonce: u64, snapshot: &Arc<Snapshot>, before: &Versions) -> Answer {
        let mut expected = before.clone();
        let push = &self.unanswered[&nonce];
        for resource in &push.resources {
            expected.insert(resource.name.parse().unwrap(), Version(resource.version));
        }
        for name in &push.removed {
            expected.remove(&name.parse().unwrap());
        }
        assert_eq!(snapshot.versions(), expected, "not exactly one whole push");
        assert_ne!(&expected, before, "nothing changed");
        let rejections: Vec<Rejection> = self
            .refuses
            .iter()
            .filter(|(name, version)| expected.get(name) == Some(version))
            .map(|(name, version)| {
                Rejection::new(name.clone(), *version, "bind", "the test refuses it")
            })
            .collect();
        if rejections.is_empty() {
            self.applied += 1;
            self.proxy.applied(Ok(())).unwrap()
        } else {
            self.proxy.applied(Err(rejections)).unwrap()
        }
    }

    /// Lets everything arrive until both sides are silent, over a new stream if there is none.
    pub(crate) fn settle(&mut self) {
        self.slowly = false;
        self.open(true);
        self.publish();
        for _ in 0..1_000 {
            let moved = self.deliver_to_proxy() | self.deliver_to_server();
            if !moved {
                assert!(self.unanswered.is_empty(), "a push was never answered");
                assert!(self.server.as_ref().unwrap().is_synced());
                return;
            }
        }
        panic!("the two sides never come to rest");
    }

    /// What the proxy holds.
    pub(crate) fn held(&self) -> impl Iterator<Item = (&ResourceName, Version)> {
        self.proxy
            .in_force()
            .iter()
            .map(|(name, entry)| (name, entry.version))
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.unanswered.len()
    }

    pub(crate) fn messages_to_proxy(&self) -> usize {
        self.to_proxy.len()
    }

    pub(crate) fn last_push(&self) -> Option<&proto::Push> {
        self.last_push.as_ref()
    }
}
