//! One peer cannot hurt the others: floods, greed, stalled readers, and connections held open.

#[cfg(test)]
#[path = "support/frames.rs"]
mod frames;
#[cfg(test)]
#[path = "support/http.rs"]
mod http_support;
#[cfg(test)]
#[path = "support/mesh.rs"]
mod mesh;
#[cfg(test)]
#[path = "support/shop.rs"]
mod shop;

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use frames::{
    CANCEL, ENHANCE_YOUR_CALM, GOAWAY, HEADERS, RST_STREAM, connect_from, frame, frames, greet,
    head, number, set, until, within,
};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use http_support::{Client, Upstream, body, get, plain, request};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh::{TestProxy, settings};
use mesh_api::cluster::{ConnectionLimits, UpstreamProtocol};
use mesh_api::resource::Resource;
use mesh_api::settings::ProxySettings;
use proxy::net::Way;
use shop::{SHOP, Shop, always, cluster, endpoints, forward, routes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers with so many bytes.
async fn large(size: usize) -> Upstream {
    Upstream::serve(move |_, _| async move { http::Response::new(body(vec![b'x'; size])) }).await
}

/// One worker, so that what one connection does to others shows.
fn alone() -> TestProxy {
    let mut settings = settings();
    settings.concurrency = NonZeroUsize::MIN;
    TestProxy::with(settings)
}

#[tokio::test]
async fn whoever_floods_is_told_to_calm_down_and_others_notice_nothing() {
    let upstream = Upstream::named("one").await;
    let rules = vec![always(forward(SHOP))];
    let shop = Shop::on(alone(), cluster(SHOP), &[upstream.address], rules).await;
    let ping = [7; 8];
    let floods: [(&str, Vec<u8>); 7] = [
        ("settings", frame(4, 0, 0, &set(4, 65_535))),
        ("ping", frame(6, 0, 0, &ping)),
        ("answers to nothing", frame(6, 1, 0, &ping)),
        ("priority", frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ("window_update", frame(8, 0, 0, &1_u32.to_be_bytes())),
        ("unknown", frame(99, 0, 0, b"?")),
        (
            "reset",
            [head(1), frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())].concat(),
        ),
    ];
    let mut lawful = Client::http2(shop.address).await;
    for (what, flood) in floods {
        let mut stream = greet(shop.address, &[]).await;
        let (mut reader, mut writer) = stream.split();
        let told = async {
            let mut all = Vec::new();
            // A reset at the end takes nothing from what was read before.
            let _ended = reader.read_to_end(&mut all).await;
            all
        };
        let flooding = async {
            for number in 0..20_000_u32 {
                let mut one = flood.clone();
                if what == "reset" {
                    // A new stream each time: its number stands in both frames.
                    let stream = (number * 2 + 1).to_be_bytes();
                    one[5..9].copy_from_slice(&stream);
                    let second = one.len() - 13;
                    one[second + 5..second + 9].copy_from_slice(&stream);
                }
                if writer.write_all(&one).await.is_err() {
                    return;
                }
            }
        };
        let flooded = async { tokio::join!(told, flooding).0 };
        let (told, answer) = tokio::join!(within(20, flooded), lawful.get(SHOP, "/"));
        assert_eq!(answer.status, 200, "{what}");
        let goaway = frames(&told).into_iter().find(|(kind, _)| *kind == GOAWAY);
        let (_, content) = goaway.unwrap_or_else(|| panic!("{what}: it was not told"));
        assert_eq!(number(&content[4..8]), ENHANCE_YOUR_CALM, "{what}");
    }
    assert_eq!(lawful.get(SHOP, "/").await.status, 200);
}

#[tokio::test]
async fn small_frames_for_a_slow_reader_are_no_fault_of_the_connection() {
    const FRAMES: usize = 6_000;
    let upstream = Upstream::serve(|request, _| async move {
        if request.uri().path() == "/slow" {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let content = request.into_body().collect().await;
        let length = content.map_or(0, |content| content.to_bytes().len());
        http::Response::new(body(length.to_string()))
    })
    .await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let mut client = Client::http2(shop.address).await;
    let Client::Http2(sender) = &client else {
        unreachable!("it speaks HTTP/2");
    };
    let mut other = Client::Http2(sender.clone());
    let (frames, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let sending = tokio::spawn(async move {
        for _ in 0..FRAMES {
            frames.send(Bytes::from_static(&[b'x'; 20])).await.unwrap();
            // Each in a frame of its own.
            tokio::task::yield_now().await;
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut frames| async {
        let frame = frames.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(frame)), frames))
    });
    let content = StreamBody::new(stream)
        .map_err(|never| match never {})
        .boxed();
    let slow = request("POST", SHOP, "/slow", "").map(|_| content);
    let others = async {
        for _ in 0..100 {
            assert_eq!(other.get(SHOP, "/").await.status, 200);
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    };
    let (slow, ()) = within(30, async { tokio::join!(client.send(slow), others) }).await;
    assert_eq!(slow.status, 200);
    assert_eq!(slow.text(), (FRAMES * 20).to_string());
    sending.await.unwrap();
}

#[tokio::test]
async fn who_does_not_read_has_little_held_for_it() {
    let upstream = large(1 << 20).await;
    let rules = vec![always(forward(SHOP))];
    let shop = Shop::on(alone(), cluster(SHOP), &[upstream.address], rules).await;
    let room = set(4, 0x7fff_ffff);
    let mut greedy = Vec::new();
    for _ in 0..3 {
        let mut stream = greet(shop.address, &room).await;
        let more = 0x3fff_ffff_u32.to_be_bytes();
        stream.write_all(&frame(8, 0, 0, &more)).await.unwrap();
        for number in 0..100 {
            stream.write_all(&head(number * 2 + 1)).await.unwrap();
        }
        greedy.push(stream);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let held = shop.proxy.budgets.buffers.held();
    assert!(held > 1 << 20, "they are served: {held}");
    // The beginning of each of 300 answers, and some more of few.
    assert!(held < 16 << 20, "but not without end: {held}");
    let mut lawful = Client::http2(shop.address).await;
    let answer = within(10, lawful.get(SHOP, "/")).await;
    assert_eq!(answer.text().len(), 1 << 20);
    drop(greedy);
    let start = Instant::now();
    while shop.proxy.budgets.buffers.held() > 0 {
        assert!(start.elapsed() < Duration::from_secs(5), "it is given back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_closed_window_keeps_no_upstream_waiting() {
    let upstream = Upstream::named("one").await;
    let two = ConnectionLimits {
        max_connections: Some(2),
        ..cluster(SHOP).limits
    };
    let limited = mesh_api::cluster::Cluster {
        limits: two,
        ..cluster(SHOP)
    };
    let rules = vec![always(forward(SHOP))];
    let shop = Shop::on(alone(), limited, &[upstream.address], rules).await;
    let mut stream = greet(shop.address, &set(4, 0)).await;
    for number in 0..50 {
        stream.write_all(&head(number * 2 + 1)).await.unwrap();
    }
    let start = Instant::now();
    while upstream.requests() < 50 {
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{}",
            upstream.requests()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(shop.get("/").await.status, 200);
}

#[tokio::test]
async fn a_deadline_holds_for_clients_that_take_nothing() {
    let upstream = large(64 << 20).await;
    let mut timed = forward(SHOP);
    timed.timeout = Some(Duration::from_secs(1));
    let shop = Shop::new(&[upstream.address], timed).await;
    // HTTP/2: the stream ends, the connection goes on.
    let mut stream = greet(shop.address, &set(4, 0)).await;
    stream.write_all(&head(1)).await.unwrap();
    let reset = within(10, until(&mut stream, RST_STREAM)).await.unwrap();
    assert_eq!(number(&reset), CANCEL);
    shop.counted(200, "UT").await;
    // HTTP/1.1: the connection is all there is to end.
    let mut stream = TcpStream::connect(shop.address).await.unwrap();
    let sent = b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n";
    stream.write_all(sent).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut taken = Vec::new();
    let _ended = within(10, stream.read_to_end(&mut taken)).await;
    assert!(taken.len() < 64 << 20, "{}", taken.len());
    let labels = ["response_code=\"200\"", "response_flags=\"UT\""];
    shop.proxy
        .metric_reaches("istio_requests_total", &labels, 2.0)
        .await;
}

#[tokio::test]
async fn whoever_holds_connections_keeps_nobody_out() {
    let upstream = Upstream::named("one").await;
    let mut settings = settings();
    settings.concurrency = NonZeroUsize::MIN;
    settings.max_connections = 20;
    let proxy = TestProxy::with(settings);
    let rules = vec![always(forward(SHOP))];
    let shop = Shop::on(proxy, cluster(SHOP), &[upstream.address], rules).await;
    let mut kept = Client::http1(shop.address).await;
    assert_eq!(kept.get(SHOP, "/").await.status, 200);
    let request = b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n";
    let mut held = Vec::new();
    for number in 0..200 {
        let mut stream = connect_from("127.0.0.9", shop.address).await;
        match number % 3 {
            0 => {}
            1 => stream.write_all(b"GET / HT").await.unwrap(),
            _ => {
                stream.write_all(request).await.unwrap();
                stream.read_exact(&mut [0; 12]).await.unwrap();
            }
        }
        held.push(stream);
        if number % 10 == 0 {
            assert_eq!(shop.get("/").await.status, 200, "{number}");
        }
    }
    let open = shop.proxy.budgets.slots.open(Way::Outbound);
    assert!(open <= 25, "{open}");
    // Who was there first and has one connection only still has it.
    assert_eq!(kept.get(SHOP, "/").await.status, 200);
}

#[tokio::test]
async fn an_upstream_that_allows_few_streams_gets_more_connections() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let service = service_fn(|_request| async {
                    tokio::time::sleep(Duration::from_millis(400)).await;
                    Ok::<_, Infallible>(plain(200, "done"))
                });
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                builder.max_concurrent_streams(2);
                let _ended = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    let mut http2 = cluster(SHOP);
    http2.protocol = UpstreamProtocol::Http2;
    let rules = vec![always(forward(SHOP))];
    let shop = Shop::on(alone(), http2, &[address], rules).await;
    let client = Client::http2(shop.address).await;
    let Client::Http2(sender) = client else {
        unreachable!("it speaks HTTP/2");
    };
    let all = (0..12).map(|_| {
        let mut client = Client::Http2(sender.clone());
        async move { client.send(get(SHOP, "/")).await.status }
    });
    let all = within(20, futures_util::future::join_all(all)).await;
    assert_eq!(all, [200; 12]);
    let opened = connections.load(Ordering::SeqCst);
    assert!((6..=12).contains(&opened), "{opened} connections");
}

#[tokio::test]
async fn headers_are_counted_alike_at_every_hop() {
    let upstream = Upstream::status(200).await;
    // Which has no limit of its own.
    let mut to_http2 = cluster(SHOP);
    to_http2.protocol = UpstreamProtocol::Http2;
    let rules = vec![always(forward(SHOP))];
    let shop = Shop::with(to_http2, &[upstream.address], rules).await;
    for http2 in [false, true] {
        let mut client = if http2 {
            Client::http2(shop.address).await
        } else {
            Client::http1(shop.address).await
        };
        for (own, added, status) in [(100, 0, 200), (100, 30, 200), (101, 0, 431), (1, 130, 431)] {
            let mut request = get(SHOP, "/");
            for number in 0..own {
                let name = format!("x-{number}").parse::<http::HeaderName>().unwrap();
                request.headers_mut().append(name, "1".parse().unwrap());
            }
            for _ in 0..added {
                let value = "1".parse().unwrap();
                request.headers_mut().append("x-forwarded-for", value);
            }
            let answer = client.try_send(request).await;
            let answer = answer.unwrap_or_else(|error| panic!("{http2} {own} {added}: {error:?}"));
            assert_eq!(answer.status, status, "{http2} {own} {added}");
        }
    }
}

/// A proxy that gives a client one second to go on.
fn impatient() -> TestProxy {
    let mut settings = settings();
    settings.stream_idle_timeout.own = Some(Duration::from_secs(1));
    TestProxy::with(settings)
}

#[tokio::test]
async fn a_body_that_never_comes_is_not_waited_for() {
    let upstream = Upstream::named("one").await;
    let rules = vec![always(forward(SHOP))];
    let shop = Shop::on(impatient(), cluster(SHOP), &[upstream.address], rules).await;
    let mut stream = TcpStream::connect(shop.address).await.unwrap();
    let sent = b"POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 9\r\n\r\nhalf";
    stream.write_all(sent).await.unwrap();
    let mut answer = Vec::new();
    within(10, stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    shop.counted(408, "SI").await;
    // The same over HTTP/2 ends the stream alone.
    let mut stream = greet(shop.address, &[]).await;
    let mut post = head(1);
    // POST in the static table, and no end of the stream.
    (post[4], post[9]) = (0x4, 0x83);
    stream.write_all(&post).await.unwrap();
    assert!(within(10, until(&mut stream, HEADERS)).await.is_some());
    shop.proxy
        .metric_reaches(
            "istio_requests_total",
            &["response_code=\"408\"", "response_flags=\"SI\""],
            2.0,
        )
        .await;
    stream.write_all(&head(3)).await.unwrap();
    assert!(within(10, until(&mut stream, HEADERS)).await.is_some());
}

#[tokio::test]
async fn the_mesh_says_to_running_proxies_how_long_clients_may_take() {
    let upstream = Upstream::named("one").await;
    let rules = || vec![always(forward(SHOP))];
    let mut shop = Shop::with(cluster(SHOP), &[upstream.address], rules()).await;
    let said = ProxySettings {
        stream_idle_timeout: Some(Duration::from_secs(1)),
        idle_timeout: Some(Duration::from_secs(1)),
        ..ProxySettings::default()
    };
    let resources = vec![
        Resource::from(cluster(SHOP)),
        endpoints(SHOP, &[upstream.address]),
        routes(SHOP, rules()),
        Resource::from(said),
    ];
    shop.apply(resources).await;
    let ends_with = async |sent: &[u8]| {
        let mut stream = TcpStream::connect(shop.address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        within(10, stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let half = b"POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 9\r\n\r\nhalf";
    let answer = ends_with(half).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // An answer, and then the end of a connection that has no other request.
    let answer = ends_with(b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn whoever_takes_nothing_for_too_long_is_cut_off() {
    let upstream = large(64 << 20).await;
    let rules = vec![always(forward(SHOP))];
    let shop = Shop::on(impatient(), cluster(SHOP), &[upstream.address], rules).await;
    let mut stream = greet(shop.address, &set(4, 0)).await;
    stream.write_all(&head(1)).await.unwrap();
    let reset = within(10, until(&mut stream, RST_STREAM)).await.unwrap();
    assert_eq!(number(&reset), CANCEL);
    shop.counted(200, "SI").await;
    let mut stream = TcpStream::connect(shop.address).await.unwrap();
    let sent = b"GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n";
    stream.write_all(sent).await.unwrap();
    let labels = ["response_code=\"200\"", "response_flags=\"SI\""];
    shop.proxy
        .metric_reaches("istio_requests_total", &labels, 2.0)
        .await;
}
