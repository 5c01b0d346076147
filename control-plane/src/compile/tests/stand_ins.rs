//! What restricts and cannot be read restricts what it names, no less and no more.

use super::*;

use mesh_api::listener::UnmatchedTraffic;

use crate::compile::sidecar::{select, unmatched};
use crate::crd::{Decoded, Outcome, decode};
use crate::model::{Change, World};

fn refused(yaml: &str) -> Decoded {
    let decoded = decode(serde_saphyr::from_str(yaml).unwrap());
    assert_eq!(decoded.outcome, Outcome::Rejected, "{yaml}");
    decoded
}

/// The shop, with what stands in for an object that cannot be read.
fn with(yaml: &str) -> World {
    let mut world = world(&shop(""));
    let stand_in = refused(yaml).stand_in.expect("it restricts");
    world.apply([Change::Applied(stand_in)]);
    world
}

/// Whether calls to a service port are refused because of an object that cannot be read.
fn closed(world: &World, cluster: &str) -> bool {
    let compiled = compiled(
        world,
        "shop/client",
        ProxyRole::Sidecar,
        CaptureMode::OriginalDestination,
    );
    let name = ResourceName::Cluster(cluster.parse().unwrap());
    let snapshot = snapshot(&compiled);
    let entry = snapshot.get(&name).unwrap_or_else(|| panic!("no {name}"));
    let text = format!("{:?}", entry.resource);
    text.contains("Refused") && text.contains("cannot be read")
}

const BACKEND: &str = "outbound|8080||backend.shop.svc.cluster.local";
const STORE: &str = "outbound|80||store.shop.svc.cluster.local";
const STORE_TCP: &str = "outbound|9000||store.shop.svc.cluster.local";

fn rule(namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: a, \
         namespace: {namespace}}}\nspec: {spec}\n"
    )
}

#[test]
fn tls_that_cannot_be_read_is_no_plaintext() {
    for spec in [
        "{host: backend, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, novelty: 1}}",
        "{host: backend, novelty: 1, trafficPolicy: {tls: {mode: MUTUAL}}}",
        "{host: backend, trafficPolicy: {tls: {mode: ISTIO_MUTUALL}}}",
        "{host: backend, trafficPolicy: {tls: ISTIO_MUTUAL}}",
        "{host: backend, trafficPolicy: {tsl: {mode: ISTIO_MUTUAL}}}",
        "{host: backend, trafficPolicy: 7}",
        "{host: backend, trafficPolicy: {portLevelSettings: [{port: {number: 8080}, tls: {mode: \
         SIMPLE}, novelty: 1}]}}",
        "{host: backend, trafficPolicy: {portLevelSettings: [{port: https, tls: {mode: SIMPLE}}]}}",
    ] {
        let world = with(&rule("shop", spec));
        assert!(closed(&world, BACKEND), "{spec}");
        assert!(!closed(&world, STORE), "{spec}");
    }
}

#[test]
fn it_closes_no_more_than_it_names() {
    let port = "{host: store, novelty: 1, trafficPolicy: {portLevelSettings: [{port: {number: 9000}, \
                tls: {mode: MUTUAL}}]}}";
    let world = with(&rule("shop", port));
    assert!(closed(&world, STORE_TCP) && !closed(&world, STORE));
    // It is for other clients, or not for anybody here.
    for (namespace, spec) in [
        (
            "shop",
            "{host: backend, novelty: 1, trafficPolicy: {tls: {mode: MUTUAL}}, workloadSelector: \
             {matchLabels: {app: other}}}",
        ),
        (
            "elsewhere",
            "{host: backend.shop.svc.cluster.local, novelty: 1, trafficPolicy: {tls: {mode: \
             MUTUAL}}}",
        ),
    ] {
        let world = with(&rule(namespace, spec));
        assert!(!closed(&world, BACKEND), "{spec}");
    }
    for harmless in [
        "{host: backend, novelty: 1}",
        "{host: backend, novelty: 1, trafficPolicy: {tls: {mode: DISABLE}}}",
        "{host: backend, trafficPolicy: {loadBalancer: {simple: NOVEL}}}",
        "{host: 7, trafficPolicy: {tls: {mode: MUTUAL}}}",
    ] {
        assert_eq!(
            refused(&rule("shop", harmless)).stand_in,
            None,
            "{harmless}"
        );
    }
}

fn sidecar(namespace: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: a, namespace: \
         {namespace}}}\nspec: {spec}\n"
    )
}

#[test]
fn registry_only_that_cannot_be_read_is_still_meant() {
    let of = |world: &World, namespace: &str, app: &str| {
        let labels = [(Arc::from("app"), Arc::from(app))].into_iter().collect();
        unmatched(world, select(world, namespace, &labels))
    };
    for spec in [
        "{outboundTrafficPolicy: {mode: REGISTRY_ONLY}, novelty: 1}",
        "{outboundTrafficPolicy: {mode: REGISTRY_ONLLY}}",
        "{outboundTrafficPolicy: {mdoe: REGISTRY_ONLY}}",
        "{outboundTraficPolicy: {mode: REGISTRY_ONLY}}",
    ] {
        let world = with(&sidecar("shop", spec));
        assert_eq!(
            of(&world, "shop", "client"),
            UnmatchedTraffic::Refuse,
            "{spec}"
        );
        assert_eq!(
            of(&world, "other", "x"),
            UnmatchedTraffic::Passthrough,
            "{spec}"
        );
    }
    let selecting = "{workloadSelector: {labels: {app: client}}, novelty: 1, outboundTrafficPolicy: \
                     {mode: REGISTRY_ONLY}}";
    let world = with(&sidecar("shop", selecting));
    assert_eq!(of(&world, "shop", "client"), UnmatchedTraffic::Refuse);
    assert_eq!(of(&world, "shop", "other"), UnmatchedTraffic::Passthrough);
    let open = "{outboundTrafficPolicy: {mode: ALLOW_ANY}, novelty: 1}";
    assert_eq!(refused(&sidecar("shop", open)).stand_in, None);
}

#[test]
fn the_last_good_version_is_better_than_what_stands_in() {
    let good = world(&shop(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: shop}
spec: {host: backend}
",
    ));
    let key = crate::meta::ObjectKey::new(crate::crd::Kind::DestinationRule, "shop", "a");
    let good = good.destination_rules.find(&key).unwrap();
    let good = crate::crd::Object::DestinationRule(Arc::clone(good));
    let spec = |mode: &str| {
        format!("{{host: backend, novelty: 1, trafficPolicy: {{tls: {{mode: {mode}}}}}}}")
    };
    let first = refused(&rule("shop", &spec("SIMPLE")));
    let second = refused(&rule("shop", &spec("MUTUAL")));
    assert_ne!(first.stand_in, second.stand_in);
    assert_eq!(first.instead(Some(good.clone())), Some(good));
    // What stands in follows what is written.
    assert_eq!(second.instead(first.stand_in), second.stand_in);
}
