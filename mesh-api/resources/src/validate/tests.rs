//! What is refused or warned about, and what is said about it.

use crate::{Kind, decode};

mod tables;

/// What is said about a specification of the kind.
fn said(kind: Kind, spec: &str) -> Vec<String> {
    let text = format!(
        "{{apiVersion: {}, kind: {kind}, metadata: {{name: a}}, spec: {spec}}}",
        kind.api_versions()[0]
    );
    decode(serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}")))
        .problems
        .iter()
        .map(|problem| format!("{}: {problem}", problem.severity))
        .collect()
}

/// Puts each row of a table into a specification and compares what is said.
fn check(kind: Kind, table: &str, template: &str) {
    for row in table.lines().filter(|row| !row.is_empty()) {
        let (fault, expected) = row.split_once(" =>").unwrap();
        let expected: Vec<_> = expected
            .split(" && ")
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .collect();
        let said = said(
            kind,
            &template
                .replace("ROW", fault)
                .replace("$HTTP", HTTP)
                .replace("$ROUTE", ROUTE),
        );
        let fits = said.len() == expected.len()
            && said
                .iter()
                .zip(&expected)
                .all(|(said, expected)| said.starts_with(expected));
        assert!(
            fits,
            "{kind} {fault}\n  said {said:#?}\n  expected {expected:#?}"
        );
    }
}

const ROUTE: &str = "route: [{destination: {host: a}}]";
const HTTP: &str = "http: [{route: [{destination: {host: a}}]}]";

#[test]
fn virtual_services() {
    check(Kind::VirtualService, tables::VIRTUAL_SERVICES, "{ROW}");
    assert!(
        said(
            Kind::VirtualService,
            &format!("{{gateways: [edge], hosts: ['*'], {HTTP}}}")
        )
        .is_empty()
    );
    assert!(
        said(Kind::VirtualService, &format!("{{{HTTP}}}")).is_empty(),
        "a delegate"
    );
}

#[test]
fn http_routes() {
    check(
        Kind::VirtualService,
        tables::HTTP_ACTIONS,
        "{hosts: [a], http: [{ROW}]}",
    );
    let template = "{hosts: [a], http: [{ROW, $ROUTE}]}";
    check(Kind::VirtualService, tables::HTTP_EXTRAS, template);
    check(Kind::VirtualService, tables::RETRIES_AND_FAULTS, template);
    check(
        Kind::VirtualService,
        "retries: {} =>\ntimeout: 0s =>",
        template,
    );
}

#[test]
fn matches() {
    let template = "{hosts: [a], http: [{match: [{ROW}], $ROUTE}]}";
    check(Kind::VirtualService, tables::MATCHES, template);
    let fine = "uri: {prefix: ''}, headers: {x: {}, y: {regex: '*'}} =>";
    check(Kind::VirtualService, fine, template);
    let long = "a".repeat(mesh_api::route::Pattern::MAX_SOURCE + 1);
    let row = format!(
        "uri: {{regex: {long}}} => error: spec.http[0].match[0].uri.regex: the expression is 4097 bytes"
    );
    check(Kind::VirtualService, &row, template);
}

#[test]
fn all_problems_of_an_object_at_once() {
    let spec = "{hosts: [a, a], http: [{name: x}, {retries: {attempts: 0, retryOn: '5xx'}, redirect: {}}]}";
    assert_eq!(said(Kind::VirtualService, spec).len(), 5);
}

#[test]
fn routes_that_repeat_a_match() {
    let route = |matches: &str| format!("{{match: [{matches}], {ROUTE}}}");
    let (a, b) = ("{uri: {prefix: /a}}", "{uri: {prefix: /b}}");
    let named = "{name: again, uri: {prefix: /a}, statPrefix: x}";
    let said = |routes: [String; 3]| {
        let spec = format!("{{hosts: [h], http: [{}]}}", routes.join(", "));
        said(Kind::VirtualService, &spec)
    };
    let both = format!("{a}, {b}");
    assert_eq!(said([route(a), route(&both), route("{}")]), [""; 0]);
    let repeated = said([route(a), route(b), route(named)]);
    assert!(
        repeated.len() == 1 && repeated[0].contains("route 2 is never reached; route 0 has"),
        "{repeated:?}"
    );
    let covered = said([route(a), route(b), route(&both)]);
    assert!(
        covered.len() == 1 && covered[0].contains("route 2"),
        "{covered:?}"
    );
}

#[test]
fn destination_rules() {
    check(
        Kind::DestinationRule,
        tables::TRAFFIC_POLICIES,
        "{host: a, trafficPolicy: {ROW}}",
    );
    check(Kind::DestinationRule, tables::DESTINATION_RULES, "ROW");
}

#[test]
fn the_other_kinds() {
    check(Kind::Gateway, tables::GATEWAYS, "ROW");
    check(Kind::ServiceEntry, tables::SERVICE_ENTRIES, "ROW");
    check(Kind::Sidecar, tables::SIDECARS, "ROW");
    check(Kind::WorkloadEntry, tables::WORKLOAD_ENTRIES, "ROW");
    check(
        Kind::PeerAuthentication,
        tables::PEER_AUTHENTICATIONS,
        "ROW",
    );
    check(
        Kind::RequestAuthentication,
        tables::REQUEST_AUTHENTICATIONS,
        "ROW",
    );
    check(
        Kind::AuthorizationPolicy,
        tables::AUTHORIZATION_POLICIES,
        "ROW",
    );
    check(Kind::Telemetry, tables::TELEMETRIES, "ROW");
    check(Kind::WorkloadGroup, tables::WORKLOAD_GROUPS, "ROW");
    check(Kind::ProxyConfig, tables::PROXY_CONFIGS, "ROW");
    check(Kind::EnvoyFilter, tables::ENVOY_FILTERS, "ROW");
    check(Kind::WasmPlugin, tables::WASM_PLUGINS, "ROW");
    check(Kind::TrafficExtension, tables::TRAFFIC_EXTENSIONS, "ROW");
}
