//! What is wrong with objects, with roles and with the API server itself.

use super::*;

#[tokio::test]
async fn an_object_that_cannot_be_read_rejects_only_itself() {
    let api = cluster();
    let broken = "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/broken";
    api.put(broken, json!({"spec": {"action": "MAYBE"}}));
    api.put(
        "/api/v1/namespaces/shop/services/odd",
        json!({"spec": {"ports": "none"}}),
    );
    let mut running = Running::start(api.client(), timing());
    let batch = running.complete().await;
    let changes = texts(&batch.changes);
    assert!(
        changes.contains(&"! AuthorizationPolicy shop/broken".to_owned()),
        "{changes:?}"
    );
    assert!(
        changes.contains(&"! Service shop/odd".to_owned()),
        "{changes:?}"
    );
    assert!(
        changes.contains(&"+ VirtualService shop/backend".to_owned()),
        "{changes:?}"
    );
    assert!(running.has_said(&["AuthorizationPolicy shop/broken", "spec.action"]));
    assert!(running.has_said(&["Service shop/odd", "spec.ports"]));

    // A good object that becomes bad keeps its last good version.
    api.put(ROUTE, json!({"spec": {"hosts": "backend"}}));
    running
        .says(&["VirtualService shop/backend", "last good version"])
        .await;
    api.put(broken, json!({"spec": {"action": "DENY", "rules": [{}]}}));
    let changes = running.changes().await;
    assert_eq!(changes, ["+ AuthorizationPolicy shop/broken"]);
    running
        .takes_back(&["AuthorizationPolicy shop/broken"])
        .await;
    // Taking the bad one away takes the last good version away.
    api.delete(ROUTE);
    assert_eq!(running.changes().await, ["- VirtualService shop/backend"]);
    running.takes_back(&["VirtualService shop/backend"]).await;
}

#[tokio::test]
async fn what_may_not_be_read_holds_up_the_start_and_is_named() {
    let api = cluster();
    api.intercept(|request| {
        let denied = "authorizationpolicies.security.istio.io is forbidden: User cannot list";
        request
            .path
            .ends_with("/authorizationpolicies")
            .then(|| (403, failure(403, "Forbidden", denied)))
    });
    let mut running = Running::start(api.client(), timing());
    running
        .says(&[
            "authorizationpolicies.security.istio.io cannot be read",
            "get, list and watch",
        ])
        .await;
    // Without the policies nothing may be pushed: what they close would be open.
    running.pushes_nothing().await;
    api.heal();
    let batch = running.complete().await;
    assert!(!batch.changes.is_empty());
    running.takes_back(&["cannot be read"]).await;
}

#[tokio::test]
async fn a_kind_that_is_not_installed_does_not_hold_up_the_start() {
    let api = cluster();
    let unknown = |request: &mesh_kubernetes::testing::Seen| {
        let gone = || {
            (
                404,
                failure(404, "NotFound", "the server could not find the resource"),
            )
        };
        request.path.ends_with("/telemetries").then(gone)
    };
    api.intercept(unknown);
    let mut running = Running::start(api.client(), timing());
    running.complete().await;
    running
        .says(&[
            "telemetries.telemetry.istio.io",
            "CustomResourceDefinitions",
        ])
        .await;
    // It is installed later.
    let path = "/apis/telemetry.istio.io/v1alpha1/namespaces/shop/telemetries/t";
    api.put(path, json!({"spec": {}}));
    api.heal();
    assert_eq!(running.changes().await, ["+ Telemetry shop/t"]);
    running
        .takes_back(&["telemetries.telemetry.istio.io"])
        .await;
    // A definition that goes away, or an API server that starts, takes no object away by itself.
    api.intercept(unknown);
    api.end_watches();
    running.says(&["telemetries.telemetry.istio.io"]).await;
    running.stays_quiet().await;
}

#[tokio::test]
async fn an_api_server_that_is_silent_is_noticed() {
    let api = cluster();
    let quick = Timing {
        answer: Duration::from_millis(100),
        watch: Duration::from_millis(300),
        ..timing()
    };
    let mut running = Running::start(api.client(), quick);
    running.complete().await;
    // Watches stay open and say nothing; new requests get no answer either.
    api.slow(Duration::from_hours(1));
    running
        .says(&["does not answer", "no answer in time"])
        .await;
    api.slow(Duration::ZERO);
    running.takes_back(&["does not answer"]).await;
    api.put(ROUTE, route(30));
    assert_eq!(running.changes().await, ["+ VirtualService shop/backend"]);
}

#[tokio::test]
async fn a_kind_is_only_absent_once_the_api_server_knows_what_it_serves() {
    let api = cluster();
    api.intercept(|seen| {
        let starting = failure(500, "InternalError", "[-]crd-informer-synced failed");
        let unknown = failure(404, "NotFound", "the server could not find the resource");
        match seen.path.as_str() {
            "/readyz" => Some((500, starting)),
            path if path.ends_with("/peerauthentications") => Some((404, unknown)),
            _ => None,
        }
    });
    let mut running = Running::start(api.client(), timing());
    running
        .says(&["peerauthentications", "does not say that it is ready"])
        .await;
    running.pushes_nothing().await;
    api.heal();
    assert!(running.complete().await.initial_complete);
}
