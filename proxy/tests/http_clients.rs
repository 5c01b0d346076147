//! What clients do with their connection while they wait: close their side, leave, go on sending,
//! or send the next request; and what they are told before the answer.

#[cfg(test)]
#[path = "support/http.rs"]
mod http_support;
#[cfg(test)]
#[path = "support/mesh.rs"]
mod mesh;
#[cfg(test)]
#[path = "support/servers.rs"]
mod servers;
#[cfg(test)]
#[path = "support/shop.rs"]
mod shop;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http_support::{Client, Upstream, get, plain, raw};
use mesh_api::cluster::UpstreamProtocol;
use servers::Server;
use shop::{SHOP, Shop, always, cluster, forward, inbound};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ASKED: &str = "GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n";
const QUESTION: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// Answers after `millis`.
#[cfg(test)]
async fn slow(millis: u64) -> Upstream {
    Upstream::serve(move |_, _| async move {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        plain(200, "done")
    })
    .await
}

/// Says `bytes` after each request it has read, and how many requests it got is not asked.
#[cfg(test)]
async fn saying(bytes: &'static [u8]) -> Server {
    servers::serve(move |mut stream| async move {
        let mut head = Vec::new();
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            head.extend_from_slice(&buffer[..count]);
            if head.ends_with(b"\r\n\r\n") {
                head.clear();
                if stream.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_client_that_closes_its_side_is_answered() {
    // At once, while it would be asked whether it is there, and after.
    for (millis, questions) in [(0, 0), (100, 0), (1_200, 3)] {
        let upstream = slow(millis).await;
        let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
        let answer = servers::ask(shop.address, ASKED.as_bytes()).await.unwrap();
        let (head, body) = answer.rsplit_once("\r\n\r\n").unwrap();
        assert_eq!(body, "done", "{answer}");
        let before = QUESTION.repeat(questions);
        let rest = head
            .strip_prefix(&before)
            .unwrap_or_else(|| panic!("{answer}"));
        assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        shop.counted(200, "-").await;
    }
}

#[tokio::test]
async fn a_client_that_closes_its_side_gets_a_long_answer_whole() {
    let upstream = Upstream::serve(|_, _| async move {
        http::Response::new(http_support::body(vec![b'x'; 8 << 20]))
    })
    .await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let answer = servers::ask(shop.address, ASKED.as_bytes()).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.len(), 8 << 20);
}

#[tokio::test]
async fn half_a_request_is_not_answered_as_a_whole_one() {
    let upstream = Upstream::named("one").await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let half = "POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\n\r\nhel";
    let answer = servers::ask(shop.address, half.as_bytes()).await.unwrap();
    assert!(!answer.contains(" 200 "), "{answer}");
    shop.proxy
        .metric_reaches("istio_requests_total", &["DC"], 1.0)
        .await;
}

/// Whoever leaves, however, is noticed, and what was done for it ends.
#[tokio::test]
async fn a_client_that_leaves_is_noticed_and_its_upstream_let_go() {
    for reset in [false, true] {
        let (gone, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let server = servers::serve(move |mut stream| {
            let gone = gone.clone();
            async move {
                let mut buffer = [0; 1024];
                while let Ok(1..) = stream.read(&mut buffer).await {}
                let _told = gone.send(Instant::now()).is_ok();
            }
        })
        .await;
        let shop = Shop::new(&[server.address], forward(SHOP)).await;
        let mut client = TcpStream::connect(shop.address).await.unwrap();
        client.write_all(ASKED.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        if reset {
            socket2::SockRef::from(&client)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
        let left = Instant::now();
        drop(client);
        let ended = tokio::time::timeout(Duration::from_secs(10), ended.recv()).await;
        let took = ended.unwrap().unwrap() - left;
        assert!(took < Duration::from_secs(3), "{took:?}");
        shop.counted(0, "DC").await;
    }
}

/// A client that sends everything before it reads anything.
#[cfg(test)]
async fn upload(address: SocketAddr, length: usize) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: {length}\r\n\r\n");
    let chunk = vec![b'x'; 64 << 10];
    let sending = async {
        stream.write_all(head.as_bytes()).await?;
        for _ in 0..length / chunk.len() {
            stream.write_all(&chunk).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let sent = sending.await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 "),
        "{sent:?} {read:?} {answer:?}"
    );
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_early_answer_to_an_upload_is_never_lost() {
    // From an upstream that reads nothing, and of our own.
    let server = servers::serve(|mut stream| async move {
        let mut buffer = [0; 1024];
        if stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {
            let denied =
                b"HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno";
            drop(stream.write_all(denied).await);
            drop(stream.shutdown().await);
            // Not reset: it is the proxy that is looked at.
            while let Ok(1..) = stream.read(&mut buffer).await {}
        }
    })
    .await;
    let denying = Shop::new(&[server.address], forward(SHOP)).await;
    let unrouted = Shop::with(cluster(SHOP), &[], Vec::new()).await;
    for round in 0..20 {
        let answer = upload(denying.address, 8 << 20).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{round}: {answer}");
        let answer = upload(unrouted.address, 8 << 20).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{round}: {answer}");
    }
}

#[tokio::test]
async fn interim_answers_are_relayed_between_clients_and_servers_of_http1() {
    let said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\
        connection: x-once\r\nx-once: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
        HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let server = saying(said).await;
    let outer = Shop::new(&[server.address], forward(SHOP)).await;
    let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    let check = |answer: &str, times: usize| {
        let mut rest = answer;
        for _ in 0..times {
            rest = rest
                .strip_prefix(interim)
                .unwrap_or_else(|| panic!("{answer}"));
            assert!(rest.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            rest = rest.split_once("\r\n\r\nhello").unwrap().1;
        }
        assert_eq!(rest, "");
    };
    let quiet = Duration::from_millis(500);
    check(&raw(outer.address, ASKED.as_bytes(), quiet).await, 1);
    // Each before its own answer.
    let pipelined = ASKED.repeat(3);
    check(&raw(outer.address, pipelined.as_bytes(), quiet).await, 3);
    // The same inbound.
    let (mut inner, address) = (mesh::TestProxy::start(), mesh::free_address());
    inner
        .apply(vec![inbound(address, server.address, mesh::OPEN)])
        .await;
    check(&raw(address, ASKED.as_bytes(), quiet).await, 1);
    // A client of HTTP/2 gets the answer.
    let answer = Client::http2(outer.address).await.get(SHOP, "/").await;
    assert_eq!((answer.status, answer.text()), (200, "hello"));
}

#[tokio::test]
async fn a_101_nobody_asked_for_is_a_bad_gateway() {
    for said in [
        b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
            .as_slice(),
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let server = saying(said).await;
        let shop = Shop::new(&[server.address], forward(SHOP)).await;
        for mut client in [
            Client::http1(shop.address).await,
            Client::http2(shop.address).await,
        ] {
            assert_eq!(client.get(SHOP, "/").await.status, 502);
        }
        shop.counted(502, "UC").await;
    }
}

#[tokio::test]
async fn trailers_come_where_they_were_asked_for_and_are_announced_only_there() {
    let server = saying(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: X-Sum, host\r\n\r\n\
          5\r\nhello\r\n0\r\nx-sum: 1\r\nhost: x\r\n\r\n",
    )
    .await;
    let shop = Shop::new(&[server.address], forward(SHOP)).await;
    for (te, trailers) in [(false, false), (true, true)] {
        let mut call = get(SHOP, "/");
        if te {
            let trailers = http::HeaderValue::from_static("trailers");
            call.headers_mut().insert("te", trailers);
        }
        let answer = Client::http1(shop.address).await.send(call).await;
        assert_eq!(answer.text(), "hello");
        assert_eq!(
            answer.header("trailer"),
            if trailers { "x-sum" } else { "" }
        );
        let came = answer.trailers.map(|fields| fields["x-sum"].clone());
        assert_eq!(came.is_some(), trailers);
    }
    let answer = Client::http2(shop.address).await.get(SHOP, "/").await;
    let fields = answer.trailers.unwrap();
    assert_eq!(
        (&fields["x-sum"], fields.len()),
        (&http::HeaderValue::from_static("1"), 1)
    );
}

/// What the table in `http/translate.rs` says, seen on the wire: an HTTP/2 client, an HTTP/1.1 and an
/// HTTP/2 upstream.
#[tokio::test]
async fn requests_of_http2_reach_either_version_as_they_were_meant() {
    let upstream = Upstream::named("one").await;
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let mut shop = cluster(SHOP);
        shop.protocol = protocol;
        let shop = Shop::with(shop, &[upstream.address], vec![always(forward(SHOP))]).await;
        let mut client = Client::http2(shop.address).await;
        let mut call = get(SHOP, "/");
        for cookie in ["a=1", "b=2; c=3"] {
            let cookie = http::HeaderValue::from_static(cookie);
            call.headers_mut().append("cookie", cookie);
        }
        let answer = client.send(call).await;
        let cookies: Vec<_> = answer.headers.get_all("saw-cookie").iter().collect();
        assert_eq!(cookies, ["a=1; b=2; c=3"], "{protocol:?}");
        let answer = client
            .send(http_support::request("POST", SHOP, "/", ""))
            .await;
        assert_eq!(answer.header("saw-content-length"), "0", "{protocol:?}");
        let mut call = http_support::request("OPTIONS", SHOP, "*", "");
        call.headers_mut().remove("content-length");
        let answer = client.send(call).await;
        assert_eq!(
            (answer.header("saw-method"), answer.header("saw-target")),
            ("OPTIONS", "*"),
            "{protocol:?}"
        );
        assert_eq!(answer.header("saw-host"), SHOP);
    }
}
