//! What asks for protection is refused, never left open.

use super::*;

use mesh_api::listener::{Bind, InboundTarget, ListenerKind};
use mesh_api::name::{ListenerName, PolicyName};
use mesh_api::policy::PolicyRule;
use mesh_api::units::Port;

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

fn rule(snapshot: &Snapshot, port: u16) -> PolicyRule {
    let policy = snapshot.policy(&PolicyName("inbound".into())).unwrap();
    policy.at(Port::new(port).unwrap()).clone()
}

fn refuses(snapshot: &Snapshot, port: u16) -> bool {
    matches!(rule(snapshot, port), PolicyRule::Refuse { .. })
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
    assert_eq!(rule(&snapshot, 8080), PolicyRule::Allow);
}

#[test]
fn modes_fall_through_from_workload_to_mesh() {
    let strict = "mtls: {mode: STRICT}";
    let of = |yaml: &str| rule(&server(yaml, CaptureMode::Explicit).0, 8080);
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
    let PolicyRule::Refuse { reason } = rule(&snapshot, 8080) else {
        panic!("open");
    };
    assert!(reason.contains("shop/allow-nothing"), "{reason}");
    assert!(has(&diagnostics, &["MESH0601", "shop/allow-nothing"]));
    assert!(has(&diagnostics, &["MESH0901", "shop/watch"]));
}

#[test]
fn ports_nobody_declares_are_looked_up_as_the_others_are() {
    let strict = peer_authentication("shop", "mtls: {mode: STRICT}");
    for (yaml, closed) in [(strict.as_str(), true), ("", false)] {
        let (snapshot, _) = server(yaml, CaptureMode::OriginalDestination);
        assert_eq!(refuses(&snapshot, 4_711), closed);
        let capture = snapshot.listener(&ListenerName("inbound-capture".into()));
        let expected = ListenerKind::InboundCapture {
            policy: PolicyName("inbound".into()),
        };
        assert_eq!(capture.unwrap().kind, expected, "it is never replaced");
    }
}

#[test]
fn a_strict_port_inside_an_open_workload_is_closed_declared_or_not() {
    let yaml = peer_authentication(
        "shop",
        "selector: {matchLabels: {app: backend}}, \
         portLevelMtls: {8080: {mode: STRICT}, 9090: {mode: STRICT}}",
    );
    for capture in [CaptureMode::Explicit, CaptureMode::OriginalDestination] {
        let (snapshot, diagnostics) = server(&yaml, capture);
        let closed = [8080, 9090, 9091].map(|port| refuses(&snapshot, port));
        assert_eq!(closed, [true, true, false]);
        let said = ["MESH0601", "portLevelMtls[9090]", "at ports 8080 and 9090:"];
        assert!(has(&diagnostics, &said), "{diagnostics:?}");
        assert!(has(&diagnostics, &["its other ports are open"]));
    }
}

#[test]
fn an_open_port_inside_a_strict_workload_is_open_declared_or_not() {
    for mode in ["DISABLE", "PERMISSIVE"] {
        let spec = format!(
            "selector: {{matchLabels: {{app: backend}}}}, mtls: {{mode: STRICT}}, portLevelMtls: \
             {{8080: {{mode: {mode}}}, 9090: {{mode: {mode}}}, 9091: {{mode: UNSET}}}}",
        );
        let yaml = peer_authentication("shop", &spec);
        let (snapshot, diagnostics) = server(&yaml, CaptureMode::OriginalDestination);
        let closed = [8080, 9090, 9091, 9092].map(|port| refuses(&snapshot, port));
        assert_eq!(closed, [false, false, true, true], "{mode}");
        let said = ["MESH0601", "spec.mtls.mode", "but ports 8080 and 9090:"];
        assert!(has(&diagnostics, &said), "{diagnostics:?}");
    }
}

#[test]
fn whoever_looks_at_requests_closes_ports_that_mutual_tls_leaves_open() {
    let open = peer_authentication(
        "shop",
        "selector: {matchLabels: {app: backend}}, portLevelMtls: {9090: {mode: DISABLE}}",
    );
    let deny = "
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: shop}
spec: {action: DENY, rules: [{}]}
";
    let (snapshot, diagnostics) =
        server(&format!("{open}{deny}"), CaptureMode::OriginalDestination);
    assert!(refuses(&snapshot, 9090));
    assert!(has(
        &diagnostics,
        &["shop/deny", "refuses everything: HTTP"]
    ));
}

/// A Sidecar whose only entry is this; the workload's other ports are undeclared.
fn with_entry(entry: &str, capture: CaptureMode) -> (Snapshot, Vec<String>) {
    let yaml = format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: server, namespace: shop, labels: {{app: backend}}}}
status: {{podIP: 10.0.0.2}}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: backend, namespace: shop}}
spec:
  workloadSelector: {{labels: {{app: backend}}}}
  ingress: [{entry}]
---
"
    );
    let world = world(&shop(&yaml));
    let compiled = compiled(&world, "shop/server", ProxyRole::Sidecar, capture);
    let diagnostics = compiled.diagnostics().map(ToString::to_string).collect();
    (snapshot(&compiled), diagnostics)
}

#[test]
fn an_ingress_entry_that_cannot_be_used_has_its_port_closed() {
    let port = "port: {number: 8443, protocol: HTTPS, name: s}";
    let tls = "tls: {mode: SIMPLE, credentialName: c}";
    let entries = [
        (
            format!("{{{port}, {tls}, defaultEndpoint: 'unix:///x'}}"),
            "unix",
        ),
        (format!("{{{port}, defaultEndpoint: 'unix:///x'}}"), "unix"),
        (
            format!("{{{port}, {tls}, bind: 127.0.0.1, defaultEndpoint: '127.0.0.1:1'}}"),
            "tls",
        ),
        (
            format!("{{{port}, {tls}, defaultEndpoint: '127.0.0.1:1'}}"),
            "tls",
        ),
        (format!("{{{port}, {tls}}}"), "tls"),
        (
            format!("{{{port}, bind: 127.0.0.1, defaultEndpoint: '127.0.0.1:8443'}}"),
            "own",
        ),
    ];
    for (entry, what) in entries {
        for capture in [CaptureMode::Explicit, CaptureMode::OriginalDestination] {
            let (snapshot, diagnostics) = with_entry(&entry, capture);
            assert!(refuses(&snapshot, 8443), "{entry}: {diagnostics:?}");
            assert!(!refuses(&snapshot, 9090), "{entry}: only its port");
            let listener = snapshot
                .listener(&ListenerName("inbound/8443".into()))
                .unwrap();
            if what == "unix" {
                let bind = match capture {
                    CaptureMode::Explicit => Bind::Socket("10.0.0.2:8443".parse().unwrap()),
                    CaptureMode::OriginalDestination => Bind::OriginalDestination {
                        address: None,
                        port: Port::new(8443).unwrap(),
                    },
                };
                assert_eq!(listener.bind, bind, "the port is claimed");
            }
            assert!(
                has(&diagnostics, &["port 8443"]) || has(&diagnostics, &["the port refuses"]),
                "{entry}: {diagnostics:?}"
            );
        }
    }
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
