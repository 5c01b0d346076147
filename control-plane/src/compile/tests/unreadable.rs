//! Matches and rewrites that cannot be read refuse, and open nothing that stands behind them.

use super::*;

use mesh_api::route::{Headers, RequestView};

fn vs(name: &str, rest: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [backend]
{rest}
---
"
    )
}

/// Matches that leave their object no room for any other expression.
fn greedy() -> String {
    let all: Vec<String> = (0..40)
        .map(|index| format!("{{uri: {{regex: '/f{index}/\\pL{{24}}'}}}}"))
        .collect();
    all.join(", ")
}

/// What the first rule that takes a request for this path does.
fn met(rules: &[Arc<Rule>], path: &str) -> String {
    let view = RequestView {
        path,
        query: None,
        method: "GET",
        scheme: "http",
        authority: "backend",
        headers: &Headers::new(),
    };
    let taken = rules.iter().find(|one| one.matches(&view)).unwrap();
    match &taken.action {
        RouteAction::Fail(failure) => format!("{}: {}", failure.status, failure.reason),
        RouteAction::Forward(_) => "forwarded".to_owned(),
        RouteAction::Redirect(_) | RouteAction::Respond(_) => format!("{:?}", taken.action),
    }
}

/// A match that closes something for everybody but some must not open it when it cannot be read.
#[test]
fn what_follows_a_match_that_cannot_be_read_does_not_open() {
    let first = greedy();
    let route = |uri: &str, more: &str| {
        vs(
            "a",
            &format!(
                "  http:\n    - {{match: [{first}], route: [{{destination: {{host: backend}}}}]}}\n    \
                 - {{match: [{{{uri}}}], directResponse: {{status: 403}}}}\n    \
                 - {{{more} route: [{{destination: {{host: backend}}}}]}}"
            ),
        )
    };
    for (uri, closed, open) in [
        // Nothing is known of it.
        ("uri: {regex: '(?i)/admin/[a-z]+'}", "/x", None),
        // All it can take is known.
        ("uri: {regex: '/admin/[a-z]+'}", "/admin/x", Some("/other")),
        // What else it asks for is asked for still.
        (
            "uri: {prefix: /admin}, withoutHeaders: {x-a: {regex: '[a-z]+'}}",
            "/admin/x",
            Some("/other"),
        ),
        (
            "uri: {prefix: /admin}, headers: {'@request.auth.claims.a': {exact: b}}",
            "/admin/x",
            Some("/other"),
        ),
    ] {
        for more in ["", "match: [{uri: {prefix: /}}],"] {
            let (snapshot, said) = explicit(&route(uri, more));
            let rules = backend(&snapshot);
            let answer = met(&rules, closed);
            assert!(
                answer.contains("503") && answer.contains("shop/a"),
                "{uri}: {answer}, {said:?}"
            );
            if let Some(open) = open {
                assert_eq!(met(&rules, open), "forwarded", "{uri}");
            }
        }
    }
    // Nor does what another object has for the same host.
    let closing = route(
        "uri: {regex: '(?i)/admin/[a-z]+'}",
        "match: [{uri: {exact: /a}}],",
    );
    let other = vs(
        "b",
        "  http: [{match: [{uri: {prefix: /admin}}], route: [{destination: {host: backend}}]}]",
    );
    let (snapshot, _) = explicit(&format!("{closing}{other}"));
    assert!(met(&backend(&snapshot), "/admin/x").contains("503"));
}

#[test]
fn a_path_that_cannot_be_rewritten_is_not_forwarded_as_it_was() {
    let first = greedy();
    let (snapshot, said) = explicit(&vs(
        "a",
        &format!(
            "  http:\n    - {{match: [{first}], route: [{{destination: {{host: backend}}}}]}}\n    \
             - {{rewrite: {{uriRegexRewrite: {{match: '/[a-z]+', rewrite: /}}}}, route: \
             [{{destination: {{host: backend}}}}]}}"
        ),
    ));
    assert!(met(&backend(&snapshot), "/x").contains("503"), "{said:?}");
}
