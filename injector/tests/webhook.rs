//! The whole server against an API server in memory: real TLS, real reviews, with the trust the
//! webhook configuration states at that moment.

#[cfg(test)]
#[path = "webhook/harness.rs"]
mod harness;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use harness::{CONFIGURATION, NAME, SECRET, VALUES, cluster, pod, review, start, values, version};
use k8s_openapi::ByteString;
use mesh_runtime::StopReason;
use mesh_runtime::pki::{Authority, ROOT_VALID};
use mesh_runtime::tls::client_config;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[tokio::test(flavor = "multi_thread")]
async fn reviews_are_answered_by_a_server_that_set_itself_up() {
    let running = start(cluster(), |_| {});
    running.ready().await;
    assert!(
        running
            .patched("shop")
            .await
            .contains("localhost/mesh-proxy:one")
    );
    assert_eq!(running.patched("other").await, "");
    let gone = running.review("gone").await;
    assert_eq!(
        (&gone["uid"], &gone["status"]["code"]),
        (&json!("u-1"), &json!(404))
    );

    // New values hold from the next pod on; broken ones leave the former in force.
    running.api.put(VALUES, values("two"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut broken = values("three");
    broken["data"]["values"] = json!("{");
    running.api.put(VALUES, broken);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        running
            .patched("shop")
            .await
            .contains("localhost/mesh-proxy:two")
    );

    for (content_type, body, status) in [
        ("text/plain", review("shop"), "415"),
        ("application/json", b"{}".to_vec(), "400"),
        (
            "application/json; charset=utf-8",
            vec![b' '; 9 * 1024 * 1024],
            "413",
        ),
    ] {
        let (answer, _) = running.post(content_type, &body).await.unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{status}: {answer}"
        );
    }
    let metrics = running.get("/metrics").await;
    // The numbers are of the whole process, so other tests count as well.
    for (name, least) in [
        ("success", 2.0),
        ("skip", 1.0),
        ("failure", 3.0),
        ("requests", 6.0),
    ] {
        let name = format!("sidecar_injection_{name}_total ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
        let number: f64 = line.unwrap().parse().unwrap();
        assert!(number >= least, "{name}: {number}");
    }
    assert!(
        metrics.contains("sidecar_injection_time_seconds_bucket"),
        "{metrics}"
    );
    assert!(running.get("/version").await.contains("sidecar-injector"));
    running.stop.send(StopReason::Terminate).await.unwrap();
    running.until("/ready", "503").await;
    // Still served while the Service forgets this replica.
    assert!(!running.patched("shop").await.is_empty());
    tokio::time::timeout(Duration::from_secs(5), running.task)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn not_ready_without_a_webhook_configuration_and_again_trusted_when_overwritten() {
    let api = cluster();
    let configuration = api.object(CONFIGURATION).unwrap();
    api.delete(CONFIGURATION);
    let running = start(api, |_| {});
    let answer = running
        .until("/ready", "webhook configuration trusts")
        .await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    running.api.put(CONFIGURATION, configuration.clone());
    running.ready().await;
    running.api.put(CONFIGURATION, configuration);
    let repaired = async {
        while running.api.object(CONFIGURATION).unwrap()["webhooks"][0]["clientConfig"]
            .get("caBundle")
            .is_none()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), repaired)
        .await
        .unwrap();
    assert!(!running.patched("shop").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_pod_fails_while_certificate_and_root_are_replaced() {
    // Renewed after two seconds, and then every two.
    let running = Arc::new(start(cluster(), |settings| {
        settings.serving_valid = Duration::from_secs(3);
    }));
    running.ready().await;
    let asking = Arc::clone(&running);
    let asked = tokio::spawn(async move {
        let mut certificates = std::collections::BTreeSet::new();
        let begun = tokio::time::Instant::now();
        let mut count = 0;
        while begun.elapsed() < Duration::from_secs(7) {
            let (answer, certificate) = asking
                .post("application/json", &review("shop"))
                .await
                .unwrap();
            assert!(answer.contains("\"allowed\": true"), "{answer}");
            certificates.insert(certificate);
            count += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        (certificates.len(), count)
    });
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Somebody brings a new root, trusted beside the old one.
    let old = running.bundle();
    let new = Authority::create("new", ROOT_VALID, SystemTime::now()).unwrap();
    let text = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
    let mut secret = running.api.object(SECRET).unwrap();
    secret["data"] = json!({
        "ca-cert.pem": text(new.certificate_pem()),
        "ca-key.pem": text(new.key_pem().expose()),
        "cert-chain.pem": text(""),
        "root-cert.pem": text(&format!("{}{old}", new.certificate_pem())),
    });
    running.api.put(SECRET, secret);
    let (certificates, count) = asked.await.unwrap();
    assert!(
        certificates >= 3,
        "{certificates} certificates in {count} reviews"
    );
    assert!(running.bundle().contains(new.certificate_pem().trim()));
    // What is served now is of the new root.
    let config = client_config(new.certificate_pem(), &[]).unwrap();
    let stream = TcpStream::connect(running.webhook).await.unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    TlsConnector::from(config)
        .connect(name, stream)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_delays_the_start_and_hurts_no_review_later() {
    let api = cluster();
    let away = || {
        let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
            "message": "away", "reason": "ServiceUnavailable", "code": 503 });
        Some((503, status))
    };
    api.intercept(move |_| away());
    let running = start(api, |_| {});
    running.until("/ready", "503").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    running.api.intercept(version);
    running.ready().await;
    running.api.intercept(move |_| away());
    assert!(!running.patched("shop").await.is_empty());
    let unknown = running.review("unknown").await;
    assert_eq!(unknown["status"]["code"], 503);
    assert!(
        unknown["status"]["message"]
            .as_str()
            .unwrap()
            .contains("try again")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_were_missed_are_reported_once() {
    let api = cluster();
    let mut missed = pod();
    missed["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "r-1",
        "controller": true,
    }]);
    api.put("/api/v1/namespaces/shop/pods/web", missed);
    let mut fine = pod();
    fine["metadata"]["name"] = json!("fine");
    fine["metadata"]["annotations"] = json!({ "sidecar.istio.io/status": "{}" });
    fine["spec"]["initContainers"] =
        json!([{ "name": "istio-proxy", "image": "old", "args": ["sidecar"] }]);
    api.put("/api/v1/namespaces/shop/pods/fine", fine);
    let mut elsewhere = pod();
    elsewhere["metadata"]["namespace"] = json!("other");
    api.put("/api/v1/namespaces/other/pods/web", elsewhere);
    let running = start(api, |_| {});
    let report = running.until("/debug/missing", "ReplicaSet/web-1").await;
    let (_, report) = report.split_once("\r\n\r\n").unwrap();
    let report: Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["missing"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["outdated"][0]["pod"], "fine");
    running
        .until("/metrics", "sidecar_injection_missing_pods 1")
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let event = "/api/v1/namespaces/shop/events/web-1.missed-injection.r1";
    let event = running.api.object(event).unwrap();
    assert_eq!(event["involvedObject"]["kind"], "ReplicaSet");
    assert!(event["message"].as_str().unwrap().contains("restart it"));
    let seen = running.api.seen();
    let written = seen.iter().filter(|one| one.path.ends_with("/events"));
    assert_eq!(written.count(), 1);
}
