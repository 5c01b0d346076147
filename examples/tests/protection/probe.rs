//! A call over a real socket, and what comes back.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client_hello::client_hello;
use crate::redirected::{ELSEWHERE, POD};

/// What is called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Carrier {
    /// A request.
    Http,
    /// A request that becomes something else.
    Tunnel,
    /// Bytes.
    Bytes,
    /// Bytes after the first message of TLS.
    Tls,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The application answered.
    Open,
    /// The proxy answered 503 with this reason.
    Told(String),
    /// The connection was closed, and nothing came back.
    Closed,
}

/// Calls, and says what came back.
pub(crate) async fn probe(address: SocketAddr, carrier: Carrier) -> Seen {
    let called = tokio::time::timeout(Duration::from_secs(10), call(address, carrier));
    match called.await {
        Ok(Ok(seen)) => seen,
        Ok(Err(_broken)) => Seen::Closed,
        Err(elapsed) => panic!("{address} {carrier:?}: nothing for ten seconds: {elapsed}"),
    }
}

async fn call(address: SocketAddr, carrier: Carrier) -> std::io::Result<Seen> {
    let mut stream = TcpStream::connect(address).await?;
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    match carrier {
        Carrier::Http => {
            let asked = b"GET / HTTP/1.1\r\nhost: server.shop\r\nconnection: close\r\n\r\n";
            stream.write_all(asked).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok(seen(&answer))
        }
        Carrier::Tunnel => {
            let asked = format!("GET /chat HTTP/1.1\r\nhost: server.shop\r\n{upgrade}");
            stream.write_all(asked.as_bytes()).await?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).await? == 0 {
                    return Ok(Seen::Closed);
                }
                head.extend_from_slice(&byte);
            }
            let mut answer = String::from_utf8_lossy(&head).into_owned();
            if answer.starts_with("HTTP/1.1 101 ") {
                return echoes(&mut stream, b"through the tunnel").await;
            }
            let length = answer
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            stream.read_exact(&mut body).await?;
            answer.push_str(&String::from_utf8_lossy(&body));
            Ok(seen(&answer))
        }
        Carrier::Bytes => echoes(&mut stream, b"ping").await,
        Carrier::Tls => echoes(&mut stream, &client_hello("pass.example")).await,
    }
}

fn seen(answer: &str) -> Seen {
    match answer.split_once("\r\n\r\n") {
        Some((head, "app")) if head.starts_with("HTTP/1.1 200 ") => Seen::Open,
        Some((head, reason)) if head.starts_with("HTTP/1.1 503 ") => Seen::Told(reason.to_owned()),
        Some(_) | None if answer.is_empty() => Seen::Closed,
        Some(_) | None => panic!("neither the application nor a refusal: {answer}"),
    }
}

async fn echoes(stream: &mut TcpStream, words: &[u8]) -> std::io::Result<Seen> {
    stream.write_all(words).await?;
    let mut back = vec![0; words.len()];
    stream.read_exact(&mut back).await?;
    assert_eq!(back, words, "it comes from the application");
    Ok(Seen::Open)
}

/// Starts the applications behind every port there is.
pub(crate) async fn applications() {
    let pod = [8080, 9000, 7070, 7072, 8445, 8446].map(|port| (POD, port));
    let local = [18_443, 18_444].map(|port| ("127.0.0.1", port));
    let behind = [8080, 9000].map(|port| (ELSEWHERE, port));
    for place in pod.into_iter().chain(local).chain(behind) {
        let listener = TcpListener::bind(place).await.unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move { drop(serve(stream).await) });
            }
        });
    }
}

/// Answers HTTP, agrees to upgrades, and sends everything else back.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut start = [0; 4];
    stream.read_exact(&mut start).await?;
    if &start == b"GET " {
        let mut head = start.to_vec();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&head).to_lowercase();
        if !head.contains("upgrade: websocket") {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\napp";
            return stream.write_all(answer).await;
        }
        let agreed = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(agreed).await?;
    } else {
        stream.write_all(&start).await?;
    }
    let (mut read, mut write) = stream.split();
    tokio::io::copy(&mut read, &mut write).await?;
    Ok(())
}
