//! Who is heard, and whose a name is.

use super::*;
use crate::testing::world;

const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: backend, namespace: shop}
spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec:
  hosts: [api.example.com]
  addresses: [10.96.0.10, 10.96.0.99]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: DNS
";

fn viewer(namespace: &str) -> Viewer {
    Viewer::gateway(&world(SHOP), &Arc::from(namespace))
}

#[test]
fn the_near_are_heard_together_and_strangers_alone() {
    let heard = |client: &str, owner: Option<&str>, speakers: &[&str]| {
        let speakers = speakers.iter().map(|one| (*one).to_owned());
        let heard = viewer(client).heard(owner, speakers, |one| one);
        (
            heard.acting.join(" "),
            heard.giving_way.join(" "),
            heard.strangers,
        )
    };
    let of = |acting: &str, giving_way: &str, strangers| {
        (acting.to_owned(), giving_way.to_owned(), strangers)
    };
    for (client, owner, speakers, expected) in [
        (
            "other",
            Some("shop"),
            &["evil", "istio-system", "shop", "other", "shop"][..],
            of("other shop shop istio-system", "evil", false),
        ),
        (
            "shop",
            Some("shop"),
            &["evil", "shop"],
            of("shop", "evil", false),
        ),
        // Nobody near: the first stranger's namespace, and no other.
        (
            "other",
            Some("shop"),
            &["evil", "aaa", "evil"],
            of("evil evil", "aaa", true),
        ),
        ("other", None, &["evil"], of("evil", "", true)),
        (
            "other",
            None,
            &["evil", "other"],
            of("other", "evil", false),
        ),
        ("other", Some("shop"), &[], of("", "", false)),
    ] {
        assert_eq!(heard(client, owner, speakers), expected, "{speakers:?}");
    }
}

#[test]
fn names_and_addresses_have_owners() {
    let world = world(SHOP);
    for (name, owner) in [
        ("backend.shop.svc.cluster.local", Some("shop")),
        ("web-0.backend.shop.svc.cluster.local", Some("shop")),
        ("*.shop.svc.cluster.local", Some("shop")),
        ("later.shop.svc.cluster.local", Some("shop")),
        ("backend.shop.svc", Some("shop")),
        ("backend.shop", Some("shop")),
        ("later.shop", None),
        ("*.local", Some("istio-system")),
        ("*", Some("istio-system")),
        ("*.example.com", None),
        ("api.example.com", Some("shop")),
        ("www.example.com", None),
    ] {
        let found = viewer("other").owner(&world, name);
        assert_eq!(found.as_deref(), owner, "{name}");
    }
    let outside = &world.claims("api.example.com")[0];
    let kept: Vec<String> = addresses(&world, outside)
        .map(|ip| ip.to_string())
        .collect();
    assert_eq!(kept, ["10.96.0.99"]);
    let backend = &world.claims("backend.shop.svc.cluster.local")[0];
    let kept: Vec<String> = addresses(&world, backend)
        .map(|ip| ip.to_string())
        .collect();
    assert_eq!(kept, ["10.96.0.10"]);
}
