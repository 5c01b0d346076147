//! Gateways: which ports, which hosts, which virtual services.

use super::*;

use mesh_api::listener::{Bind, GatewayProtocol, ListenerKind};

const EDGE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: edge, namespace: istio-system, labels: {istio: ingressgateway}}
status: {podIP: 10.0.0.9}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  ports:
    - {name: http2, port: 80, targetPort: 8080}
    - {name: https, port: 443, targetPort: 8443}
---
";

fn gateway(name: &str, servers: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: shop}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
{servers}
---
"
    )
}

fn bound(name: &str, gateway: &str, rest: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec:
  gateways: [{gateway}]
{rest}
---
"
    )
}

fn edge(yaml: &str) -> (Snapshot, Vec<String>) {
    let world = world(&shop(&format!("{EDGE}{yaml}")));
    let compiled = compiled(
        &world,
        "istio-system/edge",
        ProxyRole::Gateway,
        CaptureMode::Explicit,
    );
    let diagnostics = compiled.diagnostics().map(ToString::to_string).collect();
    (snapshot(&compiled), diagnostics)
}

fn listener(snapshot: &Snapshot, name: &str) -> (Bind, GatewayProtocol) {
    let entry = snapshot
        .get(&format!("listener/{name}").parse().unwrap())
        .unwrap_or_else(|| panic!("no {name}"));
    let Resource::Listener(listener) = &entry.resource else {
        panic!("{entry:?}");
    };
    let ListenerKind::Gateway(protocol) = &listener.kind else {
        panic!("{listener:?}");
    };
    (listener.bind.clone(), protocol.protocol.clone())
}

const HTTP: &str = "    - {port: {number: 80, protocol: HTTP, name: http}, hosts: ['shop/*.example.com', 'other/*']}";

#[test]
fn a_server_listens_on_the_target_port_and_serves_what_is_bound() {
    let yaml = format!(
        "{}{}{}{}",
        gateway("edge", HTTP),
        bound(
            "a",
            "edge",
            "  hosts: [a.example.com]
  http: [{name: a, match: [{port: 80}], route: [{destination: {host: backend}}]}]"
        ),
        bound(
            "wide",
            "edge",
            "  hosts: ['*']
  http: [{name: wide, route: [{destination: {host: backend}}]}]"
        ),
        bound(
            "stranger",
            "edge",
            "  hosts: [example.org]
  http: [{name: stranger, route: [{destination: {host: backend}}]}]"
        ),
    );
    let (snapshot, _) = edge(&yaml);
    let (bind, protocol) = listener(&snapshot, "gateway/8080");
    assert_eq!(bind, Bind::Socket("10.0.0.9:8080".parse().unwrap()));
    assert!(matches!(protocol, GatewayProtocol::Http { .. }));
    assert_eq!(
        names(&virtual_host(&snapshot, "8080/a.example.com").rules),
        ["a"]
    );
    assert_eq!(
        names(&virtual_host(&snapshot, "8080/*.example.com").rules),
        ["wide"]
    );
    let none = "routes/8080/example.org";
    assert!(snapshot.get(&none.parse().unwrap()).is_none());
}

#[test]
fn routes_of_several_objects_are_joined_in_order() {
    let yaml = format!(
        "{}{}{}",
        gateway("edge", HTTP),
        bound(
            "a",
            "shop/edge",
            "  hosts: [a.example.com]
  http: [{name: all, route: [{destination: {host: backend}}]}]"
        ),
        bound(
            "b",
            "./edge",
            "  hosts: [a.example.com]
  http: [{name: b, match: [{uri: {prefix: /b}}], route: [{destination: {host: store, port: {number: 80}}}]}]"
        ),
    );
    let (snapshot, _) = edge(&yaml);
    let host = virtual_host(&snapshot, "8080/a.example.com");
    assert_eq!(names(&host.rules), ["b", "all"]);
}

#[test]
fn redirects_streams_and_what_needs_certificates() {
    let yaml = format!(
        "{}{}{}",
        gateway(
            "edge",
            "    - {port: {number: 80, protocol: HTTP, name: http}, hosts: ['*'], tls: {httpsRedirect: true}}
    - {port: {number: 443, protocol: HTTPS, name: https}, hosts: [a.example.com], tls: {mode: SIMPLE, credentialName: cert}}
    - {port: {number: 9000, protocol: TCP, name: tcp}, hosts: ['*']}
    - {port: {number: 9443, protocol: TLS, name: tls}, hosts: ['*.example.com'], tls: {mode: PASSTHROUGH}}"
        ),
        bound(
            "tcp",
            "edge",
            "  hosts: ['*']
  tcp: [{match: [{port: 9000}], route: [{destination: {host: store, port: {number: 9000}}}]}]"
        ),
        bound(
            "tls",
            "edge",
            "  hosts: [s.example.com]
  tls: [{match: [{sniHosts: [s.example.com]}], route: [{destination: {host: store, port: {number: 9000}}}]}]"
        ),
    );
    let (snapshot, diagnostics) = edge(&yaml);
    let (_, http) = listener(&snapshot, "gateway/8080");
    assert!(
        matches!(&http, GatewayProtocol::Http { https_redirect, .. } if https_redirect.len() == 1)
    );
    let (_, https) = listener(&snapshot, "gateway/8443");
    assert!(matches!(https, GatewayProtocol::Refuse { .. }), "{https:?}");
    assert!(has(
        &diagnostics,
        &["MESH0401", "spec.servers[1].tls", "SIMPLE"]
    ));
    let (_, tcp) = listener(&snapshot, "gateway/9000");
    assert!(
        matches!(&tcp, GatewayProtocol::Tcp(routes) if routes.rules.len() == 1),
        "{tcp:?}"
    );
    let (_, tls) = listener(&snapshot, "gateway/9443");
    assert!(
        matches!(&tls, GatewayProtocol::TlsPassthrough(routes) if routes.rules.len() == 1),
        "{tls:?}"
    );
}

#[test]
fn one_port_is_used_in_one_way() {
    let yaml = format!(
        "{}{}",
        gateway("a", HTTP),
        gateway(
            "b",
            "    - {port: {number: 80, protocol: TCP, name: tcp}, hosts: ['*']}"
        )
    );
    let (snapshot, diagnostics) = edge(&yaml);
    let (_, protocol) = listener(&snapshot, "gateway/8080");
    assert!(matches!(protocol, GatewayProtocol::Http { .. }));
    assert!(has(&diagnostics, &["MESH0402", "shop/b", "shop/a"]));
}

#[test]
fn a_gateway_that_must_check_requests_is_closed() {
    let yaml = format!(
        "{}
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: edge, namespace: istio-system}}
spec: {{selector: {{matchLabels: {{istio: ingressgateway}}}}, rules: [{{}}]}}
",
        gateway("edge", HTTP)
    );
    let (snapshot, diagnostics) = edge(&yaml);
    let (_, protocol) = listener(&snapshot, "gateway/8080");
    assert!(matches!(protocol, GatewayProtocol::Http { .. }));
    let name = mesh_api::name::PolicyName("gateway".into());
    let policy = snapshot.policy(&name).unwrap();
    let refuse = mesh_api::policy::PolicyRule::Refuse {
        reason: "AuthorizationPolicy istio-system/edge asks for authorization, which cannot be \
                 enforced yet"
            .into(),
    };
    assert_eq!(policy.elsewhere, refuse);
    assert!(has(&diagnostics, &["MESH0601", "istio-system/edge"]));
}

#[test]
fn a_service_may_name_the_port_it_leads_to_and_a_port_may_be_called_directly() {
    let named = EDGE.replace("targetPort: 8080", "targetPort: web").replace(
        "status: {podIP: 10.0.0.9}",
        "spec: {containers: [{name: istio-proxy, ports: [{name: web, containerPort: 8080}]}]}\n\
             status: {podIP: 10.0.0.9}",
    );
    let direct = "    - {port: {number: 9080, protocol: HTTP, name: direct}, hosts: ['*']}";
    let yaml = format!("{}{}", gateway("web", HTTP), gateway("direct", direct));
    let world = world(&shop(&format!("{named}{yaml}")));
    let compiled = compiled(
        &world,
        "istio-system/edge",
        ProxyRole::Gateway,
        CaptureMode::Explicit,
    );
    let ports: Vec<u16> = snapshot(&compiled)
        .iter()
        .filter_map(|(_, entry)| match &entry.resource {
            Resource::Listener(listener) => match listener.bind {
                Bind::Socket(socket) => Some(socket.port()),
                Bind::OriginalDestination { .. } => None,
            },
            Resource::Settings(_)
            | Resource::Workload(_)
            | Resource::Policy(_)
            | Resource::Endpoints(_)
            | Resource::Cluster(_)
            | Resource::Routes(_) => None,
        })
        .collect();
    assert_eq!(ports, [8080, 9080]);
    assert_eq!(compiled.diagnostics().count(), 0);
}

#[test]
fn a_port_that_needs_a_privilege_is_named() {
    let server = "    - {port: {number: 81, protocol: HTTP, name: http}, hosts: ['*']}";
    let (_, diagnostics) = edge(&gateway("low", server));
    assert!(has(
        &diagnostics,
        &[
            "MESH0305",
            "Gateway shop/low",
            "spec.servers[0].port.number",
            "port 81"
        ]
    ));
    let (_, diagnostics) = edge(&gateway("web", HTTP));
    assert!(!has(&diagnostics, &["MESH0305"]), "{diagnostics:?}");
}

#[test]
fn two_services_of_a_gateway_may_lead_one_port_to_two() {
    let second = "
apiVersion: v1
kind: Service
metadata: {name: internal, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, ports: [{name: http2, port: 80, targetPort: 9080}]}
---
";
    let route = bound(
        "a",
        "edge",
        "  hosts: [a.example.com]
  http: [{name: a, match: [{port: 80}], route: [{destination: {host: backend}}]}]",
    );
    let (snapshot, diagnostics) = edge(&format!("{second}{}{route}", gateway("edge", HTTP)));
    for port in [8080, 9080] {
        let (_, protocol) = listener(&snapshot, &format!("gateway/{port}"));
        assert!(matches!(protocol, GatewayProtocol::Http { .. }));
        let host = virtual_host(&snapshot, &format!("{port}/a.example.com"));
        assert_eq!(names(&host.rules), ["a"]);
    }
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
}

/// Where a gateway port sends a greeting.
fn greeting(snapshot: &Snapshot, name: &str, server_name: &str) -> String {
    let entry = snapshot.get(&format!("listener/{name}").parse().unwrap());
    let Some(Resource::Listener(listener)) = entry.map(|entry| &entry.resource) else {
        panic!("no {name}");
    };
    let rules = mesh_api::destination::AtPort::of(listener).unwrap();
    let first = FirstBytes::Tls(Some(server_name));
    match rules.find("10.0.0.9".parse().unwrap(), Some(first)) {
        Found::Bytes(destinations) => first_of(destinations),
        Found::Unknown => "nothing".to_owned(),
        other @ (Found::Http(_) | Found::Depends(_)) => panic!("{other:?}"),
    }
}

#[test]
fn passthrough_takes_the_most_specific_name_its_servers_have() {
    let passthrough = |name: &str, host: &str| {
        format!(
            "    - {{port: {{number: 9443, protocol: TLS, name: {name}}}, hosts: [{host}], tls: {{mode: PASSTHROUGH}}}}"
        )
    };
    let terminated = "    - {port: {number: 9443, protocol: HTTPS, name: h}, hosts: [s.example.com], tls: {mode: SIMPLE, credentialName: c}}";
    let route = |name: &str, sni: &str, port: u16| {
        bound(
            name,
            "edge",
            &format!(
                "  hosts: ['{sni}']
  tls: [{{match: [{{sniHosts: ['{sni}']}}], route: [{{destination: {{host: store, port: {{number: {port}}}}}}}]}}]"
            ),
        )
    };
    let servers = [
        passthrough("t1", "'*.example.com'"),
        passthrough("t2", "one.example.org"),
        terminated.to_owned(),
    ]
    .join("\n");
    let yaml = [
        gateway("edge", &servers),
        // By name, the wildcards come first.
        route("a-wide", "*.example.com", 80),
        route("b-org", "*.example.org", 80),
        route("c-api", "api.example.com", 9000),
    ]
    .concat();
    let (snapshot, _) = edge(&yaml);
    let to = |port: u16| format!("outbound|{port}||store.shop.svc.cluster.local");
    let ask = |name| greeting(&snapshot, "gateway/9443", name);
    assert_eq!(ask("api.example.com"), to(9000));
    assert_eq!(ask("www.example.com"), to(80));
    assert_eq!(ask("one.example.org"), to(80));
    // No server has it, though a route would.
    assert_eq!(ask("two.example.org"), "nothing");
    // Another server has it, and cannot serve it yet: it is not the wildcard's.
    assert!(
        ask("s.example.com").contains("SIMPLE"),
        "{}",
        ask("s.example.com")
    );
}
