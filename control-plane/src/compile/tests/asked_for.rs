//! Who asks for protection without being a policy that can be read: programs and filters that are
//! not run, and objects that are unreadable.

use mesh_api::name::PolicyName;
use mesh_api::policy::PolicyRule;
use mesh_api::units::Port;

use super::*;
use crate::crd::{Kind, Outcome, decode};
use crate::model::{Change, World};
use crate::testing::world;

const PODS: &str = "
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: shop, labels: {app: server}}
status: {podIP: 10.0.0.2}
---
apiVersion: v1
kind: Pod
metadata: {name: bystander, namespace: shop, labels: {app: other}}
status: {podIP: 10.0.0.3}
---
apiVersion: v1
kind: Pod
metadata: {name: stranger, namespace: far, labels: {app: server}}
status: {podIP: 10.0.0.4}
---
";

/// Whether these ports of a workload refuse, and what is said.
fn refused(world: &World, workload: &str, ports: &[u16]) -> (Vec<bool>, Vec<String>) {
    let mode = CaptureMode::OriginalDestination;
    let compiled = compiled(world, workload, ProxyRole::Sidecar, mode);
    let said = compiled.diagnostics().map(ToString::to_string).collect();
    let snapshot = snapshot(&compiled);
    let policy = snapshot.policy(&PolicyName("inbound".into())).unwrap();
    let refuses = |port: &u16| {
        let rule = policy.at(Port::new(*port).unwrap());
        matches!(rule, PolicyRule::Refuse { .. })
    };
    (ports.iter().map(refuses).collect(), said)
}

fn everywhere(world: &World) -> [bool; 3] {
    ["shop/server", "shop/bystander", "far/stranger"]
        .map(|workload| refused(world, workload, &[9_090]).0 == [true])
}

/// A world that was told of a document that cannot be read.
fn with_unreadable(namespace: &str, kind: &str, spec: &str) -> World {
    let mut world = world(PODS);
    let document = format!(
        "{{apiVersion: security.istio.io/v1, kind: {kind}, metadata: {{name: bad, namespace: \
         {namespace}}}, spec: {spec}}}"
    );
    let decoded = decode(serde_saphyr::from_str(&document).unwrap());
    assert_eq!(decoded.outcome, Outcome::Rejected, "{spec}");
    let key = decoded.key.unwrap();
    world.apply([Change::Refused(key, decoded.selects)]);
    world
}

#[test]
fn what_cannot_be_read_closes_what_it_names_and_not_more() {
    let newer = "rules: [{when: [{key: request.mcp.tool, valuez: [a]}]}]";
    let of = |namespace: &str, kind: &str, spec: String| {
        everywhere(&with_unreadable(namespace, kind, &spec))
    };
    let server = "selector: {matchLabels: {app: server}}";
    let kind = "AuthorizationPolicy";
    let selecting = format!("{{{server}, {newer}}}");
    assert_eq!(
        of("istio-system", kind, selecting.clone()),
        [true, false, true]
    );
    assert_eq!(of("shop", kind, selecting), [true, false, false]);
    assert_eq!(
        of("shop", kind, format!("{{{newer}}}")),
        [true, true, false]
    );
    assert_eq!(of("istio-system", kind, format!("{{{newer}}}")), [true; 3]);
    let misspelled = format!("{{selector: {{matchLable: {{app: server}}}}, {newer}}}");
    assert_eq!(of("shop", kind, misspelled), [true, true, false]);
    let target = format!("{{targetRefs: [{{kind: Gateway, name: g}}], {newer}}}");
    assert_eq!(of("shop", kind, target), [false; 3]);
    let peer = "PeerAuthentication";
    let strict = format!("{{{server}, mtls: {{mode: STRICTEST}}}}");
    assert_eq!(of("shop", peer, strict.clone()), [true, false, false]);
    assert_eq!(
        of("istio-system", peer, strict),
        [false; 3],
        "it is for nobody"
    );
    let world = with_unreadable("shop", kind, &format!("{{{server}, {newer}}}"));
    let (_, said) = refused(&world, "shop/server", &[]);
    let expected = [
        "MESH0601",
        "shop/bad",
        "cannot be read",
        "refuses everything: HTTP",
    ];
    assert!(has(&said, &expected), "{said:?}");
}

#[test]
fn an_object_that_is_repaired_or_removed_opens_again() {
    let spec = "{selector: {matchLabels: {app: server}}, rules: 5}";
    let mut world = with_unreadable("shop", "AuthorizationPolicy", spec);
    assert_eq!(everywhere(&world), [true, false, false]);
    let key = crate::meta::ObjectKey::new(Kind::AuthorizationPolicy, "shop", "bad");
    world.apply([Change::Removed(key)]);
    assert_eq!(everywhere(&world), [false; 3]);
}

fn extension(kind: &str, spec: &str) -> String {
    format!(
        "{PODS}apiVersion: extensions.istio.io/v1alpha1\nkind: {kind}\nmetadata: {{name: ext, \
         namespace: shop}}\nspec: {{selector: {{matchLabels: {{app: server}}}}, {spec}}}\n"
    )
}

#[test]
fn a_program_that_is_to_keep_somebody_out_is_not_left_out_in_silence() {
    let wasm = |settings: &str| extension("WasmPlugin", &format!("url: oci://a/b{settings}"));
    let traffic = |settings: &str| extension("TrafficExtension", settings);
    let closing = [
        wasm(""),
        wasm(", failStrategy: FAIL_CLOSE"),
        wasm(", failStrategy: FAIL_RELOAD"),
        wasm(", failStrategy: FAIL_OPEN, phase: AUTHN"),
        wasm(", failStrategy: FAIL_OPEN, phase: AUTHZ"),
        traffic("wasm: {url: oci://a/b}"),
        traffic("phase: AUTHZ, lua: {inlineCode: x}"),
    ];
    for yaml in closing {
        let world = world(&yaml);
        assert_eq!(everywhere(&world), [true, false, false], "{yaml}");
        let (_, said) = refused(&world, "shop/server", &[]);
        assert!(
            has(&said, &["MESH0601", "shop/ext", "refuses everything"]),
            "{said:?}"
        );
    }
    let open = [
        wasm(", failStrategy: FAIL_OPEN"),
        wasm(", failStrategy: FAIL_OPEN, phase: STATS"),
        wasm(", match: [{mode: CLIENT}]"),
        traffic("lua: {inlineCode: x}"),
    ];
    for yaml in open {
        assert_eq!(everywhere(&world(&yaml)), [false; 3], "{yaml}");
    }
    let ports = ", match: [{mode: SERVER, ports: [{number: 8080}]}]";
    let (closed, said) = refused(&world(&wasm(ports)), "shop/server", &[8080, 9_090]);
    assert_eq!(closed, [true, false]);
    assert!(has(&said, &["MESH0601", "at port 8080:"]), "{said:?}");
}

#[test]
fn a_patch_that_adds_a_guard_is_not_left_out_in_silence() {
    let filter = |context: &str, value: &str| {
        format!(
            "{PODS}apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {{name: \
             ext, namespace: shop}}\nspec:\n  workloadSelector: {{labels: {{app: server}}}}\n  \
             configPatches:\n  - applyTo: HTTP_FILTER\n    match: {{context: {context}}}\n    \
             patch: {{operation: INSERT_BEFORE, value: {value}}}\n"
        )
    };
    let rbac = "{name: a, typed_config: {'@type': \
                type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC}}";
    let authz = "{name: envoy.filters.http.ext_authz}";
    for (context, value, closed) in [
        ("SIDECAR_INBOUND", rbac, true),
        ("ANY", authz, true),
        ("SIDECAR_OUTBOUND", authz, false),
        ("GATEWAY", authz, false),
        ("ANY", "{name: envoy.filters.http.lua}", false),
    ] {
        let world = world(&filter(context, value));
        assert_eq!(
            everywhere(&world),
            [closed, false, false],
            "{context} {value}"
        );
    }
}
