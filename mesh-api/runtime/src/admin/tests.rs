//! The listener over real sockets: routes, limits and drain.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::drain::{Drain, Drained};

fn router() -> Router {
    Router::new("test")
        .get("/metrics", "the metrics", |_request| async {
            AdminResponse::text("m 1\n")
        })
        .get(
            "/debug/config",
            "configuration of one proxy",
            |request: AdminRequest| async move {
                match request.query("proxy") {
                    Some(proxy) => AdminResponse::json(&serde_json::json!({ "proxy": proxy })),
                    None => AdminResponse::error(http::StatusCode::BAD_REQUEST, "give ?proxy="),
                }
            },
        )
        .subtree(
            "/debug/",
            "anything else",
            |request: AdminRequest| async move { AdminResponse::text(request.path()) },
        )
        .post(
            "/echo",
            "says it back",
            |request: AdminRequest| async move {
                AdminResponse::text(String::from_utf8_lossy(request.body()).into_owned())
            },
        )
        .get("/slow", "takes its time", |_request| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            AdminResponse::text("slow but done")
        })
}

async fn start(limits: AdminLimits) -> (SocketAddr, Drain) {
    let server = AdminServer::bind(([127, 0, 0, 1], 0).into(), limits)
        .await
        .unwrap();
    let address = server.address();
    let drain = Drain::new();
    tokio::spawn(server.serve(router(), drain.watch()));
    (address, drain)
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(5), reading)
        .await
        .unwrap()
        .unwrap();
    answer
}

async fn fetch(address: SocketAddr, method: &str, path: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    ask(address, &request).await
}

#[tokio::test]
async fn routes_by_path_prefix_method_and_query() {
    let (address, _drain) = start(AdminLimits::default()).await;
    assert!(
        fetch(address, "GET", "/metrics")
            .await
            .ends_with("\r\n\r\nm 1\n")
    );
    let head = fetch(address, "HEAD", "/metrics").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let config = fetch(address, "GET", "/debug/config?proxy=shop%2Fa").await;
    assert!(config.contains("\"proxy\": \"shop/a\""), "{config}");
    assert!(
        fetch(address, "GET", "/debug/config")
            .await
            .starts_with("HTTP/1.1 400")
    );
    assert!(
        fetch(address, "GET", "/debug/other")
            .await
            .ends_with("/debug/other")
    );
    let wrong = fetch(address, "POST", "/metrics").await;
    assert!(
        wrong.starts_with("HTTP/1.1 405") && wrong.contains("allow: GET"),
        "{wrong}"
    );
}

#[tokio::test]
async fn unknown_paths_name_the_way_out() {
    let (address, _drain) = start(AdminLimits::default()).await;
    let near = fetch(address, "GET", "/metric").await;
    assert!(
        near.starts_with("HTTP/1.1 404") && near.contains("did you mean /metrics"),
        "{near}"
    );
    let index = fetch(address, "GET", "/").await;
    assert!(
        index.contains("POST /echo") && index.contains("configuration of one"),
        "{index}"
    );
}

#[tokio::test]
async fn limits_answer_with_a_reason() {
    let limits = AdminLimits {
        body_bytes: 8,
        read_timeout: Duration::from_millis(200),
        body_timeout: Duration::from_millis(200),
        ..AdminLimits::default()
    };
    let (address, _drain) = start(limits).await;
    let post = |length: usize, body: &str| {
        format!(
            "POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    assert!(ask(address, &post(5, "hello")).await.ends_with("hello"));
    assert!(
        ask(address, &post(9, "too long!"))
            .await
            .starts_with("HTTP/1.1 413")
    );
    assert!(
        ask(address, &post(8, "half"))
            .await
            .starts_with("HTTP/1.1 408")
    );
    let many = "h: v\r\n".repeat(80);
    let many = format!("GET /metrics HTTP/1.1\r\n{many}\r\n");
    assert!(ask(address, &many).await.starts_with("HTTP/1.1 431"));
    // A head that never ends is cut off, whatever hyper says to it.
    let unfinished = ask(address, "GET /metrics HTTP/1.1\r\nhost:").await;
    assert!(!unfinished.contains("200 OK"), "{unfinished}");
}

fn seats(connections: usize, reserve: usize) -> SeatLimits {
    SeatLimits {
        connections,
        per_source: connections,
        reserve,
    }
}

#[tokio::test]
async fn hundreds_that_only_sit_there_keep_nobody_from_an_answer() {
    let (address, _drain) = start(AdminLimits {
        seats: seats(48, 16),
        ..AdminLimits::default()
    })
    .await;
    let mut held = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let said: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /metrics HTT",
            _ => b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n",
        };
        // The oldest lost their seats already.
        let _sent = stream.write_all(said).await;
        held.push(stream);
        if number % 50 == 49 {
            let begun = std::time::Instant::now();
            let answer = fetch(address, "GET", "/metrics").await;
            assert!(answer.ends_with("m 1\n"), "after {number}: {answer}");
            assert!(begun.elapsed() < Duration::from_secs(1));
        }
    }
}

#[tokio::test]
async fn where_all_are_at_work_the_newest_is_turned_away_and_work_goes_on() {
    let (address, _drain) = start(AdminLimits {
        seats: seats(1, 0),
        ..AdminLimits::default()
    })
    .await;
    let working = tokio::spawn(fetch(address, "GET", "/slow"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut second = TcpStream::connect(address).await.unwrap();
    let mut nothing = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), second.read_to_end(&mut nothing));
    // Closed without a byte: an end of stream or a reset, depending on timing.
    assert_eq!(read.await.unwrap().unwrap_or(0), 0);
    assert!(working.await.unwrap().ends_with("slow but done"));
}

#[tokio::test]
async fn who_says_nothing_or_only_half_a_head_is_closed_soon() {
    let (address, _drain) = start(AdminLimits {
        first_byte: Duration::from_millis(100),
        first_request: Duration::from_millis(200),
        ..AdminLimits::default()
    })
    .await;
    for said in ["", "GET /metrics HTTP/1.1\r\nho"] {
        let answer = ask(address, said).await;
        assert_eq!(answer, "", "{said}");
    }
    let late = "POST /echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\n";
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(late.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    stream.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("body"), "a body may take longer: {answer}");
}

#[tokio::test]
async fn a_drain_lets_the_request_in_progress_finish() {
    let (address, drain) = start(AdminLimits::default()).await;
    let asking = tokio::spawn(async move { fetch(address, "GET", "/slow").await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    drain.trigger();
    assert_eq!(drain.wait_idle(Duration::from_secs(5)).await, Drained::Idle);
    assert!(asking.await.unwrap().ends_with("slow but done"));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_is_for_this_machine_is_answered_to_nobody_else() {
    let router = router().local_only("/debug/", "kubectl port-forward");
    for (peer, local) in [
        ("127.0.0.1", true),
        ("127.80.0.2", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("10.1.2.3", false),
        ("::ffff:10.1.2.3", false),
        ("fd00::1", false),
    ] {
        let ask = async |path: &str| {
            let (parts, ()) = http::Request::get(path).body(()).unwrap().into_parts();
            let peer = SocketAddr::new(peer.parse().unwrap(), 1);
            let answer = router.respond(AdminRequest::new(parts, Bytes::new(), peer));
            answer.await.into_http()
        };
        let expected = if local { 200 } else { 403 };
        assert_eq!(ask("/debug/x").await.status(), expected, "{peer}");
        assert_eq!(ask("/metrics").await.status(), 200, "{peer}");
    }
}
