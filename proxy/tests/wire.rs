//! What happens on the wire where one connection carries many: slow streams beside quick ones,
//! answers before the answer, the last word of a connection, and whose connection goes when there is
//! no room for one more.

#![cfg(test)]

#[path = "support/frames.rs"]
mod frames;
#[path = "support/http.rs"]
mod http_support;
#[path = "support/mesh.rs"]
mod mesh;
#[path = "support/servers.rs"]
mod servers;
#[path = "support/shop.rs"]
mod shop;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use frames::{
    ENHANCE_YOUR_CALM, GOAWAY, connect_from, frame, frames, greet, head, number, set, within,
};
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use http_support::{Client, Upstream, body, get, plain};
use mesh::{TestProxy, settings};
use mesh_api::cluster::{Cluster, UpstreamProtocol};
use mesh_api::route::{Fault, FaultAbort, FaultDelay, filter::AbortAnswer};
use mesh_api::units::PartsPerMillion;
use proxy::bootstrap::Settings;
use proxy::budgets::Resources;
use proxy::net::Way;
use proxy::telemetry::Telemetry;
use shop::{SHOP, Shop, always, cluster, forward};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Settings of a proxy with one worker, so that all share what can be shared.
fn alone() -> Settings {
    let mut settings = settings();
    settings.concurrency = NonZeroUsize::MIN;
    settings
}

/// The shop, called over HTTP/2.
fn over_http2() -> Cluster {
    let mut cluster = cluster(SHOP);
    cluster.protocol = UpstreamProtocol::Http2;
    cluster
}

/// Answers `/slow` with more messages than anybody reads, each in a frame of its own.
async fn talkative() -> Upstream {
    Upstream::serve(|request, _| async move {
        if request.uri().path() != "/slow" {
            return plain(200, "quick");
        }
        let messages = futures_util::stream::unfold((), |()| async {
            tokio::task::yield_now().await;
            let message = Frame::data(Bytes::from_static(&[b'x'; 20]));
            Some((Ok::<_, Infallible>(message), ()))
        });
        let content = StreamBody::new(messages).map_err(|never| match never {});
        Response::new(content.boxed())
    })
    .await
}

#[tokio::test]
async fn messages_nobody_reads_end_no_connection_that_others_share() {
    let upstream = talkative().await;
    let rules = vec![always(forward(SHOP))];
    let proxy = TestProxy::with(alone());
    let shop = Shop::on(proxy, over_http2(), &[upstream.address], rules).await;
    let mut slow = Vec::new();
    for _ in 0..3 {
        // No room beyond the first bytes.
        let mut stream = greet(shop.address, &set(4, 100)).await;
        let path = b"/slow";
        let mut block = vec![0x82, 0x86, 0x04, 5];
        block.extend(path);
        block.extend([0x41, 9]);
        block.extend(b"shop.test");
        stream.write_all(&frame(1, 0x5, 1, &block)).await.unwrap();
        slow.push(stream);
    }
    let mut client = Client::http2(shop.address).await;
    for round in 0..150 {
        let answer = within(10, client.try_send(get(SHOP, "/"))).await;
        let answer = answer.unwrap_or_else(|error| panic!("{round}: {error:?}"));
        assert_eq!((answer.status, answer.text()), (200, "quick"), "{round}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(upstream.connections(), 1);
    assert_eq!(upstream.requests(), 153);
    drop(slow);
}

#[tokio::test]
async fn an_answer_that_is_read_goes_on_beside_those_that_are_not() {
    const WHOLE: usize = 2 << 20;
    let upstream = Upstream::serve(|_, _| async { Response::new(body(vec![b'x'; WHOLE])) }).await;
    let rules = vec![always(forward(SHOP))];
    let proxy = TestProxy::with(alone());
    let shop = Shop::on(proxy, cluster(SHOP), &[upstream.address], rules).await;
    let mut stream = greet(shop.address, &set(4, 16_384)).await;
    let more = |stream: u32, bytes: u32| frame(8, 0, stream, &bytes.to_be_bytes());
    stream.write_all(&more(0, 0x3fff_ffff)).await.unwrap();
    for number in 0..90 {
        stream.write_all(&head(number * 2 + 1)).await.unwrap();
    }
    // All of them hold what they can get.
    let (read, mut got) = (181, 0);
    let mut asked = false;
    let whole = async {
        while got < WHOLE {
            let mut head_bytes = [0; 9];
            stream.read_exact(&mut head_bytes).await.unwrap();
            let length = number(&[0, head_bytes[0], head_bytes[1], head_bytes[2]]);
            let mut content = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut content).await.unwrap();
            let of = number(&head_bytes[5..9]);
            if head_bytes[3] == 0 && of == read && length > 0 {
                got += content.len();
                stream.write_all(&more(read, length)).await.unwrap();
            }
            if !std::mem::replace(&mut asked, true) {
                tokio::time::sleep(Duration::from_secs(1)).await;
                stream.write_all(&head(read)).await.unwrap();
            }
        }
    };
    within(30, whole).await;
    assert_eq!(got, WHOLE);
}

#[tokio::test]
async fn the_last_word_reaches_a_client_that_goes_on_sending() {
    let upstream = Upstream::named("one").await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let socket = TcpSocket::new_v4().unwrap();
    // Little room, so that the last word cannot be on its way before the connection ends.
    socket.set_recv_buffer_size(1024).unwrap();
    let mut stream = socket.connect(shop.address).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let pings = frame(6, 0, 0, &[7; 8]).repeat(20_000);
    let sending = tokio::time::timeout(Duration::from_millis(500), stream.write_all(&pings));
    // It may be full, or over.
    let _sent = sending.await;
    let mut all = Vec::new();
    let _ended = within(10, stream.read_to_end(&mut all)).await;
    let goaway = frames(&all).into_iter().find(|(kind, _)| *kind == GOAWAY);
    let (_, content) = goaway.expect("it is told why");
    assert_eq!(number(&content[4..8]), ENHANCE_YOUR_CALM);
}

/// A proxy that gives a client one second for a head.
fn hasty() -> TestProxy {
    let mut settings = alone();
    settings.header_read_timeout = Duration::from_secs(1);
    TestProxy::with(settings)
}

#[tokio::test]
async fn what_is_left_of_a_body_is_no_late_head() {
    let mut rule = always(forward(SHOP));
    rule.fault = Some(Fault {
        delay: Some(FaultDelay {
            duration: Duration::from_millis(400),
            share: PartsPerMillion::ALL,
        }),
        abort: Some(FaultAbort {
            answer: AbortAnswer::Http(http::StatusCode::IM_A_TEAPOT),
            share: PartsPerMillion::ALL,
        }),
    });
    let shop = Shop::on(hasty(), cluster(SHOP), &[], vec![rule]).await;
    let mut stream = TcpStream::connect(shop.address).await.unwrap();
    let post = b"POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 4\r\n\r\n";
    for round in 0..2 {
        stream.write_all(post).await.unwrap();
        // It comes before the answer, which nobody has asked it for.
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream.write_all(b"body").await.unwrap();
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        while !answer.ends_with(b"fault filter abort") {
            let count = within(10, stream.read(&mut buffer)).await.unwrap();
            assert!(count > 0, "{round}: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&buffer[..count]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 418 "), "{round}");
        // Longer than a head may take: the connection has nothing to do, and stays.
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
}

#[tokio::test]
async fn half_a_head_behind_a_request_is_late_like_any_other() {
    let upstream = Upstream::named("one").await;
    let rules = vec![always(forward(SHOP))];
    let shop = Shop::on(hasty(), cluster(SHOP), &[upstream.address], rules).await;
    for request in [
        "GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 4\r\n\r\nbody",
        "POST / HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(shop.address).await.unwrap();
        let sent = [request, "GET / HTTP/1.1\r\nhos"].concat();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut said = String::new();
        within(20, stream.read_to_string(&mut said)).await.unwrap();
        assert!(said.starts_with("HTTP/1.1 200 "), "{said}");
        assert!(said.contains("HTTP/1.1 408 "), "{said}");
    }
}

/// Says something before its answer, over HTTP/1 or HTTP/2.
async fn hinting(http2: bool) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = socket.accept().await {
            tokio::spawn(async move {
                if !http2 {
                    let said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\
                        link: </a>\r\nconnection: x-once\r\nx-once: 1\r\n\r\n\
                        HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                    let mut buffer = [0; 4096];
                    while let Ok(1..) = stream.read(&mut buffer).await {
                        stream.write_all(said).await.unwrap();
                    }
                    return;
                }
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_request, mut respond))) = connection.accept().await {
                    for status in [100_u16, 103] {
                        let mut hint = Response::new(());
                        *hint.status_mut() = status.try_into().unwrap();
                        hint.headers_mut().insert("link", "</a>".parse().unwrap());
                        respond.send_informational(hint).unwrap();
                    }
                    let mut answer = respond.send_response(Response::new(()), false).unwrap();
                    answer
                        .send_data(Bytes::from_static(b"hello"), true)
                        .unwrap();
                }
            });
        }
    });
    address
}

/// What a client of HTTP/2 is told before its answer, and the answer.
async fn hints_over_http2(address: SocketAddr) -> (Vec<(u16, String)>, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("http://shop.test/").body(()).unwrap();
    let mut sender = sender.ready().await.unwrap();
    let (mut answer, _) = sender.send_request(request, true).unwrap();
    let mut hints = Vec::new();
    let response = poll_fn(|context| {
        while let Poll::Ready(Some(hint)) = answer.poll_informational(context) {
            let hint = hint.unwrap();
            assert_eq!(hint.headers().get("x-once"), None);
            let link = hint.headers().get("link");
            let link = link.map(|link| link.to_str().unwrap().to_owned());
            hints.push((hint.status().as_u16(), link.unwrap_or_default()));
        }
        Pin::new(&mut answer).poll(context)
    });
    let mut content = response.await.unwrap().into_body();
    let data = content.data().await.unwrap().unwrap();
    (hints, String::from_utf8(data.to_vec()).unwrap())
}

#[tokio::test]
async fn interim_answers_pass_whichever_http_both_sides_speak() {
    for http2 in [false, true] {
        let address = hinting(http2).await;
        let spoken = if http2 { over_http2() } else { cluster(SHOP) };
        let shop = Shop::with(spoken, &[address], vec![always(forward(SHOP))]).await;
        let (hints, content) = within(10, hints_over_http2(shop.address)).await;
        assert_eq!(
            hints,
            [(103, "</a>".to_owned())],
            "upstream HTTP/2: {http2}"
        );
        assert_eq!(content, "hello");
        let asked = b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n";
        let quiet = Duration::from_millis(500);
        let said = http_support::raw(shop.address, asked, quiet).await;
        let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert!(said.starts_with(hint), "upstream HTTP/2: {http2}: {said}");
        assert!(said.contains("\r\nhello"), "{said}");
    }
}

#[tokio::test]
async fn idle_connections_to_upstreams_give_way_whoever_has_them() {
    let mut upstreams = Vec::new();
    for _ in 0..16 {
        upstreams.push(Upstream::status(200).await);
    }
    let addresses: Vec<SocketAddr> = upstreams.iter().map(|one| one.address).collect();
    for spoken in [over_http2(), cluster(SHOP)] {
        // Six sockets to upstreams for two workers.
        let few = Resources {
            open_files: Some(50),
            memory: None,
        };
        let proxy = TestProxy::within(settings(), Telemetry::new(), few);
        let rules = vec![always(forward(SHOP))];
        let shop = Shop::on(proxy, spoken, &addresses, rules).await;
        for round in 0..40 {
            let mut client = Client::http2(shop.address).await;
            let answer = within(10, client.get(SHOP, "/")).await;
            assert_eq!(answer.status, 200, "{round}");
        }
        // Those that gave way are closed in a moment.
        let sockets = &shop.proxy.budgets.sockets;
        while sockets.open() > sockets.limit() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn connections_that_never_say_anything_give_way() {
    let server = servers::echo("").await;
    let mut settings = alone();
    settings.max_connections = 10;
    settings.stream_idle_timeout.own = Some(Duration::from_secs(6));
    let (mut proxy, address) = (TestProxy::with(settings), mesh::free_address());
    let mut resources = mesh::cluster("tcp.test", &[server.address], cluster(SHOP).limits);
    resources.push(mesh::tcp_listener("tcp", address, "tcp.test"));
    proxy.apply(resources).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        let stream = connect_from("127.0.0.9", address).await;
        held.push(stream);
    }
    let talk = async |stream: &mut TcpStream| {
        stream.write_all(b"hello").await?;
        let mut echoed = [0; 5];
        stream.read_exact(&mut echoed).await?;
        Ok::<_, std::io::Error>(())
    };
    // All are heard, and none has been silent for long enough.
    for stream in &mut held {
        within(10, talk(stream)).await.unwrap();
    }
    let mut newcomer = TcpStream::connect(address).await.unwrap();
    assert!(within(10, talk(&mut newcomer)).await.is_err());
    tokio::time::sleep(Duration::from_secs(9)).await;
    within(10, talk(&mut held[3])).await.unwrap();
    for round in 0..6 {
        let mut newcomer = TcpStream::connect(address).await.unwrap();
        let answered = within(10, talk(&mut newcomer)).await;
        assert!(answered.is_ok(), "{round}: {answered:?}");
        held.push(newcomer);
    }
    // Who had something to say a moment ago was left alone.
    within(10, talk(&mut held[3])).await.unwrap();
    let open = proxy.budgets.slots.open(Way::Outbound);
    assert!(open <= 12, "{open}");
}
