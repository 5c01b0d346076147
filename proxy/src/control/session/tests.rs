//! The proxy's side of the protocol, message by message. What both sides make of each other is
//! tested where both are at hand.

use mesh_api::encoded::Encoded;
use mesh_api::name::PolicyName;
use mesh_api::policy::{Policy, PolicyRule};
use mesh_api::proxy::{CaptureMode, ProxyRole};
use mesh_api::resource::Resource;
use proptest::prelude::*;

use super::*;

fn session() -> Session {
    let mut session = Session::new(Identity {
        workload: "shop/backend-1".parse().unwrap(),
        role: ProxyRole::Gateway,
        capture_mode: CaptureMode::OriginalDestination,
        software: "1.2.3",
    });
    session.opened();
    session
}

fn policy(name: &str, reason: &str) -> proto::Resource {
    Encoded::new(&Resource::from(Policy::uniform(
        PolicyName(name.into()),
        PolicyRule::Refuse {
            reason: reason.into(),
        },
    )))
    .to_wire()
}

fn push(nonce: u64, resources: Vec<proto::Resource>, removed: &[&str]) -> proto::Push {
    proto::Push {
        nonce,
        resources,
        removed: removed.iter().map(|name| String::from(*name)).collect(),
        complete: true,
        ..proto::Push::default()
    }
}

fn part(mut push: proto::Push) -> proto::Push {
    push.complete = false;
    push
}

fn receive(session: &mut Session, push: proto::Push) -> Result<Step, ProtocolError> {
    session.receive(proto::ServerMessage {
        message: Some(server_message::Message::Push(push)),
    })
}

/// Applies whatever follows from a push; whether it was acknowledged.
fn take(session: &mut Session, push: proto::Push) -> bool {
    let answer = match receive(session, push).unwrap() {
        Step::Apply(_) => session.applied(Ok(())).unwrap(),
        Step::Answer(answer) => answer,
        Step::Collecting | Step::Waiting(_) => panic!("a whole push has an answer"),
    };
    matches!(answer, Answer::Ack(_))
}

fn hello(message: proto::ProxyMessage) -> proto::Hello {
    match message.message {
        Some(proxy_message::Message::Hello(hello)) => hello,
        other => panic!("{other:?}"),
    }
}

fn names(session: &Session) -> Vec<String> {
    session
        .in_force()
        .iter()
        .map(|(name, _)| name.to_string())
        .collect()
}

#[test]
fn hello_says_who_and_what_is_held() {
    let mut session = session();
    assert!(take(&mut session, push(1, vec![policy("a", "1")], &[])));
    session.want(IpAddr::from([127, 0, 0, 9]));
    session.closed();
    let hello = hello(session.opened());
    assert_eq!(hello.workload, "shop/backend-1");
    assert_eq!(hello.role(), proto::Role::Gateway);
    assert_eq!(
        hello.capture_mode(),
        proto::CaptureMode::OriginalDestination
    );
    assert_eq!(hello.proxy_version, "1.2.3");
    assert_eq!(hello.protocol_revision, PROTOCOL_REVISION);
    assert_eq!(hello.names, ["workload/127.0.0.9"]);
    let held = proto::HeldResource {
        name: "policy/a".to_owned(),
        version: policy("a", "1").version,
    };
    assert_eq!(hello.held, [held]);
}

#[test]
fn nothing_of_a_push_counts_before_its_end() {
    let mut session = session();
    for number in 0..3 {
        let resource = policy(&number.to_string(), "x");
        let step = receive(&mut session, part(push(1, vec![resource], &[]))).unwrap();
        assert!(matches!(step, Step::Collecting));
        assert!(session.is_collecting());
        assert!(session.in_force().is_empty());
    }
    let step = receive(&mut session, push(1, Vec::new(), &[])).unwrap();
    let Step::Apply(snapshot) = step else {
        panic!("{step:?}");
    };
    assert_eq!(snapshot.len(), 3);
    assert!(session.in_force().is_empty(), "it has not been applied");
    assert!(matches!(session.applied(Ok(())), Some(Answer::Ack(_))));
    assert_eq!(session.in_force().len(), 3);
}

#[test]
fn half_a_push_is_forgotten_with_its_stream() {
    let mut session = session();
    receive(&mut session, part(push(5, vec![policy("a", "1")], &[]))).unwrap();
    session.closed();
    assert!(hello(session.opened()).held.is_empty());
    // Nonces begin anew, and nothing is left of the first part.
    assert!(take(&mut session, push(1, vec![policy("b", "1")], &[])));
    assert_eq!(names(&session), ["policy/b"]);
}

#[test]
fn what_cannot_be_applied_is_not_held() {
    let mut session = session();
    assert!(take(&mut session, push(1, vec![policy("a", "1")], &[])));
    let step = receive(&mut session, push(2, vec![policy("a", "2")], &[])).unwrap();
    assert!(matches!(step, Step::Apply(_)));
    let name: ResourceName = "policy/a".parse().unwrap();
    let rejection = Rejection::new(name, Version(9), "bind", "address in use");
    let answer = session.applied(Err(vec![rejection.clone()])).unwrap();
    let Answer::Nack(message, told) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(told, [rejection]);
    let Some(proxy_message::Message::Nack(nack)) = message.message else {
        panic!("{message:?}");
    };
    assert_eq!((nack.nonce, nack.rejections.len()), (2, 1));
    assert_eq!(nack.rejections[0].field, "bind");
    session.closed();
    let held = hello(session.opened()).held;
    assert_eq!(held[0].version, policy("a", "1").version);
    assert_eq!(session.applied(Ok(())), None, "there is nothing to apply");
}

#[test]
fn a_refusal_always_says_something() {
    let mut session = session();
    receive(&mut session, push(1, vec![policy("a", "1")], &[])).unwrap();
    let answer = session.applied(Err(Vec::new())).unwrap();
    assert!(matches!(answer, Answer::Nack(_, rejections) if rejections.len() == 1));
}

#[test]
fn what_changes_nothing_is_acknowledged_without_a_swap() {
    let mut session = session();
    assert!(take(&mut session, push(1, vec![policy("a", "1")], &[])));
    for (nonce, push) in [
        push(2, vec![policy("a", "1")], &[]),
        push(3, Vec::new(), &["workload/10.0.0.1"]),
        push(4, Vec::new(), &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let step = receive(&mut session, push).unwrap();
        assert!(
            matches!(step, Step::Answer(Answer::Ack(_))),
            "{nonce}: {step:?}"
        );
    }
    assert!(take(&mut session, push(5, Vec::new(), &["policy/a"])));
    assert!(session.in_force().is_empty());
}

#[test]
fn a_broken_resource_is_named_and_a_broken_policy_refuses() {
    let mut session = session();
    let spoil = |name: &str| {
        let body = bytes::Bytes::from_static(&[0xff]);
        proto::Resource {
            name: name.to_owned(),
            version: Version::of_body(&body).0,
            body,
        }
    };
    let step = receive(&mut session, push(1, vec![spoil("listener/l")], &[])).unwrap();
    let Step::Answer(Answer::Nack(_, rejections)) = step else {
        panic!("{step:?}");
    };
    assert_eq!(rejections[0].resource.to_string(), "listener/l");
    assert!(take(&mut session, push(2, vec![spoil("policy/p")], &[])));
    let held = session.in_force().policy(&PolicyName("p".into())).unwrap();
    assert!(
        matches!(held.elsewhere, PolicyRule::Refuse { .. }),
        "{held:?}"
    );
}

#[test]
fn rules_of_the_stream_are_kept() {
    let mut stream = session();
    let error = stream.receive(proto::ServerMessage { message: None });
    assert_eq!(error.unwrap_err(), ProtocolError::UnknownMessage);
    let error = receive(&mut stream, push(0, Vec::new(), &[])).unwrap_err();
    assert_eq!(error, ProtocolError::Nonce { nonce: 0, last: 0 });
    receive(&mut stream, push(3, Vec::new(), &[])).unwrap();
    let error = receive(&mut stream, push(3, Vec::new(), &[])).unwrap_err();
    assert_eq!(error, ProtocolError::Nonce { nonce: 3, last: 3 });
    receive(&mut stream, part(push(4, Vec::new(), &[]))).unwrap();
    let error = receive(&mut stream, push(5, Vec::new(), &[])).unwrap_err();
    let expected = ProtocolError::Interleaved {
        begun: 5,
        unfinished: 4,
    };
    assert_eq!(error, expected);

    let mut stream = session();
    receive(&mut stream, push(1, vec![policy("a", "1")], &[])).unwrap();
    let error = receive(&mut stream, push(2, Vec::new(), &[])).unwrap_err();
    assert_eq!(error, ProtocolError::Unanswered(2));
}

#[test]
fn a_push_without_end_is_given_up() {
    let mut session = session();
    let body = bytes::Bytes::from(vec![0; 1 << 20]);
    let resource = || proto::Resource {
        name: "policy/a".to_owned(),
        version: 0,
        body: body.clone(),
    };
    let result = (0..1_000)
        .map(|_| receive(&mut session, part(push(1, vec![resource()], &[]))))
        .find_map(Result::err);
    assert_eq!(result, Some(ProtocolError::TooLarge { nonce: 1 }));
    assert!(!session.is_collecting());
}

#[test]
fn questions_are_asked_once_and_the_oldest_make_room() {
    let mut session = session();
    let address = |number: u32| IpAddr::from((0x7f00_0000 + number).to_be_bytes());
    assert!(session.want(address(0)).is_some());
    assert!(session.want(address(0)).is_none());
    let mut forgotten = Vec::new();
    for number in 1..1_030 {
        let message = session.want(address(number)).unwrap().message;
        let Some(proxy_message::Message::Subscribe(subscribe)) = message else {
            panic!("{message:?}");
        };
        assert_eq!(subscribe.names_added.len(), 1);
        forgotten.extend(subscribe.names_removed);
    }
    assert_eq!(forgotten.len(), 6);
    assert_eq!(forgotten[0], "workload/127.0.0.0");
    assert_eq!(hello(session.opened()).names.len(), MAX_WANTED);
}

fn any_push() -> impl Strategy<Value = proto::Push> {
    let resource = (
        "[a-z/0-9|:]{0,14}",
        prop::collection::vec(any::<u8>(), 0..20),
        any::<bool>(),
    )
        .prop_map(|(name, body, honest)| {
            let body = bytes::Bytes::from(body);
            let version = if honest { Version::of_body(&body).0 } else { 1 };
            proto::Resource {
                name,
                version,
                body,
            }
        });
    let good = ("[a-c]", "[a-c]").prop_map(|(name, reason)| policy(&name, &reason));
    (
        0_u64..6,
        prop::collection::vec(prop_oneof![good, resource], 0..4),
        prop::collection::vec("(policy/[a-c]|[a-z/]{0,8})", 0..3),
        any::<bool>(),
    )
        .prop_map(|(nonce, resources, removed, complete)| proto::Push {
            nonce,
            resources,
            removed,
            complete,
            ..proto::Push::default()
        })
}

proptest! {
    /// Any messages in any order are errors or answers, never a panic, and what is in force
    /// changes only when something was applied.
    #[test]
    fn any_stream_is_survived(
        pushes in prop::collection::vec((any_push(), any::<bool>()), 0..30),
    ) {
        let mut session = session();
        for (push, works) in pushes {
            let before = session.in_force().version();
            let step = receive(&mut session, push);
            prop_assert_eq!(session.in_force().version(), before);
            match step {
                Ok(Step::Apply(next)) => {
                    let result = if works { Ok(()) } else { Err(Vec::new()) };
                    session.applied(result);
                    let expected = if works { next.version() } else { before };
                    prop_assert_eq!(session.in_force().version(), expected);
                }
                Ok(_) => {}
                Err(_) => {
                    session.closed();
                    session.opened();
                }
            }
        }
    }
}
