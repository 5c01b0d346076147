//! What a start makes of what was kept, and of settings it cannot read.

use mesh_api::mesh_config::OutboundMode;

use super::*;
use crate::keep;

const MESH: &str = "/api/v1/namespaces/istio-system/configmaps/istio";
const TYPO: &str = "outboundTrafficPolicy: {mode: REGISTRY_ONLLY}";

fn kept_path() -> String {
    format!("/api/v1/namespaces/istio-system/configmaps/{}", keep::NAME)
}

fn settings(text: &str) -> Value {
    json!({"data": {"mesh": text}})
}

fn mode(batch: &Batch) -> OutboundMode {
    let mesh = batch.mesh.as_ref().expect("settings");
    mesh.config.outbound_traffic_policy.mode
}

fn kept(mode: &str) -> Value {
    let text = json!({"format": 1, "settings": {"outboundTrafficPolicy.mode": mode}}).to_string();
    json!({"data": {keep::KEY: text}})
}

#[tokio::test]
async fn a_mistake_at_the_first_start_opens_nothing() {
    for mistake in [TYPO, "outboundTrafficPolicy: [", "outboundTraficPolicy: {}"] {
        let api = cluster();
        api.put(MESH, settings(mistake));
        let mut running = Running::start(api.client(), timing());
        running.says(&["nothing is pushed until it"]).await;
        running.pushes_nothing().await;
        api.put(
            MESH,
            settings("outboundTrafficPolicy: {mode: REGISTRY_ONLY}"),
        );
        assert_eq!(mode(&running.complete().await), OutboundMode::RegistryOnly);
    }
}

#[tokio::test]
async fn a_restart_finds_the_last_good_settings() {
    for mistake in [TYPO, "outboundTrafficPolicy: [", "outboundTraficPolicy: {}"] {
        let api = cluster();
        api.put(MESH, settings(mistake));
        api.put(&kept_path(), kept("REGISTRY_ONLY"));
        let mut running = Running::start(api.client(), timing());
        let batch = running.complete().await;
        assert_eq!(mode(&batch), OutboundMode::RegistryOnly, "{mistake}");
        assert!(batch.kept.is_some());
    }
}

#[tokio::test]
async fn what_is_kept_and_cannot_be_read_is_said_and_holds_nothing_up() {
    let api = cluster();
    api.put(&kept_path(), json!({"data": {keep::KEY: "{"}}));
    let mut running = Running::start(api.client(), timing());
    running.complete().await;
    running.says(&[keep::NAME, "cannot be read in part"]).await;

    let api = cluster();
    api.intercept(|seen| {
        let refused = failure(403, "Forbidden", "may not list this");
        let asked = seen.query.contains(keep::NAME);
        asked.then_some((403, refused))
    });
    let mut running = Running::start(api.client(), timing());
    running.complete().await;
    running.says(&[keep::NAME, "may not list this"]).await;

    let api = cluster();
    let mut running = Running::start(api.client(), timing());
    running.complete().await;
    running.says(&[keep::NAME, "does not exist"]).await;
}

#[tokio::test]
async fn a_replica_that_does_not_lead_follows_what_is_kept() {
    let api = cluster();
    api.put(MESH, settings(TYPO));
    api.put(&kept_path(), kept("ALLOW_ANY"));
    let (leading, watched) = watch::channel(false);
    let mut running = Running::start_as(api.client(), timing(), watched);
    assert_eq!(mode(&running.complete().await), OutboundMode::AllowAny);
    api.put(&kept_path(), kept("REGISTRY_ONLY"));
    let batch = loop {
        let batch = running.next().await;
        if batch.mesh.is_some() {
            break batch;
        }
    };
    assert_eq!(mode(&batch), OutboundMode::RegistryOnly);
    // Whoever stores it knows better than what was stored.
    leading.send_replace(true);
    api.put(&kept_path(), kept("ALLOW_ANY"));
    let end = Instant::now() + MOMENT;
    while let Ok(batch) = timeout_at(end, running.next()).await {
        assert_eq!((batch.mesh, batch.kept), (None, None));
    }
}

/// What is kept of the route that sends 90 %, made at a time.
fn kept_route(created: &str) -> Value {
    let mut object = route(90);
    object["metadata"] = json!({
        "name": "backend", "namespace": "shop", "creationTimestamp": created
    });
    let text = json!({"format": 1, "formers": [{"object": object}]}).to_string();
    json!({"data": {keep::KEY: text}})
}

/// A route nobody can read, made at a time.
fn unreadable_route(created: &str) -> Value {
    json!({"metadata": {"creationTimestamp": created}, "spec": {"hosts": "backend"}})
}

const THEN: &str = "2026-01-02T03:04:05Z";

#[tokio::test]
async fn a_restart_finds_the_last_good_form_of_what_nobody_can_read() {
    let api = cluster();
    let mut running = Running::start(api.client(), timing());
    running.complete().await;
    let mut good = route(90);
    good["metadata"]["creationTimestamp"] = json!(THEN);
    api.put(ROUTE, good);
    running.changes().await;
    api.put(ROUTE, unreadable_route(THEN));
    let formers = loop {
        if let Some(formers) = running.next().await.formers {
            break formers;
        }
    };
    let mut kept = crate::model::Kept::default();
    kept.formers.clone_from(&formers);
    let text = kept.to_text().0;

    // Whoever starts then, and whichever is known first.
    for late in [false, true] {
        let stored = json!({"data": {keep::KEY: text.clone()}});
        if late {
            api.delete(&kept_path());
        } else {
            api.put(&kept_path(), stored.clone());
        }
        let (_leading, watched) = watch::channel(false);
        let mut again = Running::start_as(api.client(), timing(), watched);
        let mut changes = texts(&again.complete().await.changes);
        if late {
            assert!(!changes.contains(&"+ VirtualService shop/backend".to_owned()));
            api.put(&kept_path(), stored);
            changes = again.changes().await;
        }
        assert!(
            changes.contains(&"+ VirtualService shop/backend".to_owned()),
            "{changes:?}"
        );
        again
            .says(&["VirtualService shop/backend", "last good version"])
            .await;
    }
}

#[tokio::test]
async fn an_object_made_again_owes_nothing_to_the_one_before() {
    for (created, uses) in [(THEN, true), ("2026-01-02T03:04:06Z", false)] {
        let api = cluster();
        api.put(&kept_path(), kept_route(THEN));
        api.put(ROUTE, unreadable_route(created));
        let mut running = Running::start(api.client(), timing());
        let changes = texts(&running.complete().await.changes);
        let used = changes.contains(&"+ VirtualService shop/backend".to_owned());
        assert_eq!(used, uses, "{created}: {changes:?}");
    }
}

/// Of two replicas the one that missed a version has it from what is kept; an older one is no news.
#[tokio::test]
async fn the_newest_good_form_counts_on_every_replica() {
    let form = |weight: u32, generation: u32| {
        let mut object = route(weight);
        object["metadata"] = json!({
            "name": "backend", "namespace": "shop", "creationTimestamp": THEN,
            "generation": generation
        });
        object
    };
    let stored = |object: Value| {
        let text = json!({"format": 1, "formers": [{"object": object}]}).to_string();
        json!({"data": {keep::KEY: text}})
    };
    let api = cluster();
    api.put(ROUTE, form(80, 2));
    let (_leading, watched) = watch::channel(false);
    let mut running = Running::start_as(api.client(), timing(), watched);
    running.complete().await;
    let mut bad = unreadable_route(THEN);
    bad["metadata"]["generation"] = json!(4);
    api.put(ROUTE, bad);
    running
        .says(&["VirtualService shop/backend", "last good version"])
        .await;
    api.put(&kept_path(), stored(form(90, 3)));
    assert_eq!(running.changes().await, ["+ VirtualService shop/backend"]);
    api.put(&kept_path(), stored(form(70, 1)));
    running.stays_quiet_about_objects().await;
}
