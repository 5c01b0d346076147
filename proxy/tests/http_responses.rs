//! Whatever an upstream says, over either version, a client of either version gets one response
//! that is whole, one that visibly is not, or an error; and the next request its own response.

#[cfg(test)]
#[path = "support/http.rs"]
mod http_support;
#[cfg(test)]
#[path = "support/mesh.rs"]
mod mesh;
#[cfg(test)]
#[path = "support/responses.rs"]
mod responses;
#[cfg(test)]
#[path = "support/servers.rs"]
mod servers;
#[cfg(test)]
#[path = "support/shop.rs"]
mod shop;
#[cfg(test)]
#[path = "support/strict.rs"]
mod strict;

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_support::{Answer, Client};
use mesh_api::cluster::UpstreamProtocol;
use responses::Outcome::{Bad, Broken, Whole};
use responses::{Outcome, RESPONSES};
use shop::{SHOP, Shop, always, cluster, forward};
use socket2::SockRef;
use strict::Seen;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const CLOSED: &str = "upstream connect error or disconnect/reset before headers. reset reason: \
                      connection termination";
const RESET: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: remote reset";

/// One connection of each version.
#[cfg(test)]
async fn clients(address: SocketAddr) -> [(&'static str, Client); 2] {
    [
        ("http1", Client::http1(address).await),
        ("http2", Client::http2(address).await),
    ]
}

fn fits(answer: &hyper::Result<Answer>, expected: Outcome) -> bool {
    match (answer, expected) {
        (Ok(answer), Whole(status, text)) => {
            answer.status == status && answer.body.as_deref() == Ok(text)
        }
        (Ok(answer), Bad) => answer.status == 502,
        (Ok(answer), Broken) => answer.status == 200 && answer.body.is_err(),
        // The end may overtake a head that is not on its way yet.
        (Err(_), Broken) => true,
        (Err(_), Whole(..) | Bad) => false,
    }
}

#[tokio::test]
async fn sloppy_and_hostile_responses_of_http1() {
    let (upstream, log) = strict::backend(|request: &Seen| {
        let number = request.target().trim_start_matches("/r").parse::<usize>();
        match number.ok().and_then(|number| RESPONSES.get(number)) {
            Some((text, last, _)) => (format!("HTTP/1.1 {text}").into_bytes(), *last),
            None => (
                b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec(),
                false,
            ),
        }
    })
    .await;
    let shop = Shop::new(&[upstream], forward(SHOP)).await;
    let mut wrong = log.violations();
    for (number, (sent, _, expected)) in RESPONSES.iter().enumerate() {
        for (version, mut client) in clients(shop.address).await {
            let asked = http_support::get(SHOP, &format!("/r{number}"));
            let answer = client.try_send(asked).await;
            if !fits(&answer, *expected) {
                wrong.push(format!("{version}: {sent:?}: {answer:?}"));
            }
            // Nothing that came too much is anybody's answer.
            let next = shop.get("/after").await;
            if next.body.as_deref() != Ok("ok") {
                wrong.push(format!("after {sent:?}: {next:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Sends the first `count` bytes of a response and ends the connection: the path is `/COUNT`, with
/// `/COUNT/reset` by a reset.
#[cfg(test)]
async fn cut_off(whole: &'static str) -> servers::Server {
    servers::serve(move |mut stream| async move {
        let mut head = Vec::new();
        let mut buffer = [0; 1024];
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer).await {
                Ok(count @ 1..) => head.extend_from_slice(&buffer[..count]),
                _ => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().trim_start_matches('/');
        let (count, how) = path.split_once('/').unwrap_or((path, ""));
        let count: usize = count.parse().unwrap();
        drop(stream.write_all(&whole.as_bytes()[..count]).await);
        if how == "reset" {
            // So that what was written is read first.
            tokio::time::sleep(Duration::from_millis(5)).await;
            let lingers = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            lingers.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_response_of_http1_cut_off_at_every_byte() {
    for whole in [
        "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ] {
        let server = cut_off(whole).await;
        let shop = Shop::new(&[server.address], forward(SHOP)).await;
        // Where the head of the final response ends.
        let (before, after) = whole.split_once("200 OK").unwrap();
        let head = before.len() + 6 + after.find("\r\n\r\n").unwrap() + 4;
        for how in ["", "/reset"] {
            for count in 0..=whole.len() {
                for (version, mut client) in clients(shop.address).await {
                    let asked = http_support::get(SHOP, &format!("/{count}{how}"));
                    let answer = client.try_send(asked).await;
                    let expected = if count < head {
                        Whole(503, CLOSED)
                    } else if count == whole.len() {
                        Whole(200, "hello")
                    } else {
                        Broken
                    };
                    // A reset may overtake what was sent before it.
                    let overtaken = how == "/reset" && fits(&answer, Whole(503, CLOSED));
                    assert!(
                        overtaken || fits(&answer, expected),
                        "{version} {count}{how} of {whole:?}: {answer:?} instead of {expected:?}"
                    );
                }
            }
        }
    }
}

/// An upstream of HTTP/2 that does what the path says.
#[cfg(test)]
async fn http2_upstream() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let mut served = 0;
                while let Some(Ok((request, respond))) = connection.accept().await {
                    served += 1;
                    let path = request.uri().path().to_owned();
                    if path == "/abrupt" {
                        connection.abrupt_shutdown(Reason::INTERNAL_ERROR);
                        continue;
                    }
                    if path == "/gone" {
                        return;
                    }
                    tokio::spawn(answer(path, respond));
                    if served == 3 {
                        connection.graceful_shutdown();
                    }
                }
            });
        }
    });
    address
}

#[cfg(test)]
async fn answer(path: String, mut respond: SendResponse<Bytes>) {
    let head = |status: u16| {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        response
    };
    let moment = Duration::from_millis(30);
    match path.as_str() {
        "/refused" => respond.send_reset(Reason::REFUSED_STREAM),
        "/cancelled" => respond.send_reset(Reason::CANCEL),
        "/internal" => respond.send_reset(Reason::INTERNAL_ERROR),
        "/hints" => {
            let mut hints = head(103);
            let link = HeaderValue::from_static("</a>");
            hints.headers_mut().insert("link", link);
            respond.send_informational(hints).unwrap();
            tokio::time::sleep(moment).await;
            let mut body = respond.send_response(head(200), false).unwrap();
            body.send_data(Bytes::from("hello"), true).unwrap();
        }
        "/head" | "/half" => {
            let mut body = respond.send_response(head(200), false).unwrap();
            if path == "/half" {
                body.send_data(Bytes::from("hel"), false).unwrap();
            }
            tokio::time::sleep(moment).await;
            body.send_reset(Reason::INTERNAL_ERROR);
        }
        "/short" => {
            let mut response = head(200);
            let length = HeaderValue::from_static("9");
            response.headers_mut().insert("content-length", length);
            let mut body = respond.send_response(response, false).unwrap();
            body.send_data(Bytes::from("hello"), true).unwrap();
        }
        "/trailers" => {
            let mut body = respond.send_response(head(200), false).unwrap();
            body.send_data(Bytes::from("hello"), false).unwrap();
            let mut fields = HeaderMap::new();
            for name in ["x-sum", "host", "content-length"] {
                fields.insert(name, HeaderValue::from_static("1"));
            }
            body.send_trailers(fields).unwrap();
        }
        "/none" => drop(respond.send_response(head(204), true).unwrap()),
        _ => {
            let mut body = respond.send_response(head(200), false).unwrap();
            body.send_data(Bytes::from("hello"), true).unwrap();
        }
    }
}

#[tokio::test]
async fn responses_of_http2_that_end_in_every_way() {
    let upstream = http2_upstream().await;
    let mut http2 = cluster(SHOP);
    http2.protocol = UpstreamProtocol::Http2;
    let shop = Shop::with(http2, &[upstream], vec![always(forward(SHOP))]).await;
    let reset = Whole(503, RESET);
    let closed = Whole(503, CLOSED);
    for (path, expected) in [
        ("/", Whole(200, "hello")),
        ("/hints", Whole(200, "hello")),
        ("/none", Whole(204, "")),
        ("/trailers", Whole(200, "hello")),
        ("/refused", reset),
        ("/cancelled", reset),
        ("/internal", reset),
        ("/gone", closed),
        ("/abrupt", closed),
        ("/head", Broken),
        ("/half", Broken),
        ("/short", Broken),
    ] {
        for round in 0..4 {
            for (version, mut client) in clients(shop.address).await {
                let answer = client.try_send(http_support::get(SHOP, path)).await;
                let context = format!("{version} {path} {round}: {answer:?}");
                assert!(fits(&answer, expected), "{context}");
                if path == "/trailers" && version == "http2" {
                    let fields = answer.unwrap().trailers.unwrap();
                    assert_eq!(fields.len(), 1, "{context}");
                    assert_eq!(fields["x-sum"], "1", "{context}");
                }
            }
        }
        // A graceful GOAWAY costs no request, whatever came before it.
        for _ in 0..7 {
            assert_eq!(shop.get("/").await.text(), "hello", "after {path}");
        }
    }
}
