//! What `shop/README.md` promises.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed test may end in a panic"
)]

use std::time::Duration;

use examples::load::{Plan, run};
use examples::mesh::{Mesh, MeshOptions, send, wait_until};
use examples::shop::proto::shop_client::ShopClient;
use examples::shop::proto::{ChatMessage, DescribeRequest, WatchRequest};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;
use tonic::transport::Endpoint;

const HOST: &str = "shop.example.com";

#[tokio::test]
async fn the_shop_works_as_its_readme_says() {
    let mesh = Mesh::start(MeshOptions::default()).await.unwrap();
    every_tier_is_passed(&mesh).await;
    unknown_names_go_nowhere(&mesh).await;
    both_versions_answer_and_are_counted(&mesh).await;
    grpc_of_every_shape(&mesh).await;
    tcp_reaches_the_store(&mesh).await;
}

async fn every_tier_is_passed(mesh: &Mesh) {
    let request = Request::get("/basket?item=7")
        .header("host", HOST)
        .header("x-user", "somebody")
        .header("x-request-id", "8f9f8a40-4a4e-4d5f-9f2a-0d7f5b1f9d11")
        .body(String::new())
        .unwrap();
    let answer = send(mesh.gateway(), request).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
    for tier in [
        "x-shop-tier-frontend",
        "x-shop-tier-backend",
        "x-shop-tier-store",
    ] {
        assert!(
            answer.headers.contains_key(tier),
            "{tier}: {:?}",
            answer.headers
        );
    }
    let json = answer.json().unwrap();
    assert_eq!(json["name"], "frontend-1");
    let store = &json["next"]["next"];
    assert_eq!(store["name"], "store-1");
    assert_eq!(store["path"], "/basket?item=7");
    assert_eq!(store["headers"]["x-user"], "somebody");
    assert!(store["headers"]["x-request-id"].is_string(), "{store}");
    // What a proxy saw first is what the whole chain shares.
    assert_eq!(
        store["headers"]["x-request-id"],
        json["headers"]["x-request-id"]
    );
}

async fn unknown_names_go_nowhere(mesh: &Mesh) {
    for (address, host) in [
        (mesh.outbound("frontend-1").unwrap(), "nowhere:8080"),
        (mesh.gateway(), "nowhere"),
    ] {
        let request = Request::get("/")
            .header("host", host)
            .body(String::new())
            .unwrap();
        assert_eq!(
            send(address, request).await.unwrap().status,
            404,
            "{address} {host}"
        );
    }
}

async fn both_versions_answer_and_are_counted(mesh: &Mesh) {
    const REQUESTS: f64 = 200.0;
    let source = [
        ("reporter", "source"),
        ("destination_service_name", "backend"),
    ];
    let destination = [
        ("reporter", "destination"),
        ("source_workload", "frontend-1"),
    ];
    let counted = async || {
        let client = mesh
            .metrics("frontend-1")
            .await?
            .sum("istio_requests_total", &source);
        let mut server = 0.0;
        for backend in ["backend-v1", "backend-v2"] {
            server += mesh
                .metrics(backend)
                .await?
                .sum("istio_requests_total", &destination);
        }
        anyhow::Ok((client, server))
    };
    let plan = Plan::new(mesh.gateway(), HOST, "/").share_by_header("x-shop-tier-backend");
    // A sidecar learns who calls it by asking once; the very first requests bear no name.
    run(plan.clone().requests(20).connections(2)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = counted().await.unwrap();
    for plan in [
        plan.clone().requests(100).connections(4),
        plan.requests(100).http2(4),
    ] {
        let report = run(plan).await;
        assert_eq!(report.failed, 0, "{report}");
        assert!(
            report.share("v1") > 20.0 && report.share("v2") > 20.0,
            "{report}"
        );
    }
    wait_until(
        "both sides to have counted",
        Duration::from_secs(5),
        async || {
            let now = counted().await?;
            anyhow::ensure!(
                (now.0 - before.0 - REQUESTS).abs() < 0.5
                    && (now.1 - before.1 - REQUESTS).abs() < 0.5,
                "client side {before:?}, now {now:?}"
            );
            Ok(Some(()))
        },
    )
    .await
    .unwrap();
}

async fn grpc_of_every_shape(mesh: &Mesh) {
    let sidecar = mesh.outbound("frontend-1").unwrap();
    let channel = Endpoint::from_shared(format!("http://{sidecar}"))
        .unwrap()
        .origin("http://backend:9090".parse().unwrap())
        .connect()
        .await
        .unwrap();
    let mut client = ShopClient::new(channel);
    let reply = client
        .describe(DescribeRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reply.app, "backend");
    let failing = DescribeRequest {
        fail_code: 9,
        delay_ms: 0,
    };
    let status = client.describe(failing).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
    let wanted = WatchRequest {
        count: 100,
        interval_ms: 1,
    };
    let ticks: Vec<_> = client
        .watch(wanted)
        .await
        .unwrap()
        .into_inner()
        .collect()
        .await;
    assert_eq!(ticks.len(), 100);
    assert!(ticks.iter().all(Result::is_ok));

    // Each answer is awaited before the next question, so nothing may be held back.
    let (questions, stream) = tokio::sync::mpsc::channel(1);
    let ask = |text: &str| ChatMessage {
        from: "test".to_owned(),
        text: text.to_owned(),
    };
    questions.send(ask("one")).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut chat = client.chat(stream).await.unwrap().into_inner();
    assert_eq!(chat.message().await.unwrap().unwrap().text, "test: one");
    questions.send(ask("two")).await.unwrap();
    assert_eq!(chat.message().await.unwrap().unwrap().text, "test: two");
    drop(questions);
    assert!(chat.message().await.unwrap().is_none());
}

async fn tcp_reaches_the_store(mesh: &Mesh) {
    let frontend = mesh.address_of("frontend-1").unwrap();
    let mut stream = TcpStream::connect((frontend, 7000)).await.unwrap();
    stream.write_all(b"anything at all").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut said = String::new();
    let reading = stream.read_to_string(&mut said);
    tokio::time::timeout(Duration::from_secs(5), reading)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(said, "store-1 v1\nanything at all");
}
