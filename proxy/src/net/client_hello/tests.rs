//! Greetings whole, in pieces, damaged and random.

use proptest::prelude::*;

use super::*;

fn with_length16(bytes: &[u8]) -> Vec<u8> {
    let mut all = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    all.extend_from_slice(bytes);
    all
}

/// A greeting such as a TLS 1.3 client sends, in records of at most `record` bytes.
pub(crate) fn client_hello(server_name: Option<&str>, record: usize) -> Vec<u8> {
    let mut extensions = Vec::new();
    // supported_versions, before the name: order is the client's choice.
    extensions.extend_from_slice(&[0, 43, 0, 3, 2, 3, 4]);
    if let Some(name) = server_name {
        let mut entry = vec![HOST_NAME];
        entry.extend(with_length16(name.as_bytes()));
        extensions.extend_from_slice(&[0, 0]);
        extensions.extend(with_length16(&with_length16(&entry)));
    }
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.push(32);
    body.extend_from_slice(&[9; 32]);
    body.extend(with_length16(&[0x13, 0x01, 0x13, 0x02]));
    body.extend_from_slice(&[1, 0]);
    body.extend(with_length16(&extensions));
    let mut handshake = vec![CLIENT_HELLO, 0];
    handshake.extend(with_length16(&body));
    let mut wire = Vec::new();
    for fragment in handshake.chunks(record) {
        wire.extend_from_slice(&[HANDSHAKE_RECORD, 3, 1]);
        wire.extend(with_length16(fragment));
    }
    wire
}

fn complete(name: Option<&str>) -> ClientHello {
    ClientHello::Complete {
        server_name: name.map(Box::from),
    }
}

#[test]
fn names_are_found_however_the_greeting_is_cut() {
    for record in [1, 3, 17, 16_000] {
        let wire = client_hello(Some("Backend.Shop.example"), record);
        assert_eq!(
            parse(&wire),
            complete(Some("backend.shop.example")),
            "{record}"
        );
        for end in 0..wire.len() {
            assert_eq!(
                parse(&wire[..end]),
                ClientHello::Incomplete,
                "{record} {end}"
            );
        }
    }
    assert_eq!(parse(&client_hello(None, 16_000)), complete(None));
    assert_eq!(
        parse(&client_hello(Some("a.example."), 99)),
        complete(Some("a.example"))
    );
}

#[test]
fn what_follows_the_greeting_does_not_matter() {
    let mut wire = client_hello(Some("a.example"), 16_000);
    wire.extend_from_slice(b"early data");
    assert_eq!(parse(&wire), complete(Some("a.example")));
}

#[test]
fn what_is_no_greeting_is_refused() {
    let good = client_hello(Some("a.example"), 16_000);
    let damaged = |index: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[index] = value;
        bytes
    };
    for (what, bytes) in [
        ("another record", damaged(0, 23)),
        ("another version", damaged(1, 2)),
        ("an empty record", vec![22, 3, 1, 0, 0]),
        ("a record too large", vec![22, 3, 1, 0xff, 0xff]),
        ("another handshake message", damaged(5, 2)),
        ("a greeting too large", damaged(6, 1)),
        ("a session id beyond the end", damaged(5 + 4 + 34, 255)),
        ("a name with a blank", client_hello(Some("a b"), 16_000)),
        ("an empty name", client_hello(Some(""), 16_000)),
        (
            "a name too long",
            client_hello(Some(&"a".repeat(254)), 16_000),
        ),
    ] {
        assert_eq!(parse(&bytes), ClientHello::Invalid, "{what}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn no_damage_makes_it_panic_or_invent_a_name(
        index in 0_usize..150, value: u8, record in 1_usize..200,
    ) {
        let mut wire = client_hello(Some("backend.shop"), record);
        let index = index % wire.len();
        wire[index] = value;
        if let ClientHello::Complete { server_name: Some(name) } = parse(&wire) {
            prop_assert!(name.len() <= LONGEST_NAME);
            prop_assert!(name.bytes().all(|b| !b.is_ascii_uppercase() && b > b' '));
        }
    }
}
