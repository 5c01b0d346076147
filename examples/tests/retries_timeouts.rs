//! What `retries-timeouts/README.md` promises.

use std::time::{Duration, Instant};

use examples::load::{Plan, Report, run};
use examples::mesh::{Mesh, MeshOptions, send};
use http::{HeaderName, Method, Request};
use serde_json::json;

const HOST: &str = "shop.example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_in_one_version_stays_hidden() {
    let mut mesh = Mesh::start(MeshOptions::story("retries-timeouts"))
        .await
        .unwrap();
    for trouble in [json!({ "fail_status": 503 }), json!({ "reset": true })] {
        mesh.order("backend-v2", &trouble).await.unwrap();
        let report = users(&mesh, 300).await;
        assert_eq!(report.failed, 0, "{trouble}: {report}");
        assert_eq!(report.shares.get("v1"), Some(&300), "{trouble}: {report}");
    }
    mesh.order("backend-v2", &json!({ "stall": true, "fail_times": 3 }))
        .await
        .unwrap();
    let report = users(&mesh, 50).await;
    assert_eq!(report.failed, 0, "{report}");
    assert!(
        (1000.0..4000.0).contains(&report.milliseconds(1.0)),
        "{report}"
    );

    mesh.kill("backend-v2").unwrap();
    mesh.kill("backend-v2-app").unwrap();
    let report = users(&mesh, 300).await;
    assert_eq!(report.failed, 0, "{report}");
    for part in ["backend-v2-app", "backend-v2"] {
        mesh.start_part(part).unwrap();
        mesh.wait_ready(part).await.unwrap();
    }
    let report = users(&mesh, 300).await;
    assert_eq!(report.failed, 0, "{report}");
    assert!(report.share("v2") > 10.0, "back again: {report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_tried_again_and_when_to_give_up() {
    let mesh = Mesh::start(MeshOptions::story("retries-timeouts"))
        .await
        .unwrap();
    mesh.order("backend-v2", &json!({ "fail_status": 503 }))
        .await
        .unwrap();
    let mut orders = Plan::new(mesh.gateway(), HOST, "/order")
        .requests(200)
        .connections(4);
    orders.method = Method::POST;
    orders.number_header = Some(HeaderName::from_static("x-shop-id"));
    let report = run(orders).await;
    assert!((50..=150).contains(&report.failed), "{report}");
    assert_eq!(report.statuses.get(&503), Some(&report.failed), "{report}");
    let mut arrived = 0;
    for backend in ["backend-v1", "backend-v2"] {
        let counters = mesh.counters(backend).await.unwrap();
        arrived += counters["paths"]["/order"].as_u64().unwrap();
        assert_eq!(counters["repeated_ids"], json!({}), "{counters}");
    }
    assert_eq!(arrived, 200);

    mesh.order("backend-v1", &json!({ "fail_status": 502 }))
        .await
        .unwrap();
    let request = Request::get("/hopeless")
        .header("host", HOST)
        .body(String::new())
        .unwrap();
    let answer = send(mesh.gateway(), request).await.unwrap();
    assert!([502, 503].contains(&answer.status), "{}", answer.body);
    assert_eq!(answer.json().unwrap()["next"]["app"], "backend");
    let mut tries = 0;
    for backend in ["backend-v1", "backend-v2"] {
        let counters = mesh.counters(backend).await.unwrap();
        tries += counters["paths"]["/hopeless"].as_u64().unwrap_or(0);
    }
    assert_eq!(tries, 4);

    let slow = Request::get("/delay/3000")
        .header("host", "store:8080")
        .body(String::new());
    let begun = Instant::now();
    let answer = send(mesh.outbound("backend-v1").unwrap(), slow.unwrap())
        .await
        .unwrap();
    let took = begun.elapsed();
    assert_eq!(answer.status, 504, "{}", answer.body);
    assert!(
        (Duration::from_millis(280)..Duration::from_millis(1500)).contains(&took),
        "{took:?}"
    );
}

async fn users(mesh: &Mesh, requests: u64) -> Report {
    let plan = Plan::new(mesh.gateway(), HOST, "/").share_by_header("x-shop-tier-backend");
    run(plan.requests(requests).connections(4)).await
}
