//! Conversion as a whole: there and back again, versions, and whatever else may come.

mod mistakes;
mod mistakes_of_clusters_and_listeners;

use proptest::prelude::*;

use super::*;
use crate::arbitrary;
use crate::encoded::Encoded;

fn wire(resource: &Resource) -> proto::Resource {
    Encoded::new(resource).to_wire()
}

/// A message with a body of our choice and the version that belongs to it.
fn with_body(name: &str, body: Vec<u8>) -> proto::Resource {
    proto::Resource {
        name: name.to_owned(),
        version: Version::of_body(&body).0,
        body: body.into(),
    }
}

fn rejected(name: &str, body: &impl Message) -> (String, String) {
    let rejection = decode(&with_body(name, body.encode_to_vec())).unwrap_err();
    assert_eq!(rejection.resource.to_string(), name);
    (rejection.field, rejection.reason)
}

/// `$base` with field number `$pick` taken from `$other`; every field but the name stands here.
macro_rules! splice {
    ($base:expr, $other:expr, $pick:expr, $($field:ident),*) => {{
        let mut spliced = $base.clone();
        let fields = [$(stringify!($field)),*];
        let chosen = fields[$pick % fields.len()];
        $(if chosen == stringify!($field) {
            spliced.$field = $other.$field.clone();
        })*
        spliced
    }};
}

/// Two resources of one kind and name that differ in at most one field.
fn neighbours() -> impl Strategy<Value = (Resource, Resource)> {
    use crate::arbitrary as any_of;
    let pick = any::<usize>();
    prop_oneof![
        (any_of::workload(), any_of::workload(), any::<usize>()).prop_map(|(a, b, pick)| {
            let spliced = splice!(a, b, pick, id, peer, locality, labels);
            (a.into(), spliced.into())
        }),
        (any_of::settings(), any_of::settings()).prop_map(|(a, b)| {
            let spliced = splice!(a, b, 0, paths);
            (a.into(), spliced.into())
        }),
        (any_of::policy(), any_of::policy(), any::<usize>()).prop_map(|(a, b, pick)| {
            let spliced = splice!(a, b, pick, elsewhere, ports);
            (a.into(), spliced.into())
        }),
        (any_of::endpoint_set(), any_of::endpoint_set()).prop_map(|(a, b)| {
            let spliced = splice!(a, b, 0, endpoints);
            (a.into(), spliced.into())
        }),
        (any_of::cluster(), any_of::cluster(), pick).prop_map(|(a, b, pick)| {
            let spliced = splice!(
                a,
                b,
                pick,
                service,
                endpoints,
                protocol,
                balancer,
                locality,
                limits,
                outlier,
                tls,
                retry_budget,
                proxy_protocol,
                tunnel
            );
            (a.into(), spliced.into())
        }),
        (
            any_of::virtual_host(),
            any_of::virtual_host(),
            any::<usize>()
        )
            .prop_map(|(a, b, pick)| {
                let spliced = splice!(a, b, pick, domains, service, rules);
                (a.into(), spliced.into())
            }),
        (any_of::listener(), any_of::listener(), any::<usize>()).prop_map(|(a, b, pick)| {
            let spliced = splice!(a, b, pick, bind, kind);
            (a.into(), spliced.into())
        }),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_itself(resource in arbitrary::resource()) {
        let entry = decode(&wire(&resource)).map_err(|error| {
            TestCaseError::fail(error.to_string())
        })?;
        prop_assert_eq!(&entry.resource, &resource);
        prop_assert_eq!(entry.version, Encoded::new(&resource).version);
    }

    #[test]
    fn versions_differ_exactly_where_resources_do((one, other) in neighbours()) {
        let same = one == other;
        prop_assert_eq!(Encoded::new(&one).version == Encoded::new(&other).version, same);
    }

    #[test]
    fn no_bytes_make_decoding_panic(
        kind in prop::sample::select(vec![
            "settings/proxy", "workload/10.0.0.7", "policy/p", "endpoints/a:80", "cluster/outbound|80||a",
            "routes/80/a", "listener/l",
        ]),
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let decoded = decode(&with_body(kind, body));
        if kind.starts_with("policy/") {
            prop_assert!(decoded.is_ok(), "an unreadable policy refuses, it does not vanish");
        }
    }

    #[test]
    fn damaged_bodies_are_taken_or_rejected(
        resource in arbitrary::resource(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut body = encode(&resource).to_vec();
        for (at, byte) in damage {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len() + 1));
        }
        let message = with_body(&resource.name().to_string(), body);
        match decode(&message) {
            // Whatever was taken is sound: it survives the way back.
            Ok(entry) => prop_assert_eq!(
                decode(&wire(&entry.resource)).map(|again| again.resource),
                Ok(entry.resource)
            ),
            Err(rejection) => prop_assert_eq!(
                rejection.resource.known().cloned(), Some(resource.name())
            ),
        }
    }

    #[test]
    fn any_name_is_taken_or_rejected(name in "\\PC{0,40}", version in any::<u64>()) {
        let message = proto::Resource { name, version, body: Bytes::new() };
        if let Err(rejection) = decode(&message) {
            prop_assert_eq!(rejection.version, Version(version));
        }
    }

    #[test]
    fn damaged_streams_never_panic(
        resources in prop::collection::vec(arbitrary::resource(), 0..4),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let push = proto::Push {
            nonce: 1,
            snapshot_version: String::new(),
            resources: resources.iter().map(wire).collect(),
            removed: vec!["cluster/BlackHoleCluster".to_owned()],
            complete: true,
        };
        let mut bytes = push.encode_to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(push) = proto::Push::decode(bytes.as_slice()) {
            match decode_delta(&push.resources, &push.removed) {
                Ok(delta) => prop_assert_eq!(delta.set.len(), push.resources.len()),
                Err(rejections) => prop_assert!(!rejections.is_empty()),
            }
        }
    }
}
