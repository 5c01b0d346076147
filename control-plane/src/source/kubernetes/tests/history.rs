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
