//! The server's side of the protocol, message by message. What both sides make of each other is
//! tested where both are at hand.

mod conversation;
mod hosts;

use mesh_api::name::WorkloadName;
use mesh_api::resource::Resource;
use mesh_api::workload::{Locality, Peer, Workload};
use proxy_message::Message;

use super::*;
use mesh_api::encoded::Encoded;
use mesh_api::policy::{Policy, PolicyRule};

/// A proxy that is answered at once, however often it says something.
trait Hear {
    fn hear(&mut self, message: proto::ProxyMessage) -> Result<Vec<Output>, ProtocolError>;
}

impl Hear for Session {
    fn hear(&mut self, message: proto::ProxyMessage) -> Result<Vec<Output>, ProtocolError> {
        let mut outputs = self.on_message(message)?;
        if self.asks() {
            outputs.extend(self.settle());
        }
        Ok(outputs)
    }
}

fn hello() -> proto::Hello {
    proto::Hello {
        workload: "shop/backend-1".to_owned(),
        role: proto::Role::Sidecar.into(),
        capture_mode: proto::CaptureMode::Explicit.into(),
        proxy_version: "1.2.3".to_owned(),
        protocol_revision: 1,
        subscription: Some(proto::hello::Subscription::AllHosts(proto::AllHosts {})),
        names: Vec::new(),
        held: Vec::new(),
    }
}

fn say(message: Message) -> proto::ProxyMessage {
    proto::ProxyMessage {
        message: Some(message),
    }
}

fn policy(name: &str, reason: &str) -> Encoded {
    let rule = if reason.is_empty() {
        PolicyRule::Allow
    } else {
        PolicyRule::Refuse {
            reason: reason.into(),
        }
    };
    let name = mesh_api::name::PolicyName(name.into());
    Encoded::new(&Resource::from(Policy::uniform(name, rule)))
}

fn desired(resources: impl IntoIterator<Item = Encoded>) -> Arc<DesiredState> {
    let named = resources
        .into_iter()
        .map(|encoded| (encoded.name.clone(), encoded));
    Arc::new(DesiredState::new(named))
}

fn pushes(outputs: &[Output]) -> Vec<&proto::Push> {
    outputs
        .iter()
        .filter_map(|output| {
            if let Output::Send(message) = output
                && let Some(server_message::Message::Push(push)) = &message.message
            {
                Some(push)
            } else {
                None
            }
        })
        .collect()
}

fn greeted(hello: proto::Hello) -> (Session, Vec<Output>) {
    let mut session = Session::new();
    let outputs = session.hear(say(Message::Hello(hello))).unwrap();
    (session, outputs)
}

fn nack(nonce: u64, name: &str, version: Version) -> proto::ProxyMessage {
    say(Message::Nack(proto::Nack {
        nonce,
        rejections: vec![proto::Rejection {
            name: name.to_owned(),
            version: version.0,
            field: "rule".to_owned(),
            reason: "no".to_owned(),
        }],
    }))
}

fn ack(nonce: u64) -> proto::ProxyMessage {
    say(Message::Ack(proto::Ack { nonce }))
}

#[test]
fn an_introduction_is_passed_on() {
    let mut asking = hello();
    asking.names = vec!["workload/127.0.0.9".to_owned()];
    let (_, outputs) = greeted(asking);
    let expected = Introduction {
        workload: "shop/backend-1".parse().unwrap(),
        role: ProxyRole::Sidecar,
        capture: CaptureMode::Explicit,
        software: "1.2.3".to_owned(),
    };
    let wanted = WorkloadName("127.0.0.9".parse().unwrap());
    assert_eq!(
        outputs,
        [
            Output::Hello(expected),
            Output::Workloads(Workloads {
                added: BTreeSet::from([wanted]),
                removed: BTreeSet::new(),
            }),
        ]
    );
}

#[test]
fn rules_of_the_stream_are_kept() {
    let state = || desired([policy("a", "")]);
    let mut session = Session::new();
    assert_eq!(session.hear(ack(1)), Err(ProtocolError::HelloMissing));
    let empty = proto::ProxyMessage { message: None };
    assert_eq!(session.hear(empty), Err(ProtocolError::UnknownMessage));

    let (mut session, _) = greeted(hello());
    let again = say(Message::Hello(hello()));
    assert_eq!(session.hear(again), Err(ProtocolError::HelloAgain));

    let (mut session, _) = greeted(hello());
    assert_eq!(session.hear(ack(1)), Err(ProtocolError::UnknownNonce(1)));

    let (mut session, _) = greeted(hello());
    session.on_desired(state());
    let silent = say(Message::Nack(proto::Nack {
        nonce: 1,
        rejections: Vec::new(),
    }));
    assert_eq!(session.hear(silent), Err(ProtocolError::EmptyNack(1)));

    let (mut session, _) = greeted(hello());
    session.on_desired(state());
    session.hear(ack(1)).unwrap();
    assert!(session.is_synced());
    assert_eq!(session.hear(ack(1)), Err(ProtocolError::UnknownNonce(1)));
}

type Spoil = fn(&mut proto::Hello);

#[test]
fn a_bad_introduction_is_refused_and_says_which_field() {
    let cases: [(&str, Spoil); 6] = [
        ("workload", |hello| hello.workload = "backend".to_owned()),
        ("role", |hello| hello.role = 0),
        ("capture_mode", |hello| hello.capture_mode = 9),
        ("subscription", |hello| hello.subscription = None),
        ("names", |hello| hello.names = vec!["pod/x".to_owned()]),
        ("revision", |hello| hello.protocol_revision = 0),
    ];
    for (field, spoil) in cases {
        let mut hello = hello();
        spoil(&mut hello);
        let error = Session::new().hear(say(Message::Hello(hello))).unwrap_err();
        assert!(error.to_string().contains(field), "{field}: {error}");
        let status = tonic::Status::from(error);
        let expected = if field == "revision" {
            tonic::Code::FailedPrecondition
        } else {
            tonic::Code::InvalidArgument
        };
        assert_eq!(status.code(), expected, "{field}");
    }
}

#[test]
fn waiting_is_said_once_per_reason_and_takes_nothing_away() {
    let (mut session, _) = greeted(hello());
    let reason: Arc<str> = "unknown workload".into();
    assert_eq!(session.on_waiting(&reason).len(), 1);
    assert_eq!(session.on_waiting(&reason), []);
    assert_eq!(session.on_waiting(&"starting".into()).len(), 1);
    assert_eq!(
        pushes(&session.on_desired(desired([policy("a", "")]))).len(),
        1
    );
    session.hear(ack(1)).unwrap();
    let outputs = session.on_waiting(&reason);
    assert!(pushes(&outputs).is_empty());
    assert_eq!(session.expected().count(), 1);
    assert!(!session.is_synced());
}

#[test]
fn only_the_newest_state_is_sent_to_a_busy_proxy() {
    let (mut session, _) = greeted(hello());
    let first = session.on_desired(desired([policy("a", "1")]));
    assert_eq!(pushes(&first).len(), 1);
    for number in 2..9 {
        let outputs = session.on_desired(desired([policy("a", &number.to_string())]));
        assert_eq!(outputs, []);
    }
    let newest = policy("a", "8");
    let outputs = session.hear(ack(1)).unwrap();
    let [push] = pushes(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(push.resources, [newest.to_wire()]);
    // Back to where the proxy will be: nothing.
    assert_eq!(session.on_desired(desired([newest])), []);
    session.hear(ack(2)).unwrap();
    assert!(session.is_synced());
}

#[test]
fn what_was_refused_is_withheld_in_that_version_only() {
    let (bad, good) = (policy("a", "bad"), policy("b", ""));
    let (mut session, _) = greeted(hello());
    session.on_desired(desired([bad.clone(), good.clone()]));
    let outputs = session.hear(nack(1, "policy/a", bad.version)).unwrap();
    let [push] = pushes(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(push.resources, [good.to_wire()]);
    session.hear(ack(2)).unwrap();
    assert!(session.is_synced());
    let other = policy("a", "better");
    let outputs = session.on_desired(desired([other.clone(), good.clone()]));
    assert_eq!(pushes(&outputs)[0].resources, [other.to_wire()]);
    session.hear(ack(3)).unwrap();
    assert!(session.withheld().is_empty());
    let outputs = session.on_desired(desired([bad.clone(), good]));
    assert_eq!(pushes(&outputs)[0].resources, [bad.to_wire()]);
}

#[test]
fn refused_things_are_tried_again_on_request() {
    let bad = policy("a", "bad");
    let (mut session, _) = greeted(hello());
    session.on_desired(desired([bad.clone()]));
    let outputs = session.hear(nack(1, "policy/a", bad.version)).unwrap();
    assert!(pushes(&outputs).is_empty());
    let outputs = session.retry_refused();
    assert_eq!(pushes(&outputs)[0].resources, [bad.to_wire()]);
}

#[test]
fn a_refusal_that_names_nothing_known_never_loops() {
    let (mut session, _) = greeted(hello());
    let state = desired([policy("a", "1"), policy("b", "")]);
    session.on_desired(Arc::clone(&state));
    let outputs = session.hear(nack(1, "no-such/thing", Version(7))).unwrap();
    assert!(pushes(&outputs).is_empty());
    assert_eq!(session.withheld().len(), 2);

    // A removal that is refused for no reason is not tried again either.
    let mut holding = hello();
    holding.held = vec![proto::HeldResource {
        name: "policy/old".to_owned(),
        version: 3,
    }];
    let (mut session, _) = greeted(holding);
    let outputs = session.on_desired(desired([]));
    assert_eq!(pushes(&outputs)[0].removed, ["policy/old"]);
    let outputs = session.hear(nack(1, "?", Version(0))).unwrap();
    assert!(pushes(&outputs).is_empty());
    let outputs = session.on_desired(desired([policy("a", "")]));
    assert_eq!(pushes(&outputs).len(), 1, "a new state is a new chance");
}

#[test]
fn what_a_proxy_needs_is_not_removed_against_its_will() {
    let mut holding = hello();
    holding.held = ["policy/old", "listener/in"]
        .map(|name| proto::HeldResource {
            name: name.to_owned(),
            version: 3,
        })
        .to_vec();
    let (mut session, _) = greeted(holding);
    let outputs = session.on_desired(desired([policy("new", "")]));
    assert_eq!(pushes(&outputs)[0].removed.len(), 2);
    let outputs = session.hear(nack(1, "listener/in", Version(3))).unwrap();
    let [push] = pushes(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(push.removed, ["listener/in"]);
    assert_eq!(push.resources.len(), 1);
}

#[test]
fn names_of_another_time_are_dropped() {
    let mut holding = hello();
    holding.held = vec![proto::HeldResource {
        name: "hologram/7".to_owned(),
        version: 3,
    }];
    let (mut session, _) = greeted(holding);
    let outputs = session.on_desired(desired([]));
    assert_eq!(pushes(&outputs)[0].removed, ["hologram/7"]);
    session.hear(ack(1)).unwrap();
    assert!(session.is_synced());
}

#[test]
fn a_name_that_does_not_exist_is_answered_once() {
    let (mut session, _) = greeted(hello());
    session.on_desired(desired([policy("a", "")]));
    session.hear(ack(1)).unwrap();
    let ask = || {
        say(Message::Subscribe(proto::Subscribe {
            names_added: vec!["policy/b".to_owned(), "policy/a".to_owned()],
            ..proto::Subscribe::default()
        }))
    };
    let outputs = session.hear(ask()).unwrap();
    let [push] = pushes(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    assert_eq!(push.removed, ["policy/b"]);
    assert!(push.resources.is_empty());
    session.hear(ack(2)).unwrap();
    let outputs = session.hear(ask()).unwrap();
    assert!(pushes(&outputs).is_empty());
}

#[test]
fn workloads_go_to_those_who_ask() {
    let name = WorkloadName("127.0.0.9".parse().unwrap());
    let workload = Encoded::new(&Resource::from(Workload {
        name,
        id: "shop/x".parse().unwrap(),
        peer: Peer::default(),
        locality: Locality::default(),
        labels: BTreeMap::new(),
    }));
    let (mut session, _) = greeted(hello());
    let outputs = session.on_desired(desired([workload.clone()]));
    assert!(pushes(&outputs)[0].resources.is_empty());
    session.hear(ack(1)).unwrap();
    let ask = say(Message::Subscribe(proto::Subscribe {
        names_added: vec![workload.name.to_string()],
        ..proto::Subscribe::default()
    }));
    let outputs = session.hear(ask).unwrap();
    assert!(session.is_looking_up());
    let comes = Workloads {
        added: BTreeSet::from([name]),
        removed: BTreeSet::new(),
    };
    assert_eq!(outputs[0], Output::Workloads(comes));
    assert_eq!(pushes(&outputs)[0].resources, [workload.to_wire()]);
    session.hear(ack(2)).unwrap();
    let forget = say(Message::Subscribe(proto::Subscribe {
        names_removed: vec![workload.name.to_string()],
        ..proto::Subscribe::default()
    }));
    let outputs = session.hear(forget).unwrap();
    assert_eq!(pushes(&outputs)[0].removed, [workload.name.to_string()]);
}

#[test]
fn workloads_from_before_survive_a_state_that_did_not_know_of_them() {
    let held = "workload/127.0.0.9".to_owned();
    let mut holding = hello();
    holding.names = vec![held.clone()];
    holding.held = vec![proto::HeldResource {
        name: held.clone(),
        version: 3,
    }];
    let (mut session, _) = greeted(holding);
    // Made before the workload was asked for, however many of these there are.
    assert_eq!(session.on_desired(desired([])), []);
    let outputs = session.on_desired(desired([policy("a", "")]));
    assert_eq!(pushes(&outputs)[0].removed, [""; 0]);
    session.hear(ack(1)).unwrap();
    // Made after, and it is gone.
    session.looked_up();
    let outputs = session.on_desired(desired([policy("a", "")]));
    assert_eq!(pushes(&outputs)[0].removed, [held]);
}
