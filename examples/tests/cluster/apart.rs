//! Whoever has istiod does not have the injector, by what a real API server grants and refuses.

use examples::cluster::{Cluster, text};
use serde_json::json;

const ISTIOD: &str = "--as=system:serviceaccount:istio-system:istiod";
const INJECTOR: &str = "--as=system:serviceaccount:istio-injector:istio-sidecar-injector";
/// Everything is asked and nothing is done.
const DRY: &str = "--dry-run=server";

#[tokio::test]
async fn istiod_has_no_right_to_anything_of_the_injectors() {
    let Some(cluster) = Cluster::connect("cluster service accounts").await.unwrap() else {
        return;
    };
    let may = |who: &str, what: &[&str]| {
        let ask = [&["auth", "can-i", who], what].concat();
        let output = cluster.run(&ask, "").unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        match said.split_whitespace().next() {
            Some("yes") => true,
            Some("no") => false,
            Some(_) | None => panic!("{ask:?}: {output:?}"),
        }
    };
    for namespace in ["istio-injector", "istio-system", "kube-system"] {
        let questions: [&[&str]; 9] = [
            &["create", "secrets"],
            &["create", "pods"],
            &["create", "configmaps"],
            &["create", "serviceaccounts", "--subresource=token"],
            &["create", "pods", "--subresource=exec"],
            &["patch", "deployments"],
            &["patch", "configmaps/istio"],
            &["patch", "configmaps/istio-sidecar-injector"],
            &["get", "secrets/istio-sidecar-injector-ca"],
        ];
        for what in questions {
            let asked = [what, &["-n", namespace]].concat();
            assert!(!may(ISTIOD, &asked), "{what:?} in {namespace}");
        }
    }
    assert!(may(
        ISTIOD,
        &["patch", "secrets/istio-ca-secret", "-n", "istio-system"]
    ));
    let own = [
        "patch",
        "secrets/istio-sidecar-injector-ca",
        "-n",
        "istio-injector",
    ];
    assert!(may(INJECTOR, &own), "the question is asked rightly");
}

/// A ConfigMap.
fn map(namespace: &str, name: &str) -> String {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace}, "data": {"k": "v"},
    })
    .to_string()
}

#[tokio::test]
async fn istiod_publishes_its_roots_and_no_other_config_map() {
    let Some(cluster) = Cluster::connect("cluster config maps").await.unwrap() else {
        return;
    };
    let apply = |namespace: &str, name: &str| {
        let words = [
            "apply",
            "--server-side",
            "--force-conflicts",
            ISTIOD,
            DRY,
            "-f",
            "-",
        ];
        cluster.kubectl_with(&words, &map(namespace, name))
    };
    // A name that is there and one that is not, in both of which something else would obey it.
    for (namespace, name) in [
        ("kube-system", "aws-auth"),
        ("istio-injector", "istio-sidecar-injector"),
        ("istio-injector", "istio"),
        ("istio-system", "istio"),
    ] {
        let refused = apply(namespace, name).unwrap_err().to_string();
        assert!(
            refused.contains("orbidden"),
            "{namespace}/{name}: {refused}"
        );
    }
    // By the same way, into a namespace that has none yet.
    cluster.fresh_namespace("cluster-apart", false).unwrap();
    apply("cluster-apart", "istio-ca-root-cert").unwrap();
    let create = ["create", ISTIOD, DRY, "-f", "-"];
    let refused = cluster
        .kubectl_with(&create, &map("cluster-apart", "istio-ca-root-cert"))
        .unwrap_err()
        .to_string();
    assert!(refused.contains("orbidden"), "a plain create: {refused}");
    cluster.remove_namespace("cluster-apart").unwrap();
}

#[tokio::test]
async fn webhooks_are_held_to_their_trust() {
    let Some(cluster) = Cluster::connect("cluster webhook guard").await.unwrap() else {
        return;
    };
    let (validating, mutating) = (
        [
            "validatingwebhookconfiguration",
            "istio-validator-istio-system",
        ],
        ["mutatingwebhookconfiguration", "istio-sidecar-injector"],
    );
    let patch = |who: &str, object: [&str; 2], path: &str, value: serde_json::Value| {
        let change = json!([{"op": "replace", "path": path, "value": value}]).to_string();
        let words = [
            "patch",
            object[0],
            object[1],
            who,
            DRY,
            "--type=json",
            "-p",
            &change,
        ];
        cluster.kubectl(&words)
    };
    let everything = json!([{
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["secrets"], "scope": "*",
    }]);
    for (who, object, path, value) in [
        (ISTIOD, validating, "/webhooks/0/rules", everything.clone()),
        (
            ISTIOD,
            validating,
            "/webhooks/0/clientConfig/service/namespace",
            json!("default"),
        ),
        (INJECTOR, mutating, "/webhooks/0/rules", everything),
        (
            INJECTOR,
            mutating,
            "/webhooks/0/failurePolicy",
            json!("Ignore"),
        ),
        (
            INJECTOR,
            mutating,
            "/webhooks/0/namespaceSelector",
            json!({}),
        ),
    ] {
        let refused = patch(who, object, path, value).unwrap_err().to_string();
        assert!(refused.contains("istio-webhook-guard"), "{path}: {refused}");
    }
    // What they are there for works: each takes the roots of the other.
    let bundle = |object: [&str; 2]| {
        let object = cluster.json(&object).unwrap();
        json!(text(&object, "/webhooks/0/clientConfig/caBundle"))
    };
    let trust = "/webhooks/0/clientConfig/caBundle";
    patch(ISTIOD, validating, trust, bundle(mutating)).unwrap();
    patch(
        ISTIOD,
        validating,
        "/webhooks/0/failurePolicy",
        json!("Ignore"),
    )
    .unwrap();
    patch(INJECTOR, mutating, trust, bundle(validating)).unwrap();
}
