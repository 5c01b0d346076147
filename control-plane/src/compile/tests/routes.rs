//! Routes: merging, matches, retries, weights, and references that do not resolve.

use super::*;

use mesh_api::name::SettingsName;
use mesh_api::route::{NormalForm, RetryPolicy, UriRewrite};

use crate::crd::Object;
use crate::crd::object::Resource;
use crate::model::{Change, MeshSettings, World};
use crate::testing::objects;

/// A virtual service for the backend.
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

const V1_V2: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: backend, namespace: shop}
spec:
  host: backend
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
";

#[test]
fn a_service_without_virtual_service_has_the_default_route() {
    let (snapshot, diagnostics) = explicit("");
    let rules = backend(&snapshot);
    assert_eq!(names(&rules), ["default"]);
    let RouteAction::Forward(forward) = &rules[0].action else {
        panic!("{rules:?}");
    };
    assert_eq!(forward.retry, RetryPolicy::mesh_default());
    assert_eq!(forward.timeout, None);
    assert_eq!(diagnostics, Vec::<String>::new());
}

#[test]
fn virtual_services_of_one_host_are_joined_with_catch_alls_last() {
    let first = vs(
        "a",
        "  http: [{name: a-all, route: [{destination: {host: backend}}]}]",
    );
    let second = vs(
        "b",
        "  http:
    - {name: b-beta, match: [{headers: {beta: {}}}], route: [{destination: {host: store, port: {number: 80}}}]}
    - {name: b-all, match: [{uri: {prefix: /}}], route: [{destination: {host: store}}]}",
    );
    let (snapshot, diagnostics) = explicit(&format!("{first}{second}"));
    assert_eq!(names(&backend(&snapshot)), ["b-beta", "a-all"]);
    assert!(has(
        &diagnostics,
        &["MESH0105", "shop/b", "spec.http[1]", "shop/a"]
    ));
    assert!(has(&diagnostics, &["MESH0111", "shop/a", "shop/b"]));
}

#[test]
fn only_the_catch_all_match_of_a_rule_moves() {
    let first = vs(
        "a",
        "  http:
    - {name: both, match: [{uri: {prefix: /x}}, {uri: {prefix: /}}], route: [{destination: {host: backend}}]}",
    );
    let second = vs(
        "b",
        "  http: [{name: b, match: [{uri: {prefix: /y}}], route: [{destination: {host: store, port: {number: 80}}}]}]",
    );
    let (snapshot, _) = explicit(&format!("{first}{second}"));
    let rules = backend(&snapshot);
    assert_eq!(names(&rules), ["both", "b", "both"]);
    assert!(!rules[0].is_catch_all());
    assert!(rules[2].is_catch_all());
}

#[test]
fn rules_behind_a_catch_all_of_the_same_object_are_named() {
    let (snapshot, diagnostics) = explicit(&vs(
        "a",
        "  http:
    - {name: all, route: [{destination: {host: backend}}]}
    - {name: never, match: [{uri: {exact: /x}}], route: [{destination: {host: backend}}]}",
    ));
    assert_eq!(names(&backend(&snapshot)), ["all"]);
    assert!(has(
        &diagnostics,
        &["MESH0105", "spec.http[1]", "spec.http[0]"]
    ));
}

#[test]
fn static_conditions_decide_before_merging() {
    let yaml = format!(
        "{}{}{}",
        vs(
            "a",
            "  http: [{name: port, match: [{port: 81}], route: [{destination: {host: backend}}]}]"
        ),
        vs(
            "b",
            "  http: [{name: labels, match: [{sourceLabels: {app: client}, uri: {prefix: /c}}], route: [{destination: {host: backend}}]},
         {name: others, match: [{sourceLabels: {app: other}}], route: [{destination: {host: backend}}]},
         {name: elsewhere, match: [{sourceNamespace: other}], route: [{destination: {host: backend}}]}]"
        ),
        vs(
            "c",
            "  gateways: [some-gateway]
  http: [{name: edge, route: [{destination: {host: backend}}]},
         {name: here, match: [{gateways: [mesh], uri: {exact: /h}}], route: [{destination: {host: backend}}]}]"
        ),
    );
    let (snapshot, _) = explicit(&yaml);
    assert_eq!(names(&backend(&snapshot)), ["labels", "here"]);
}

#[test]
fn missing_services_and_subsets_are_refusals_that_say_what_is_missing() {
    let (snapshot, diagnostics) = explicit(&format!(
        "{V1_V2}{}",
        vs(
            "a",
            "  http:
    - {match: [{uri: {prefix: /1}}], route: [{destination: {host: bakend}}]}
    - {match: [{uri: {prefix: /2}}], route: [{destination: {host: backend, subset: v3}}]}
    - {match: [{uri: {prefix: /3}}], route: [{destination: {host: backend, port: {number: 81}}}]}
    - {match: [{uri: {prefix: /4}}], route: [{destination: {host: store}}]}
    - {match: [{uri: {prefix: /5}}], route: [{destination: {host: backend, subset: v2}}]}"
        )
    ));
    let rules = backend(&snapshot);
    assert!(target(&rules[0]).contains("bakend.shop.svc.cluster.local does not exist"));
    assert!(target(&rules[1]).contains("subset v3"));
    assert!(target(&rules[2]).contains("no port 81"));
    assert!(target(&rules[3]).contains("several ports"));
    assert_eq!(
        target(&rules[4]),
        "outbound|8080|v2|backend.shop.svc.cluster.local"
    );
    assert!(has(
        &diagnostics,
        &[
            "MESH0101",
            "spec.http[0].route[0].destination.host",
            "did you mean backend.shop.svc"
        ]
    ));
    assert!(has(
        &diagnostics,
        &["MESH0102", "spec.http[1]", "there are v1, v2"]
    ));
    assert!(has(
        &diagnostics,
        &["MESH0103", "spec.http[2]", "it has 8080"]
    ));
    assert!(has(&diagnostics, &["MESH0103", "spec.http[3]"]));
}

#[test]
fn nearer_tiers_win_whole() {
    let public = vs(
        "public",
        "  http: [{name: public, route: [{destination: {host: backend}}]}]",
    );
    let private = vs(
        "zz-private",
        "  exportTo: ['.']
  http: [{name: private, match: [{uri: {exact: /p}}], route: [{destination: {host: backend}}]}]",
    );
    let (snapshot, diagnostics) = explicit(&format!("{public}{private}"));
    assert_eq!(names(&backend(&snapshot)), ["private"]);
    assert!(has(
        &diagnostics,
        &["MESH0106", "shop/public", "shop/zz-private"]
    ));
}

/// The routes of a virtual service that are called unreachable.
fn unreachable(http: &str) -> Vec<String> {
    let yaml = shop(&vs(
        "a",
        &format!("  gateways: [mesh, egress]\n  http:\n{http}"),
    ));
    crate::analyze::analyze(&world(&yaml))
        .into_iter()
        .filter(|one| one.code.as_str() == "MESH0105")
        .map(|one| one.field)
        .collect()
}

#[test]
fn a_route_is_unreachable_when_all_its_clients_are_taken() {
    let to = "route: [{destination: {host: backend}}]";
    for (first, second, hidden) in [
        // Sidecars send to the gateway, the gateway on to the host.
        ("gateways: [mesh]", "gateways: [egress]", false),
        ("gateways: [mesh, egress]", "gateways: [egress]", true),
        ("gateways: [mesh]", "uri: {prefix: /x}", false),
        ("port: 80", "uri: {prefix: /x}", false),
        ("port: 80", "port: 8080", false),
        ("port: 80", "port: 80, method: {exact: GET}", true),
        ("sourceLabels: {app: client}", "uri: {prefix: /x}", false),
        (
            "sourceLabels: {app: client}",
            "sourceLabels: {app: client, v: '1'}",
            true,
        ),
        (
            "sourceLabels: {app: client, v: '1'}",
            "sourceLabels: {app: client}",
            false,
        ),
        ("sourceNamespace: shop", "sourceNamespace: other", false),
        ("sourceNamespace: shop", "sourceNamespace: shop", true),
        ("uri: {prefix: /}", "sourceNamespace: other", true),
        ("uri: {regex: '.*'}", "port: 80", true),
        ("uri: {prefix: /x}", "uri: {prefix: /x/y}", false),
    ] {
        let one = |conditions: &str| format!("    - {{match: [{{{conditions}}}], {to}}}");
        let found = unreachable(&format!("{}\n{}", one(first), one(second)));
        let expected: &[&str] = if hidden { &["spec.http[1]"] } else { &[] };
        assert_eq!(found, expected, "{first} before {second}");
    }
    // Two routes can hide a third together.
    let both = format!(
        "    - {{match: [{{port: 80}}], {to}}}\n    - {{match: [{{port: 8080}}], {to}}}\n    - \
         {{match: [{{port: 80, method: {{exact: GET}}}}, {{port: 8080}}], {to}}}"
    );
    assert_eq!(unreachable(&both), ["spec.http[2]"]);
}

#[test]
fn rewrites_know_what_was_matched() {
    let (snapshot, _) = explicit(&vs(
        "a",
        "  http:
    - match: [{uri: {prefix: /a/}}, {uri: {exact: /b}}]
      rewrite: {uri: /x, authority: other}
      headers: {request: {set: {x-a: '%REQ(x-b)%'}}}
      route: [{destination: {host: backend}}]",
    ));
    let rewrites: Vec<_> = backend(&snapshot)
        .iter()
        .map(|rule| {
            let RouteAction::Forward(forward) = &rule.action else {
                panic!("{rule:?}");
            };
            forward.rewrite.clone()
        })
        .collect();
    assert_eq!(rewrites.len(), 2);
    assert!(
        matches!(&rewrites[0].uri, UriRewrite::Prefix { prefixes, .. } if *prefixes[0] == *"/a/")
    );
    assert!(matches!(&rewrites[1].uri, UriRewrite::Full(path) if **path == *"/x"));
    assert_eq!(rewrites[0].authority.as_deref(), Some("other"));
}

#[test]
fn delegated_routes_narrow_the_roots() {
    let yaml = format!(
        "{}
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: team, namespace: team}}
spec:
  http:
    - {{name: reviews, match: [{{uri: {{prefix: /api/reviews}}}}], route: [{{destination: {{host: backend.shop.svc.cluster.local}}}}]}}
    - {{name: outside, match: [{{uri: {{prefix: /other}}}}], route: [{{destination: {{host: backend.shop.svc.cluster.local}}}}]}}
    - {{name: rest, route: [{{destination: {{host: store.shop.svc.cluster.local, port: {{number: 80}}}}}}]}}
",
        vs(
            "root",
            "  http:
    - {name: api, match: [{uri: {prefix: /api}}], delegate: {name: team, namespace: team}, timeout: 3s}
    - {name: lost, match: [{uri: {prefix: /lost}}], delegate: {name: nobody}}
    - {name: own, route: [{destination: {host: backend}}]}"
        ),
    );
    let (snapshot, diagnostics) = explicit(&yaml);
    let rules = backend(&snapshot);
    assert_eq!(names(&rules), ["api-reviews", "api-rest", "own"]);
    let RouteAction::Forward(forward) = &rules[0].action else {
        panic!("{rules:?}");
    };
    assert_eq!(forward.timeout, Some(std::time::Duration::from_secs(3)));
    assert!(has(
        &diagnostics,
        &["MESH0112", "team/team", "spec.http[1]"]
    ));
    assert!(has(
        &diagnostics,
        &["MESH0112", "shop/root", "spec.http[1].delegate", "nobody"]
    ));
}

/// What the client gets of a virtual service for the backend that nobody validated: it may have been
/// stored before there was anybody to do so.
fn unchecked(http: &str) -> (Snapshot, Vec<String>) {
    unchecked_for("backend", http, CaptureMode::Explicit)
}

fn unchecked_for(host: &str, routes: &str, capture: CaptureMode) -> (Snapshot, Vec<String>) {
    let plain = vs("a", "  http: [{route: [{destination: {host: backend}}]}]");
    let Object::VirtualService(plain) = objects(&plain).remove(0) else {
        panic!("{plain}");
    };
    let mut changed = Resource::clone(&plain);
    changed.spec = serde_saphyr::from_str(&format!("  hosts: [{host}]\n{routes}")).unwrap();
    let mut world = world(SHOP);
    world.apply([Change::Applied(Object::VirtualService(Arc::new(changed)))]);
    let compiled = compiled(&world, "shop/client", ProxyRole::Sidecar, capture);
    let diagnostics = compiled.diagnostics().map(ToString::to_string).collect();
    (snapshot(&compiled), diagnostics)
}

#[test]
fn blocks_none_of_which_can_be_read_match_nothing() {
    let to = "route: [{destination: {host: backend}}]";
    let tcp = format!("  tcp: [{{match: [{{destinationSubnets: [nowhere]}}], {to}}}]");
    let (snapshot, said) = unchecked_for("store", &tcp, CaptureMode::OriginalDestination);
    assert_eq!(
        meets(&snapshot, "10.96.0.11:9000", FirstBytes::Other),
        "outbound|9000||store.shop.svc.cluster.local"
    );
    assert!(has(&said, &["MESH0109", "spec.tcp[0].match"]), "{said:?}");
}

#[test]
fn proxies_are_told_the_form_of_paths() {
    let told = |paths| {
        let mut world = World::new(MeshSettings {
            paths,
            ..MeshSettings::default()
        });
        world.apply(objects(SHOP).into_iter().map(Change::Applied));
        let compiled = compiled(
            &world,
            "shop/client",
            ProxyRole::Sidecar,
            CaptureMode::Explicit,
        );
        let settings = snapshot(&compiled).settings(&SettingsName).cloned();
        settings.map(|settings| settings.paths)
    };
    assert_eq!(
        told(NormalForm::MergeSlashes),
        Some(NormalForm::MergeSlashes)
    );
    assert_eq!(told(NormalForm::AsGiven), Some(NormalForm::AsGiven));
    // What they do anyway need not be said.
    assert_eq!(told(NormalForm::Base), None);
}

#[test]
fn what_frames_a_message_is_left_out_of_edits_and_named() {
    let (snapshot, diagnostics) = unchecked(
        "  http:
    - headers:
        request: {set: {content-length: '17', x-a: b, Transfer_Encoding: x}, remove: [te]}
        response: {add: {connection: close}}
      route: [{destination: {host: backend}, headers: {response: {set: {upgrade: h2c}}}}]",
    );
    let rules = backend(&snapshot);
    let RouteAction::Forward(forward) = &rules[0].action else {
        panic!("{rules:?}");
    };
    let request = &rules[0].headers.request;
    assert_eq!(request.set.len(), 1);
    assert_eq!(request.set[0].name.as_str(), "x-a");
    assert!(request.remove.is_empty() && rules[0].headers.response.is_empty());
    assert!(forward.destinations.list()[0].headers.response.is_empty());
    for (field, name) in [
        ("headers.request.set", "content-length"),
        ("headers.request.set", "Transfer_Encoding"),
        ("headers.request.remove", "te"),
        ("headers.response.add", "connection"),
        ("route[0].headers.response.set", "upgrade"),
    ] {
        assert!(
            has(&diagnostics, &["MESH0109", field, name, "cannot be edited"]),
            "{name}: {diagnostics:?}"
        );
    }
}

#[test]
fn a_rewrite_changes_the_path_only_and_the_host_to_a_host() {
    let (snapshot, diagnostics) = unchecked(
        "  http:
    - match: [{uri: {prefix: /a}}]
      rewrite: {uri: '/b?c=d', authority: 'x y'}
      route: [{destination: {host: backend}}]",
    );
    let rules = backend(&snapshot);
    let RouteAction::Forward(forward) = &rules[0].action else {
        panic!("{rules:?}");
    };
    let UriRewrite::Prefix { replacement, .. } = &forward.rewrite.uri else {
        panic!("{forward:?}");
    };
    assert_eq!(&**replacement, "/b");
    assert_eq!(forward.rewrite.authority, None);
    assert!(has(&diagnostics, &["MESH0109", "rewrite.uri", "?c=d"]));
    assert!(has(&diagnostics, &["MESH0109", "rewrite.authority", "x y"]));
}

#[test]
fn parts_of_a_request_are_matched_like_headers() {
    let (snapshot, diagnostics) = explicit(&vs(
        "a",
        "  http:
    - match: [{headers: {':authority': {exact: backend}, X-A: {}}}]
      route: [{destination: {host: backend}}]",
    ));
    let rules = backend(&snapshot);
    let names: Vec<&str> = rules[0].matches[0]
        .headers
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, [":authority", "x-a"]);
    assert_eq!(diagnostics, Vec::<String>::new());
}

#[test]
fn expressions_beyond_what_an_object_may_cost_refuse_what_they_may_mean_and_the_rest_stays() {
    let matches: Vec<String> = (0..300)
        .map(|index| format!("{{uri: {{regex: '/{index}/\\pL{{24}}'}}}}"))
        .collect();
    let large = vs(
        "a",
        &format!(
            "  http:\n    - {{name: large, match: [{}], route: [{{destination: {{host: backend}}}}]}}\n    \
             - {{name: plain, match: [{{uri: {{prefix: /plain}}}}], route: [{{destination: {{host: \
             backend}}}}]}}",
            matches.join(", ")
        ),
    );
    let other = vs(
        "b",
        "  http: [{name: other, match: [{uri: {regex: '/v[0-9]+/.*'}}], route: [{destination: \
         {host: backend}}]}]",
    );
    let (snapshot, diagnostics) = explicit(&format!("{large}{other}"));
    let rules = backend(&snapshot);
    assert_eq!(names(&rules)[..4], ["large", "large", "plain", "other"]);
    let kept = rules[0].matches.len();
    assert!((1..20).contains(&kept), "{kept} of 300");
    assert!(matches!(rules[1].action, RouteAction::Fail(_)));
    assert_eq!(rules[1].matches.len(), 300 - kept);
    assert!(has(
        &diagnostics,
        &["MESH0117", "shop/a", "spec.http[0].match[299].uri", "KiB"]
    ));
    assert!(!has(&diagnostics, &["MESH0117", "shop/b"]));
}
