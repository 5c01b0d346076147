//! What may take the place of HTTP on a connection: a WebSocket, and nothing else.

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

use std::time::{Duration, Instant};

use http_support::raw;
use shop::{SHOP, Shop, always, cluster, forward};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ";
const PLAIN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain";

/// Switches to whatever it is asked for and sends everything back; without such a wish it answers.
#[cfg(test)]
async fn eager() -> servers::Server {
    servers::serve(|mut stream| async move {
        let mut head = Vec::new();
        loop {
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_closed) => return,
                }
            }
            let text = String::from_utf8_lossy(&head).to_lowercase();
            head.clear();
            let wish = text.lines().find_map(|line| line.strip_prefix("upgrade: "));
            let Some(wish) = wish else {
                stream.write_all(PLAIN.as_bytes()).await.unwrap();
                continue;
            };
            let switch = format!("{SWITCH}{wish}\r\n\r\n");
            stream.write_all(switch.as_bytes()).await.unwrap();
            let (mut read, mut write) = stream.split();
            drop(tokio::io::copy(&mut read, &mut write).await);
            return;
        }
    })
    .await
}

#[tokio::test]
async fn any_other_wish_is_left_unfulfilled_and_the_request_served() {
    let upstream = eager().await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let settings = "http2-settings: AAMAAABkAAQAoAAA\r\n";
    for (tokens, wish) in [
        ("upgrade, http2-settings", "h2c"),
        ("upgrade", "TLS/1.2"),
        ("upgrade", "foo"),
        ("upgrade", "websocket, h2c"),
        ("upgrade", "h2c, websocket"),
        ("keep-alive", "websocket"),
    ] {
        let head = format!(
            "GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: {tokens}\r\nupgrade: {wish}\r\n{settings}\r\n"
        );
        // The connection stays what it was: the next request is one.
        let twice =
            format!("{head}GET /2 HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n");
        let answer = raw(shop.address, twice.as_bytes(), Duration::from_secs(5)).await;
        assert_eq!(
            answer.matches("HTTP/1.1 200 OK").count(),
            2,
            "{wish}: {answer}"
        );
        assert!(!answer.contains("101"), "{wish}: {answer}");
    }
}

#[tokio::test]
async fn a_websocket_without_a_word_ends_and_its_bytes_are_counted() {
    let upstream = eager().await;
    let mut quick = cluster(SHOP);
    quick.limits.tcp_idle_timeout = Some(Duration::from_secs(2));
    let shop = Shop::with(quick, &[upstream.address], vec![always(forward(SHOP))]).await;
    let mut stream = TcpStream::connect(shop.address).await.unwrap();
    let head =
        "GET / HTTP/1.1\r\nhost: shop.test\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    // As long as there is something to say it lives on.
    let content = vec![b'x'; 1_000];
    for _ in 0..4 {
        stream.write_all(&content).await.unwrap();
        let mut echo = vec![0; content.len()];
        stream.read_exact(&mut echo).await.unwrap();
        assert_eq!(echo, content);
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let quiet = Instant::now();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty() && quiet.elapsed() < Duration::from_secs(10));
    shop.counted(101, "SI").await;
    for metric in ["istio_request_bytes_sum", "istio_response_bytes_sum"] {
        shop.proxy
            .metric_reaches(metric, &["response_code=\"101\""], 4_000.0)
            .await;
    }
}
