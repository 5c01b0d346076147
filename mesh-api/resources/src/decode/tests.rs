//! Decoding: every kind in every version, misspellings, aliases, mistakes in kind and shape.

use super::*;
use crate::StringMatch;

mod kinds;

fn decode_yaml(text: &str) -> Decoded {
    decode(serde_saphyr::from_str(text).unwrap())
}

fn said(decoded: &Decoded) -> Vec<String> {
    decoded
        .problems
        .iter()
        .map(|p| format!("{}: {p}", p.severity))
        .collect()
}

fn object(text: &str) -> Object {
    let decoded = decode_yaml(text);
    match decoded.outcome {
        Outcome::Object(object) => object,
        Outcome::Skipped | Outcome::Rejected => panic!("{:#?}", said(&decoded)),
    }
}

#[test]
fn every_kind_in_every_version() {
    for kind in Kind::ALL {
        for api_version in kind.api_versions() {
            let body = crate::samples::of(kind);
            let namespace = if kind.is_namespaced() {
                "  namespace: shop\n"
            } else {
                ""
            };
            let text = format!(
                "apiVersion: {api_version}\nkind: {kind}\nmetadata:\n  name: a\n{namespace}  labels: {{app: a}}\n{body}"
            );
            let decoded = decode_yaml(&text);
            assert_eq!(said(&decoded), Vec::<String>::new(), "{api_version} {kind}");
            let object = decoded.object().unwrap();
            assert_eq!(object.kind(), kind);
            let namespace = if kind.is_namespaced() { "shop" } else { "" };
            assert_eq!(*object.key(), ObjectKey::new(kind, namespace, "a"));
            assert_eq!(object.meta().labels["app"], "a");
        }
    }
}

#[test]
fn a_virtual_service_means_what_it_says() {
    let Object::VirtualService(service) = object(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: cart
  creationTimestamp: 2024-05-06T07:08:09Z
  generation: 3
spec:
  hosts: [cart]
  http:
  - match:
    - uri: {prefix: /v2}
      headers: {x-beta: {}, x-user: {regex: 'a|b'}}
      port: 0
    timeout: 0s
    retries: {attempts: 2, perTryTimeout: 1.5s}
    route:
    - destination: {host: cart, subset: v2, port: {number: 80}}
      weight: 10
    - destination: {host: cart, subset: ''}
      weight: 90
    fault: {abort: {httpStatus: 503, percentage: {value: 0.5}}}
",
    ) else {
        panic!("not a VirtualService");
    };
    assert_eq!(service.key.namespace, "default");
    assert_eq!(service.meta.generation, Some(3));
    assert!(service.meta.creation_timestamp.is_some());
    let route = &service.spec.http[0];
    let one = &route.matches[0];
    assert_eq!(one.uri, Some(StringMatch::Prefix("/v2".to_owned())));
    assert_eq!(one.headers["x-beta"], StringMatch::Present);
    assert_eq!(one.port, None, "0 is not set");
    assert!(route.timeout.unwrap().is_zero());
    let retries = route.retries.as_ref().unwrap();
    assert_eq!(
        (
            retries.attempts,
            retries.per_try_timeout.unwrap().as_millis()
        ),
        (2, 1500)
    );
    assert_eq!(route.route[0].destination.subset.as_deref(), Some("v2"));
    assert_eq!(route.route[1].destination.subset, None, "empty is not set");
    let abort = route.fault.as_ref().unwrap().abort.as_ref().unwrap();
    assert_eq!(abort.percentage.unwrap().parts_per_million(), 5_000);
}

#[test]
fn all_unknown_fields_at_once_with_near_matches() {
    let decoded = decode_yaml(
        "
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: a, lables: {a: b}}
specs: {}
spec:
  hosts: [a]
  http:
  - route: [{destination: {host: a, sebset: v1}}]
    retrys: {attempts: 3}
    perTryTimeout: 1s
    banana: 1
",
    );
    assert_eq!(
        said(&decoded),
        [
            r#"error: specs: unknown field; did you mean "spec"?"#,
            r#"error: metadata.lables: unknown field; did you mean "labels"?"#,
            r"error: spec.http[0].banana: unknown field",
            r#"error: spec.http[0].perTryTimeout: unknown field; it belongs inside "retries""#,
            r#"error: spec.http[0].retrys: unknown field; did you mean "retries"?"#,
            r#"error: spec.http[0].route[0].destination.sebset: unknown field; did you mean "subset"?"#,
        ]
    );
    assert_eq!(decoded.outcome, Outcome::Rejected);
    assert_eq!(
        decoded.key,
        Some(ObjectKey::new(Kind::VirtualService, "default", "a"))
    );
}

#[test]
fn all_wrong_types_at_once() {
    let decoded = decode_yaml(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: a
  http:
  - match:
    - port: 70000
      sourceLabels: {version: 1.0}
    route:
    - destination: {port: {number: http}}
      weight: -1
    mirror:
  gateways: [{name: x}]
  tls: [1]
",
    );
    assert_eq!(
        said(&decoded),
        [
            "error: spec.gateways[0]: expected text, found an object",
            r#"error: spec.hosts: expected a list, found the text "a"; write it as a list, with '- ' before each entry"#,
            "error: spec.http[0].match[0].port: 70000 is more than 65535",
            "error: spec.http[0].match[0].sourceLabels.version: expected text, found the number 1.0; put the value in quotes",
            "error: spec.http[0].mirror: expected an object, found nothing (null); give it a value or remove the field",
            r#"error: spec.http[0].route[0].destination.port.number: expected a whole number, found the text "http"; remove the quotes"#,
            "error: spec.http[0].route[0].destination.host: is required",
            "error: spec.http[0].route[0].weight: -1 is less than 0",
            "error: spec.tls[0]: expected an object, found the number 1",
        ]
    );
}

#[test]
fn values_that_only_the_types_know_are_all_named_too() {
    let decoded = decode_yaml(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
  - timeout: 5 seconds
    retries: {attempts: 1, perTryTimeout: 0s}
    fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}
    match: [{uri: {exact: /a, prefix: /b}}]
    route: [{destination: {host: a}}]
",
    );
    let said = said(&decoded);
    assert_eq!(
        said,
        ["error: spec.http[0].match[0].uri: only one of exact, prefix, regex can be set"]
    );
    let decoded = decode_yaml(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
  - timeout: 5 seconds
    retries: {attempts: 1, perTryTimeout: 0s}
    fault: {delay: {fixedDelay: 1s, percentage: {value: 101}}}
    route: [{destination: {host: a}}]
",
    );
    let said = self::said(&decoded);
    assert_eq!(said.len(), 3, "{said:#?}");
    for (line, field) in said.iter().zip([
        "spec.http[0].fault.delay.percentage: 101 is not between",
        "spec.http[0].retries.perTryTimeout: \"0s\" is too short",
        "spec.http[0].timeout: \"5 seconds\" is not a duration",
    ]) {
        assert!(line.contains(field), "{line} / {field}");
    }
}

#[test]
fn aliases_are_moved_with_a_warning() {
    let decoded = decode_yaml(
        "
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 1, maxRetries: 3}}
    portLevelSettings:
    - port: {number: 80}
      connectionPool: {http: {pendingRequests: 7}}
  subsets:
  - name: v1
    labels: {version: v1}
    trafficPolicy: {connectionPool: {http: {pendingRequests: 9, http2MaxRequests: 2}}}
",
    );
    assert_eq!(
        said(&decoded),
        [
            "warning: spec.trafficPolicy.connectionPool.tcp.maxRetries: accepted, but the field is called spec.trafficPolicy.connectionPool.http.maxRetries; rename it",
            "warning: spec.trafficPolicy.portLevelSettings[0].connectionPool.http.pendingRequests: accepted, but the field is called spec.trafficPolicy.portLevelSettings[0].connectionPool.http.http1MaxPendingRequests; rename it",
            "warning: spec.subsets[0].trafficPolicy.connectionPool.http.pendingRequests: accepted, but the field is called spec.subsets[0].trafficPolicy.connectionPool.http.http1MaxPendingRequests; rename it",
        ]
    );
    let Some(Object::DestinationRule(rule)) = decoded.object() else {
        panic!("not a DestinationRule");
    };
    let policy = rule.spec.traffic_policy.as_ref().unwrap();
    let http = |pool: &Option<crate::destination_rule::ConnectionPoolSettings>| {
        pool.as_ref().unwrap().http.clone().unwrap()
    };
    assert_eq!(http(&policy.connection_pool).max_retries, Some(3));
    let port = &policy.port_level_settings[0];
    assert_eq!(
        http(&port.connection_pool).http1_max_pending_requests,
        Some(7)
    );
    let subset = rule.spec.subsets[0].traffic_policy.as_ref().unwrap();
    assert_eq!(
        http(&subset.connection_pool).http1_max_pending_requests,
        Some(9)
    );
}

#[test]
fn an_alias_beside_its_field_must_agree() {
    let rule = |pool: &str| {
        decode_yaml(&format!(
            "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: a}}, \
             spec: {{host: a, trafficPolicy: {{connectionPool: {pool}}}}}}}"
        ))
    };
    let same = rule("{http: {http1MaxPendingRequests: 5, pendingRequests: 5}}");
    assert!(same.object().is_some());
    let other = rule("{http: {http1MaxPendingRequests: 5, pendingRequests: 6}}");
    assert!(said(&other)[0].contains("has a different value; remove one of the two"));
    let nowhere = rule("{http: 5, tcp: {maxRetries: 1}}");
    assert!(
        said(&nowhere)[0].contains("belongs at spec.trafficPolicy.connectionPool.http.maxRetries")
    );
}

#[test]
fn snake_case_is_taken_where_the_api_takes_it() {
    let decoded = decode_yaml(
        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}, spec: {hosts: [a], \
         http: [{route: [{destination: {host: a}}], mirror: {host: b}, mirror_percent: 5}]}}",
    );
    assert!(said(&decoded)[0].starts_with("warning: spec.http[0].mirror_percent: accepted"));
    assert!(decoded.object().is_some());
    let decoded = decode_yaml(
        "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: a}, \
         spec: {jwtRules: [{issuer: me, jwks_uri: 'https://a/b'}]}}",
    );
    assert!(said(&decoded)[0].starts_with("warning: spec.jwtRules[0].jwks_uri: accepted"));
    let Some(Object::RequestAuthentication(policy)) = decoded.object() else {
        panic!("refused");
    };
    assert_eq!(
        policy.spec.jwt_rules[0].jwks_uri.as_deref(),
        Some("https://a/b")
    );
}

#[test]
fn a_document_must_be_an_object_with_a_name() {
    for (text, expected) in [
        ("[1]", "the document is not an object"),
        ("a: 1", "kind: is missing or not text"),
        (
            "{kind: Sidecar}",
            "apiVersion: is missing or not text; write apiVersion: networking.istio.io/v1",
        ),
        (
            "{kind: Sidecar, apiVersion: networking.istio.io/v1}",
            "metadata: is missing",
        ),
        (
            "{kind: Sidecar, apiVersion: networking.istio.io/v1, metadata: {}}",
            "metadata.name: is missing",
        ),
        (
            "{kind: Pod, apiVersion: v1, metadata: {name: A b}}",
            "metadata.name: \"A b\" is not a legal name",
        ),
        (
            "{kind: Pod, apiVersion: v1, metadata: {name: a, labels: {x: 1}}}",
            "metadata.labels.x: expected text, found the number 1",
        ),
        (
            "{kind: Pod, apiVersion: v1, metadata: {name: a, creationTimestamp: now}}",
            "metadata.creationTimestamp: expected a time",
        ),
    ] {
        let decoded = decode_yaml(text);
        assert_eq!(decoded.outcome, Outcome::Rejected, "{text}");
        assert!(
            said(&decoded)[0].contains(expected),
            "{text}: {:?}",
            said(&decoded)
        );
    }
}
