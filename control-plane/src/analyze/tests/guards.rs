//! Extensions that are to keep somebody out and stand where no proxy looks: each is named, with the
//! field and the way out.

use super::*;

const EDGE: &str = "
apiVersion: v1
kind: Pod
metadata: {name: edge, namespace: shop, labels: {istio: ingressgateway}}
status: {podIP: 10.0.0.9, phase: Running, conditions: [{type: Ready, status: 'True'}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, protocol: HTTP, name: http}, hosts: ['*']}]
---
";

/// What is said of an extension: codes and fields.
fn said(kind: &str, spec: &str) -> Vec<String> {
    let group = match kind {
        "EnvoyFilter" => "networking.istio.io/v1alpha3",
        _ => "extensions.istio.io/v1alpha1",
    };
    let yaml = format!(
        "{EDGE}apiVersion: {group}\nkind: {kind}\nmetadata: {{name: ext, namespace: shop}}\nspec: \
         {{{spec}}}\n"
    );
    let found = in_shop(&yaml).into_iter().filter(|one| {
        let about = one.object.as_ref().is_some_and(|key| *key.name == *"ext");
        // Of every EnvoyFilter it is said that nothing is patched.
        about && !one.message.contains("not Envoy")
    });
    found
        .map(|one| format!("{} {}", one.code, one.field))
        .collect()
}

const WEB: &str = "selector: {matchLabels: {app: web}}";
const GATEWAYS: &str = "selector: {matchLabels: {istio: ingressgateway}}";
const TARGETS: &str = "targetRefs: [{kind: Gateway, group: gateway.networking.k8s.io, name: g}]";

#[test]
fn attached_guards_are_named() {
    let target = "targetRef: {kind: Gateway, group: gateway.networking.k8s.io, name: g}";
    for (kind, spec, field) in [
        (
            "WasmPlugin",
            format!("url: 'oci://a', {TARGETS}"),
            "spec.targetRefs",
        ),
        (
            "WasmPlugin",
            format!("url: 'oci://a', {target}"),
            "spec.targetRef",
        ),
        (
            "TrafficExtension",
            format!("phase: AUTHZ, lua: {{inlineCode: x}}, {TARGETS}"),
            "spec.targetRefs",
        ),
        (
            "EnvoyFilter",
            format!("{TARGETS}, {}", patches(&["ANY"])),
            "spec.targetRefs",
        ),
    ] {
        assert_eq!(said(kind, &spec), [format!("MESH0901 {field}")], "{kind}");
    }
}

#[test]
fn of_attached_policies_the_field_that_attaches_them_is_named() {
    let target = "{kind: Gateway, group: gateway.networking.k8s.io, name: g}";
    for (field, value) in [
        ("targetRef", target.to_owned()),
        ("targetRefs", format!("[{target}]")),
    ] {
        let found = in_shop(&format!(
            "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: a, \
             namespace: shop}}\nspec: {{{field}: {value}, rules: [{{}}]}}\n"
        ));
        let found = of(&found, "MESH0901");
        let named = format!("shop/a spec.{field}:");
        assert!(
            found.len() == 1 && found[0].contains(&named) && found[0].contains("by their labels"),
            "{found:?}"
        );
    }
}

#[test]
fn guards_of_the_other_side_are_named() {
    let plugin = |rest: &str| said("WasmPlugin", &format!("url: 'oci://a', {rest}"));
    let mode = "MESH0901 spec.match[0].mode";
    assert_eq!(plugin(&format!("{WEB}, match: [{{mode: CLIENT}}]")), [mode]);
    assert_eq!(
        plugin(&format!("{GATEWAYS}, match: [{{mode: SERVER}}]")),
        [mode]
    );
    // All of the namespace: gateways refuse, the calls of the others pass.
    assert_eq!(
        plugin("match: [{mode: CLIENT}]"),
        ["MESH0601 spec".to_owned(), mode.to_owned()]
    );
    for closing in [
        format!("{WEB}, match: [{{mode: SERVER}}]"),
        format!("{GATEWAYS}, match: [{{mode: CLIENT}}]"),
        "match: [{mode: SERVER}]".to_owned(),
        WEB.to_owned(),
    ] {
        assert_eq!(plugin(&closing), ["MESH0601 spec"], "{closing}");
    }
    // Of two sides the one that is not guarded is named.
    assert_eq!(
        plugin(&format!(
            "{WEB}, match: [{{mode: SERVER, ports: [{{number: 80}}]}}, {{mode: CLIENT}}]"
        )),
        ["MESH0601 spec", "MESH0901 spec.match[1].mode"]
    );
}

/// One patch for each context, each adding a guard.
fn patches(contexts: &[&str]) -> String {
    let all: Vec<String> = contexts
        .iter()
        .map(|context| {
            format!(
                "{{applyTo: HTTP_FILTER, match: {{context: {context}}}, patch: {{operation: \
                 INSERT_BEFORE, value: {{name: envoy.filters.http.rbac}}}}}}"
            )
        })
        .collect();
    format!("configPatches: [{}]", all.join(", "))
}

#[test]
fn patches_of_other_places_are_named() {
    let web = "workloadSelector: {labels: {app: web}}";
    let all = patches(&["SIDECAR_OUTBOUND", "GATEWAY", "WAYPOINT", "SIDECAR_INBOUND"]);
    let vain = |index: usize| format!("MESH0901 spec.configPatches[{index}].match.context");
    let closed = |index: usize| format!("MESH0601 spec.configPatches[{index}]");
    assert_eq!(
        said("EnvoyFilter", &format!("{web}, {all}")),
        [vain(0), vain(1), vain(2), closed(3)]
    );
    // For gateways there is one here, too.
    assert_eq!(
        said("EnvoyFilter", &all),
        [vain(0), closed(1), vain(2), closed(3)]
    );
}

#[test]
fn guards_of_nobody_and_what_guards_nobody_are_named() {
    let nobody = "selector: {matchLabels: {app: wep}}";
    let plugin = |rest: &str| said("WasmPlugin", &format!("url: 'oci://a', {rest}"));
    assert_eq!(plugin(nobody), ["MESH0603 spec.selector"]);
    assert_eq!(
        plugin(&format!("failStrategy: FAIL_OPEN, {nobody}")),
        ["MESH0901 spec"]
    );
    assert_eq!(
        said(
            "EnvoyFilter",
            &format!(
                "workloadSelector: {{labels: {{app: wep}}}}, {}",
                patches(&["ANY"])
            )
        ),
        ["MESH0603 spec.workloadSelector"]
    );
}
