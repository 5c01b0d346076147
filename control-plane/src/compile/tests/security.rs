//! What asks for protection is refused, never left open.

use super::*;

use mesh_api::listener::{InboundTarget, ListenerKind};
use mesh_api::policy::PolicyRule;

const SERVER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: shop, labels: {app: backend}}
status: {podIP: 10.0.0.2}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: backend, namespace: shop}
spec:
  workloadSelector: {labels: {app: backend}}
  ingress: [{port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: '127.0.0.1:18080'}]
---
";

fn server(yaml: &str, capture: CaptureMode) -> (Snapshot, Vec<String>) {
    let world = world(&shop(&format!("{SERVER}{yaml}")));
    let compiled = compiled(&world, "shop/server", ProxyRole::Sidecar, capture);
    let diagnostics = compiled.diagnostics().map(ToString::to_string).collect();
    (snapshot(&compiled), diagnostics)
}

fn rule(snapshot: &Snapshot, port: &str) -> PolicyRule {
    let name = format!("policy/inbound/{port}");
    let entry = snapshot.get(&name.parse().unwrap()).unwrap();
    let Resource::Policy(policy) = &entry.resource else {
        panic!("{entry:?}");
    };
    policy.rule.clone()
}

fn peer_authentication(namespace: &str, spec: &str) -> String {
    format!(
        "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: pa, namespace: {namespace}}}
spec: {{{spec}}}
---
"
    )
}

#[test]
fn an_ingress_entry_says_where_the_application_is() {
    let (snapshot, _) = server("", CaptureMode::Explicit);
    let entry = snapshot
        .get(&"listener/inbound/8080".parse().unwrap())
        .unwrap();
    let Resource::Listener(listener) = &entry.resource else {
        panic!("{entry:?}");
    };
    let ListenerKind::Inbound(inbound) = &listener.kind else {
        panic!("{listener:?}");
    };
    assert_eq!(
        inbound.target,
        InboundTarget::Address("127.0.0.1:18080".parse().unwrap())
    );
    let service = inbound.service.as_ref().unwrap();
    assert_eq!(&*service.name, "backend");
    assert_eq!(rule(&snapshot, "8080"), PolicyRule::Allow);
}

#[test]
fn modes_fall_through_from_workload_to_mesh() {
    let strict = "mtls: {mode: STRICT}";
    let of = |yaml: &str| rule(&server(yaml, CaptureMode::Explicit).0, "8080");
    let refused = |rule: PolicyRule| matches!(rule, PolicyRule::Refuse { .. });
    assert!(refused(of(&peer_authentication("istio-system", strict))));
    assert!(refused(of(&peer_authentication("shop", strict))));
    assert!(!refused(of(&peer_authentication("other", strict))));
    let permissive = peer_authentication("shop", "mtls: {mode: PERMISSIVE}");
    let mesh = peer_authentication("istio-system", strict);
    assert!(!refused(of(&format!("{mesh}{permissive}"))));
    let unset = peer_authentication("shop", "mtls: {mode: UNSET}");
    assert!(refused(of(&format!("{mesh}{unset}"))));
    let port = peer_authentication(
        "shop",
        "selector: {matchLabels: {app: backend}}, portLevelMtls: {8080: {mode: STRICT}}",
    );
    assert!(refused(of(&port)));
    let elsewhere = peer_authentication(
        "shop",
        "selector: {matchLabels: {app: other}}, mtls: {mode: STRICT}",
    );
    assert!(!refused(of(&elsewhere)));
}

#[test]
fn authorization_and_tokens_are_refused_by_name() {
    let yaml = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow-nothing, namespace: shop}
spec: {}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: watch, namespace: shop}
spec: {action: AUDIT, rules: [{}]}
";
    let (snapshot, diagnostics) = server(yaml, CaptureMode::Explicit);
    let PolicyRule::Refuse { reason } = rule(&snapshot, "8080") else {
        panic!("open");
    };
    assert!(reason.contains("shop/allow-nothing"), "{reason}");
    assert!(has(&diagnostics, &["MESH0601", "shop/allow-nothing"]));
    assert!(has(&diagnostics, &["MESH0901", "shop/watch"]));
}

#[test]
fn ports_nobody_declares_are_refused_too() {
    let yaml = peer_authentication("shop", "mtls: {mode: STRICT}");
    let (snapshot, _) = server(&yaml, CaptureMode::OriginalDestination);
    assert!(matches!(
        rule(&snapshot, "other"),
        PolicyRule::Refuse { .. }
    ));
    let (snapshot, _) = server("", CaptureMode::OriginalDestination);
    let entry = snapshot
        .get(&"listener/inbound-capture".parse().unwrap())
        .unwrap();
    let text = serde_json::to_string(&entry.resource).unwrap();
    assert!(text.contains("inboundCapture"), "{text}");
}

#[test]
fn an_explicit_proxy_without_ingress_is_told_what_to_do() {
    let world = world(&shop(
        "
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: shop, labels: {app: store}}
status: {podIP: 10.0.0.3}
",
    ));
    let compiled = compiled(
        &world,
        "shop/bare",
        ProxyRole::Sidecar,
        CaptureMode::Explicit,
    );
    let diagnostics: Vec<String> = compiled.diagnostics().map(ToString::to_string).collect();
    assert!(has(
        &diagnostics,
        &["MESH0502", "shop/bare", "defaultEndpoint"]
    ));
}
