//! The three tiers over real sockets, without a mesh between them.

use ::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;

use super::proto::shop_client::ShopClient;
use super::proto::{ChatMessage, DescribeRequest, WatchRequest};
use super::*;

async fn tier(tier: Tier, version: &str, proxy: Option<SocketAddr>) -> (SocketAddr, Drain) {
    let args = ShopArgs {
        tier,
        listen: ([127, 0, 0, 1], 0).into(),
        grpc_listen: None,
        tcp_listen: None,
        version: version.to_owned(),
        name: Some(format!("{}-{version}", tier.as_str())),
        upstream_proxy: proxy.map(|address| format!("http://{address}")),
        backend_url: "http://backend:8080".to_owned(),
        store_url: "http://store:8080".to_owned(),
        abrupt: false,
        exit_on_stdin_close: false,
    };
    let drain = Drain::new();
    let listener = serve::bind(args.listen).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve::http(
        listener,
        Arc::new(App::new(&args).unwrap()),
        drain.watch(),
    ));
    (address, drain)
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

async fn ask(
    address: SocketAddr,
    request: ::http::request::Builder,
    body: &'static [u8],
) -> Result<Answer, hyper::Error> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request: Request<Full<Bytes>> = request
        .header("host", "shop")
        .body(Full::from(body))
        .unwrap();
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    })
}

async fn fetch(address: SocketAddr, path: &str) -> Answer {
    ask(address, Request::get(path), b"").await.unwrap()
}

#[tokio::test]
async fn the_chain_says_who_answered_and_passes_headers_on() {
    let (store, _store) = tier(Tier::Store, "v1", None).await;
    let (backend, _backend) = tier(Tier::Backend, "v2", Some(store)).await;
    let (frontend, _frontend) = tier(Tier::Frontend, "v1", Some(backend)).await;
    let request = Request::get("/basket?full")
        .header("x-user", "tester")
        .header("x-request-id", "r1")
        .header("x-private", "stays here");
    let answer = ask(frontend, request, b"").await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["x-shop-version"], "v1");
    assert_eq!(answer.headers["x-shop-tier-backend"], "v2");
    assert_eq!(answer.headers["x-shop-tier-store"], "v1");
    let json = answer.json();
    assert_eq!(json["next"]["name"], "backend-v2");
    assert_eq!(json["next"]["headers"]["host"], "backend:8080");
    let store = &json["next"]["next"];
    assert_eq!(store["path"], "/basket?full");
    assert_eq!(store["headers"]["x-user"], "tester");
    assert_eq!(store["headers"]["x-request-id"], "r1");
    assert!(store["headers"].get("x-private").is_none());
}

#[tokio::test]
async fn failures_further_down_reach_the_caller() {
    let (store, drain) = tier(Tier::Store, "v1", None).await;
    let (backend, _backend) = tier(Tier::Backend, "v1", Some(store)).await;
    let asked = Request::get("/").header("x-shop-fault", "store:status:503,backend:delay:5");
    assert_eq!(ask(backend, asked, b"").await.unwrap().status, 503);
    drain.trigger();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let gone = fetch(backend, "/").await;
    assert_eq!(gone.status, 502);
    let error = gone.json()["next"]["error"].to_string();
    assert!(
        error.contains("store:8080") && error.contains("connect"),
        "{error}"
    );
    let wrong = Request::get("/").header("x-shop-fault", "store:explode");
    assert_eq!(ask(backend, wrong, b"").await.unwrap().status, 400);
}

#[tokio::test]
async fn misbehaves_as_told_and_counts() {
    let (store, _drain) = tier(Tier::Store, "v1", None).await;
    let orders = br#"{"fail_status": 500, "fail_times": 2}"#;
    assert_eq!(
        ask(store, Request::post("/control"), orders)
            .await
            .unwrap()
            .status,
        200
    );
    let with_id = || Request::get("/a").header("x-shop-id", "7");
    for expected in [500, 500, 200] {
        assert_eq!(ask(store, with_id(), b"").await.unwrap().status, expected);
    }
    assert_eq!(fetch(store, "/status/418").await.status, 418);
    let counters = fetch(store, "/control/counters").await.json();
    assert_eq!(counters["requests"], 4);
    assert_eq!(counters["paths"]["/a"], 3);
    assert_eq!(counters["repeated_ids"]["7"], 3);
    let bad = ask(store, Request::post("/control"), br#"{"fail_statu": 1}"#)
        .await
        .unwrap();
    assert_eq!(bad.status, 400);
    assert!(String::from_utf8_lossy(&bad.body).contains("fail_statu"));
    ask(store, Request::post("/control"), br#"{"reset": true}"#)
        .await
        .unwrap();
    assert!(ask(store, Request::get("/"), b"").await.is_err());
    assert_eq!(fetch(store, "/control").await.json()["reset"], true);
}

#[tokio::test]
async fn bodies_of_every_kind() {
    let (store, _drain) = tier(Tier::Store, "v1", None).await;
    assert_eq!(fetch(store, "/bytes/70000").await.body.len(), 70_000);
    assert_eq!(fetch(store, "/bytes/99999999999").await.status, 400);
    let stream = fetch(store, "/stream/3").await;
    assert_eq!(stream.headers["transfer-encoding"], "chunked");
    assert_eq!(String::from_utf8_lossy(&stream.body).lines().count(), 3);
    assert!(ask(store, Request::get("/cut/10"), b"").await.is_err());
    let hash = ask(store, Request::post("/hash"), b"abc")
        .await
        .unwrap()
        .json();
    assert_eq!(hash["bytes"], 3);
    assert!(
        hash["sha256"]
            .as_str()
            .unwrap()
            .starts_with("ba7816bf8f01cfea")
    );
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let (store, _drain) = tier(Tier::Store, "v1", None).await;
    let mut stream = TcpStream::connect(store).await.unwrap();
    stream
        .write_all(b"GET /reset HTTP/1.1\r\nhost: s\r\n\r\n")
        .await
        .unwrap();
    let error = stream.read(&mut [0; 16]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn http2_on_the_same_port_with_grpc() {
    let (store, _drain) = tier(Tier::Store, "v3", None).await;
    let stream = TcpStream::connect(store).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::get("http://store:8080/echo")
        .body(Full::<Bytes>::default())
        .unwrap();
    let body = sender
        .send_request(request)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (&json["http"], &json["headers"]["host"]),
        (&"2".into(), &"store:8080".into())
    );

    let channel = tonic::transport::Channel::from_shared(format!("http://{store}")).unwrap();
    let mut client = ShopClient::new(channel.connect().await.unwrap());
    let reply = client
        .describe(DescribeRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (reply.name.as_str(), reply.version.as_str()),
        ("store-v3", "v3")
    );
    let failing = DescribeRequest {
        fail_code: 8,
        delay_ms: 1,
    };
    let status = client.describe(failing).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    let wanted = WatchRequest {
        count: 3,
        interval_ms: 1,
    };
    let ticks: Vec<_> = client
        .watch(wanted)
        .await
        .unwrap()
        .into_inner()
        .collect()
        .await;
    assert_eq!(ticks.len(), 3);
    let said = ["one", "two"].map(|text| ChatMessage {
        from: "me".into(),
        text: text.into(),
    });
    let mut chat = client
        .chat(tokio_stream::iter(said))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(chat.message().await.unwrap().unwrap().text, "me: one");
    assert_eq!(chat.message().await.unwrap().unwrap().text, "me: two");

    ask(store, Request::post("/control"), br#"{"fail_status": 503}"#)
        .await
        .unwrap();
    let status = client
        .describe(DescribeRequest::default())
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn tcp_says_who_it_is_and_echoes() {
    let args = <ShopArgs as clap::Parser>::parse_from(["shop", "store", "--listen", "127.0.0.1:1"]);
    let listener = serve::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let drain = Drain::new();
    tokio::spawn(tcp::serve(
        listener,
        Arc::new(App::new(&args).unwrap()),
        drain.watch(),
    ));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"hello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "store v1\nhello");
}
