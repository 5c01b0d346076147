//! What is refused because it cannot be enforced yet, and what is only warned about.

use super::super::*;
use super::{NETWORKING, SECURITY, create, document, judged, warnings};

/// Until it can be enforced, an object that asks for protection is refused rather than stored as
/// if it held.
#[test]
fn protection_that_cannot_be_given_is_refused() {
    let tls_server = |mode: &str| {
        format!(
            "{{selector: {{istio: ingressgateway}}, servers: [{{port: {{number: 443, name: https, \
             protocol: HTTPS}}, hosts: [a.example.com], tls: {{mode: {mode}, credentialName: c}}}}]}}"
        )
    };
    let port_level = "{host: '*.example.com', exportTo: [other], trafficPolicy: {portLevelSettings: [{port: {number: 8443}, tls: {mode: SIMPLE}}]}}";
    let subset = "{host: web, workloadSelector: {matchLabels: {a: b}}, subsets: [{name: v1, labels: {v: '1'}, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}]}";
    for (api_version, kind, spec, field) in [
        (SECURITY, "PeerAuthentication", "{mtls: {mode: STRICT}}".to_owned(), "spec.mtls.mode"),
        (
            SECURITY,
            "PeerAuthentication",
            "{selector: {matchLabels: {a: b}}, portLevelMtls: {'8080': {mode: STRICT}}}".to_owned(),
            "spec.portLevelMtls[8080].mode",
        ),
        (SECURITY, "AuthorizationPolicy", "{}".to_owned(), "spec"),
        (
            SECURITY,
            "AuthorizationPolicy",
            "{selector: {matchLabels: {a: b}}, action: DENY, rules: [{}]}".to_owned(),
            "spec",
        ),
        (
            SECURITY,
            "RequestAuthentication",
            "{jwtRules: [{issuer: a, jwksUri: 'https://example.com/k'}]}".to_owned(),
            "spec",
        ),
        (NETWORKING, "Gateway", tls_server("SIMPLE"), "spec.servers[0]"),
        (NETWORKING, "Gateway", tls_server("MUTUAL"), "spec.servers[0]"),
        (
            NETWORKING,
            "DestinationRule",
            "{host: web, trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k}}}".to_owned(),
            "spec.trafficPolicy.tls.mode",
        ),
        (
            NETWORKING,
            "DestinationRule",
            port_level.to_owned(),
            "spec.trafficPolicy.portLevelSettings[0].tls.mode",
        ),
        (
            NETWORKING,
            "DestinationRule",
            subset.to_owned(),
            "spec.subsets[0].trafficPolicy.tls.mode",
        ),
        (
            NETWORKING,
            "Sidecar",
            "{workloadSelector: {labels: {a: b}}, ingress: [{port: {number: 8443, name: https, protocol: HTTPS}, defaultEndpoint: '127.0.0.1:80', tls: {mode: SIMPLE, serverCertificate: /c, privateKey: /k}}]}".to_owned(),
            "spec.ingress[0].tls",
        ),
        (
            "extensions.istio.io/v1alpha1",
            "WasmPlugin",
            "{selector: {matchLabels: {a: b}}, url: 'oci://a'}".to_owned(),
            "spec",
        ),
        (
            "networking.istio.io/v1alpha3",
            "EnvoyFilter",
            "{workloadSelector: {labels: {a: b}}, configPatches: [{applyTo: HTTP_FILTER, patch: {operation: ADD, value: {name: envoy.filters.http.ext_authz}}}]}".to_owned(),
            "spec.configPatches[0]",
        ),
    ] {
        let response = judged(api_version, kind, &spec);
        assert_eq!(response["allowed"], false, "{kind} {spec}: {response}");
        let causes = &response["status"]["details"]["causes"];
        let found = causes[0]["field"].as_str().unwrap_or_default();
        assert!(found.starts_with(field), "{kind} {spec}: {response:#}");
        let body = create(&document(api_version, kind, &spec));
        let answer = Reviewer::default().review(&body).unwrap();
        assert_eq!(answer.failure(), Some(Failure::NotEnforceable), "{response:#}");
    }
}

#[test]
fn what_lets_traffic_through_as_it_is_is_no_protection() {
    for (api_version, kind, spec) in [
        (SECURITY, "PeerAuthentication", "{mtls: {mode: DISABLE}}"),
        (
            NETWORKING,
            "DestinationRule",
            "{host: web, trafficPolicy: {tls: {mode: DISABLE}}}",
        ),
        (
            NETWORKING,
            "Gateway",
            "{selector: {a: b}, servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: [a.example.com], tls: {mode: PASSTHROUGH}}]}",
        ),
    ] {
        let response = judged(api_version, kind, spec);
        assert_eq!(response["allowed"], true, "{kind} {spec}: {response:#}");
    }
}

#[test]
fn whatever_is_not_acted_on_is_named() {
    for (api_version, kind, spec, expected) in [
        (
            NETWORKING,
            "DestinationRule",
            "{host: web, trafficPolicy: {connectionPool: {tcp: {maxRetries: 3}}}}",
            "spec.trafficPolicy.connectionPool.tcp.maxRetries: accepted, but the field is called spec.trafficPolicy.connectionPool.http.maxRetries",
        ),
        (
            NETWORKING,
            "DestinationRule",
            "{host: web, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3}}}",
            "spec.trafficPolicy.outlierDetection: accepted, not acted on yet",
        ),
        (
            NETWORKING,
            "VirtualService",
            "{hosts: [web], gateways: [edge], http: [{match: [{uri: {prefix: /}, statPrefix: x}], route: [{destination: {host: web}}]}]}",
            "spec.http[0].match[0].statPrefix: accepted, not acted on yet",
        ),
        (
            NETWORKING,
            "VirtualService",
            "{hosts: [web], http: [{route: [{destination: {host: web}}]}, {route: [{destination: {host: b}}]}]}",
            "spec.http: route 0 has no match and takes every request",
        ),
        (
            NETWORKING,
            "VirtualService",
            "{hosts: [web], tcp: [{route: [{destination: {host: web}}]}, {match: [{port: 81}], route: [{destination: {host: b}}]}]}",
            "spec.tcp[1]: is never reached: all connections it is for are taken by spec.tcp[0]",
        ),
        (
            NETWORKING,
            "Sidecar",
            "{egress: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [./*]}]}",
            "spec.egress[0].port: accepted, not acted on yet",
        ),
        (
            "networking.istio.io/v1alpha3",
            "EnvoyFilter",
            "{configPatches: [{applyTo: CLUSTER, patch: {operation: ADD, value: {name: a}}}]}",
            "spec: accepted, not acted on yet: the proxies of this mesh are not Envoy",
        ),
        (
            "extensions.istio.io/v1alpha1",
            "WasmPlugin",
            "{url: 'oci://a', failStrategy: FAIL_OPEN}",
            "spec: accepted, not acted on yet: traffic passes without it",
        ),
        (
            "telemetry.istio.io/v1",
            "Telemetry",
            "{accessLogging: [{disabled: true}]}",
            "spec: accepted, not acted on yet",
        ),
        (
            SECURITY,
            "AuthorizationPolicy",
            "{action: AUDIT, rules: [{}]}",
            "spec.action: accepted, not acted on yet",
        ),
    ] {
        is_named(api_version, kind, spec, expected);
    }
}

/// Routes for clients at different places do not hide each other, as they seem to on the stage.
#[test]
fn routes_for_different_clients_are_not_called_unreachable() {
    let to = "route: [{destination: {host: a}}]";
    for list in ["http", "tcp"] {
        let spec = |first: &str| {
            format!(
                "{{hosts: [a.example.com], gateways: [mesh, edge], {list}: [{{{first} {to}}}, {{{to}}}]}}"
            )
        };
        let said = |first: &str| {
            let response = judged("networking.istio.io/v1", "VirtualService", &spec(first));
            let all = warnings(&response);
            all.iter().any(|one| one.contains("never reached"))
        };
        assert!(said(""), "{list}");
        assert!(!said("match: [{gateways: [mesh]}],"), "{list}");
    }
}

#[test]
fn guards_that_keep_nobody_out_are_named() {
    for (api_version, kind, spec, expected) in [
        (
            "extensions.istio.io/v1alpha1",
            "WasmPlugin",
            "{url: 'oci://a', targetRefs: [{kind: Service, name: a}]}",
            "spec.targetRefs: accepted, not acted on yet: it keeps nobody out",
        ),
        (
            "networking.istio.io/v1alpha3",
            "EnvoyFilter",
            "{configPatches: [{applyTo: HTTP_FILTER, match: {context: SIDECAR_OUTBOUND}, patch: {operation: ADD, value: {name: envoy.filters.http.ext_authz}}}]}",
            "spec.configPatches[0].match.context: accepted, not acted on yet: it keeps nobody out",
        ),
    ] {
        is_named(api_version, kind, spec, expected);
    }
}

/// An object is let through with a warning that begins like this.
fn is_named(api_version: &str, kind: &str, spec: &str, expected: &str) {
    let response = judged(api_version, kind, spec);
    assert_eq!(response["allowed"], true, "{kind}: {response:#}");
    let said = warnings(&response);
    assert!(
        said.iter().any(|warning| warning.starts_with(expected)),
        "{kind}: {said:#?}"
    );
    assert!(said.iter().all(|warning| warning.len() <= 256), "{said:#?}");
}

#[test]
fn many_warnings_are_cut_short_and_counted() {
    let subsets: Vec<String> = (0..60)
        .map(|n| format!("{{name: v{n}, trafficPolicy: {{connectionPool: {{http: {{pendingRequests: 1}}}}}}}}"))
        .collect();
    let spec = format!("{{host: web, subsets: [{}]}}", subsets.join(", "));
    let response = judged(NETWORKING, "DestinationRule", &spec);
    assert_eq!(response["allowed"], true);
    let said = warnings(&response);
    let total: usize = said.iter().map(String::len).sum();
    assert!(total <= 4096 && said.len() > 10, "{total}");
    let last = said.last().unwrap();
    assert_eq!(
        *last,
        format!("... and {} more warnings", 60 - (said.len() - 1))
    );

    let problems = vec!["{redirect: {}, name: x, timeot: 1s}"; 90].join(", ");
    let response = judged(
        NETWORKING,
        "VirtualService",
        &format!("{{hosts: [a], http: [{problems}]}}"),
    );
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("refused for 90 reasons:") && message.ends_with("... and 40 more"));
}

/// Whoever may declare an endpoint says where other people's proxies connect.
#[test]
fn endpoints_inside_of_proxies_are_refused() {
    let entry = |address: &str| {
        format!(
            "{{hosts: [a.example], ports: [{{number: 80, name: http, protocol: HTTP}}], \
             resolution: STATIC, endpoints: [{{address: '{address}'}}]}}"
        )
    };
    let named =
        "{hosts: [localhost], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}";
    for (kind, spec, field) in [
        (
            "ServiceEntry",
            entry("127.0.0.1"),
            "spec.endpoints[0].address",
        ),
        (
            "ServiceEntry",
            entry("::ffff:127.0.0.1"),
            "spec.endpoints[0].address",
        ),
        (
            "ServiceEntry",
            entry("169.254.169.254"),
            "spec.endpoints[0].address",
        ),
        (
            "ServiceEntry",
            entry("0.0.0.0"),
            "spec.endpoints[0].address",
        ),
        (
            "ServiceEntry",
            entry("224.0.0.1"),
            "spec.endpoints[0].address",
        ),
        (
            "ServiceEntry",
            entry("fe80::1"),
            "spec.endpoints[0].address",
        ),
        ("ServiceEntry", named.to_owned(), "spec.hosts"),
        (
            "WorkloadEntry",
            "{address: 127.0.0.1}".to_owned(),
            "spec.address",
        ),
    ] {
        let response = judged(NETWORKING, kind, &spec);
        assert_eq!(response["allowed"], false, "{kind} {spec}: {response:#}");
        let cause = &response["status"]["details"]["causes"][0]["field"];
        assert_eq!(cause, field, "{kind} {spec}: {response:#}");
    }
    let lawful = judged(NETWORKING, "ServiceEntry", &entry("10.0.0.1"));
    assert_eq!(lawful["allowed"], true, "{lawful:#}");
}

#[test]
fn expressions_that_cost_more_than_an_object_may_are_refused_by_field_and_size() {
    let matches: Vec<String> = (0..300)
        .map(|index| format!("{{uri: {{regex: '/{index}/\\pL{{24}}'}}}}"))
        .collect();
    let spec = format!(
        "{{hosts: [web], http: [{{match: [{}], route: [{{destination: {{host: web}}}}]}}]}}",
        matches.join(", ")
    );
    let route = document(NETWORKING, "VirtualService", &spec);
    let answer = Reviewer::default().review(&create(&route)).unwrap();
    assert_eq!(answer.failure(), Some(Failure::Invalid));
    let status = answer.to_review()["response"]["status"].clone();
    let cause = status["details"]["causes"][0].to_string();
    assert!(cause.contains("spec.http[0].match["), "{cause}");
    assert!(cause.contains("4096 KiB"), "{cause}");
}
