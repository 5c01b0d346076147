//! Any conversation at all.

use proptest::prelude::*;

use super::*;

fn any_message() -> impl Strategy<Value = proto::ProxyMessage> {
    let text = "[a-z/0-9.:|]{0,12}";
    let rejection = (text, any::<u64>()).prop_map(|(name, version)| proto::Rejection {
        name,
        version,
        ..proto::Rejection::default()
    });
    let held =
        (text, any::<u64>()).prop_map(|(name, version)| proto::HeldResource { name, version });
    let nonce = 0_u64..4;
    prop_oneof![
        Just(proto::ProxyMessage { message: None }),
        nonce.clone().prop_map(ack),
        (nonce, prop::collection::vec(rejection, 0..3))
            .prop_map(|(nonce, rejections)| say(Message::Nack(proto::Nack { nonce, rejections }))),
        prop::collection::vec(text, 0..3).prop_map(|names_added| {
            say(Message::Subscribe(proto::Subscribe {
                names_added,
                ..proto::Subscribe::default()
            }))
        }),
        (-1..4_i32, prop::collection::vec(held, 0..4)).prop_map(|(role, held)| {
            say(Message::Hello(proto::Hello {
                role,
                held,
                ..hello()
            }))
        }),
    ]
}

proptest! {
    /// Any messages in any order are errors or answers, never a panic, and nonces increase.
    #[test]
    fn any_conversation_is_survived(
        greets in any::<bool>(),
        steps in prop::collection::vec((any_message(), "[a-c]{0,1}"), 0..20),
    ) {
        let mut session = if greets { greeted(hello()).0 } else { Session::new() };
        let mut last = 0;
        for (message, reason) in steps {
            let mut outputs = session.hear(message).unwrap_or_default();
            outputs.extend(session.on_desired(desired([policy("a", &reason)])));
            for push in pushes(&outputs) {
                prop_assert!(push.nonce > last);
                last = push.nonce;
            }
        }
    }
}
