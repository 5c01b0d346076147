//! Both HTTP versions on both sides, gRPC, upgrades, the application's side, gateways, and
//! whatever else may arrive on a socket.

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

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use http_support::{Client, Upstream, fetch, get, plain, raw, request};
use mesh::{TestProxy, free_address, listener};
use mesh_api::cluster::UpstreamProtocol;
use mesh_api::listener::GatewayProtocol;
use mesh_api::name::RouteScope;
use mesh_api::policy::PolicyRule;
use mesh_api::resource::Resource;
use mesh_api::route::Domain;
use mesh_api::units::Port;
use proxy::bootstrap::{Http10, Settings};
use shop::{SHOP, Shop, always, cluster, endpoints, forward, inbound, routes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn shop_speaking(protocol: UpstreamProtocol, upstream: &Upstream) -> Shop {
    let mut cluster = cluster(SHOP);
    cluster.protocol = protocol;
    Shop::with(cluster, &[upstream.address], vec![always(forward(SHOP))]).await
}

#[tokio::test]
async fn every_pair_of_versions_works() {
    let upstream = Upstream::named("one").await;
    for (protocol, with_http1, with_http2) in [
        (UpstreamProtocol::Http1, "HTTP/1.1", "HTTP/1.1"),
        (UpstreamProtocol::Http2, "HTTP/2.0", "HTTP/2.0"),
        (UpstreamProtocol::MatchDownstream, "HTTP/1.1", "HTTP/2.0"),
    ] {
        let shop = shop_speaking(protocol, &upstream).await;
        let clients = [
            (Client::http1(shop.address).await, with_http1),
            (Client::http2(shop.address).await, with_http2),
        ];
        for (mut client, expected) in clients {
            for content in ["", "some content"] {
                let answer = client.send(request("POST", SHOP, "/a?b", content)).await;
                assert_eq!((answer.status, answer.text()), (200, "one"));
                assert_eq!(answer.header("saw-version"), expected);
                assert_eq!(answer.header("saw-host"), SHOP);
                assert_eq!(answer.header("saw-target"), "/a?b");
                assert_eq!(answer.header("saw-length"), content.len().to_string());
            }
        }
    }
}

#[tokio::test]
async fn trailers_pass_in_every_pair() {
    let upstream = Upstream::serve(|request, _| async move {
        drop(request.into_body().collect().await);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("7"));
        let frames: Vec<Result<Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>> = vec![
            Ok(Frame::data(Bytes::from("data"))),
            Ok(Frame::trailers(trailers)),
        ];
        let mut response =
            Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed());
        response
            .headers_mut()
            .insert("trailer", HeaderValue::from_static("grpc-status"));
        response
    })
    .await;
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let shop = shop_speaking(protocol, &upstream).await;
        for mut client in [
            Client::http1(shop.address).await,
            Client::http2(shop.address).await,
        ] {
            let mut call = get(SHOP, "/");
            call.headers_mut()
                .insert("te", HeaderValue::from_static("trailers"));
            let answer = client.send(call).await;
            assert_eq!(answer.text(), "data");
            let trailers = answer.trailers.expect("trailers");
            assert_eq!(trailers["grpc-status"], "7", "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn many_streams_share_few_connections_and_grpc_is_counted_by_its_trailers() {
    let upstream = Upstream::serve(|request, _| async move {
        let all = request.into_body().collect().await.unwrap().to_bytes();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("5"));
        let frames: Vec<Result<Frame<Bytes>, Box<dyn std::error::Error + Send + Sync>>> =
            vec![Ok(Frame::data(all)), Ok(Frame::trailers(trailers))];
        Response::new(StreamBody::new(futures_util::stream::iter(frames)).boxed())
    })
    .await;
    let shop = shop_speaking(UpstreamProtocol::Http2, &upstream).await;
    let mut running = Vec::new();
    for _ in 0..50 {
        let address = shop.address;
        running.push(tokio::spawn(async move {
            let mut client = Client::http2(address).await;
            let mut call = request("POST", SHOP, "/pkg.Shop/Buy", vec![0, 0, 0, 0, 1, b'x']);
            let grpc = HeaderValue::from_static("application/grpc");
            call.headers_mut().insert("content-type", grpc);
            client.send(call).await.text().len()
        }));
    }
    for one in running {
        assert_eq!(one.await.unwrap(), 6);
    }
    assert!(upstream.connections() <= 2, "{}", upstream.connections());
    let labels = ["grpc_response_status=\"5\"", "request_protocol=\"grpc\""];
    shop.proxy
        .metric_reaches("istio_requests_total", &labels, 50.0)
        .await;
    shop.proxy
        .metric_reaches("istio_response_messages_total", &labels, 50.0)
        .await;
}

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    let upstream = Upstream::serve(|request, _| async move {
        Response::new(request.into_body().map_err(Into::into).boxed())
    })
    .await;
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let shop = shop_speaking(protocol, &upstream).await;
        for mut client in [
            Client::http1(shop.address).await,
            Client::http2(shop.address).await,
        ] {
            let answer = client
                .send(request("POST", SHOP, "/", vec![b'y'; 8 << 20]))
                .await;
            assert_eq!(answer.text().len(), 8 << 20);
        }
    }
}

#[tokio::test]
async fn an_upgrade_tunnels_after_the_upstream_agreed_and_not_before() {
    let server = servers::serve(|mut stream| async move {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read(&mut byte).await, Ok(1)) {
                return;
            }
            head.extend_from_slice(&byte);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.contains("upgrade: websocket") && head.contains("connection: upgrade"));
        // What the client sent along must not be here yet.
        let early = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut byte)).await;
        let verdict: &[u8] = if early.is_err() { b"clean" } else { b"dirty" };
        let agreed = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        drop(stream.write_all(agreed).await);
        drop(stream.write_all(verdict).await);
        let (mut read, mut write) = stream.split();
        drop(tokio::io::copy(&mut read, &mut write).await);
    })
    .await;
    let shop = Shop::new(&[server.address], forward(SHOP)).await;
    let mut stream = TcpStream::connect(shop.address).await.unwrap();
    let asked = "GET /chat HTTP/1.1\r\nhost: shop.test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nEARLY";
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut buffer = [0; 1024];
    while !answer.ends_with("EARLY") {
        let count = stream.read(&mut buffer).await.unwrap();
        assert!(count > 0, "{answer}");
        answer.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\ncleanEARLY"), "{answer}");
    stream.write_all(b"more").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "more");
    shop.counted(101, "-").await;
}

#[tokio::test]
async fn the_application_sees_what_its_policy_lets_in() {
    let application = Upstream::named("app").await;
    let (mut proxy, address) = (TestProxy::start(), free_address());
    let policy = |rule| mesh::policy("inbound", rule);
    let port = inbound(address, application.address, "inbound");
    proxy
        .apply(vec![policy(PolicyRule::Allow), port.clone()])
        .await;
    let mut client = Client::http1(address).await;
    let mut hello = get(SHOP, "/");
    let forged = HeaderValue::from_static("URI=spiffe://admin");
    hello
        .headers_mut()
        .insert("x-forwarded-client-cert", forged);
    let answer = client.send(hello).await;
    assert_eq!((answer.status, answer.text()), (200, "app"));
    assert_eq!(answer.header("server"), "istio-envoy");
    assert!(!answer.headers.contains_key("saw-x-forwarded-client-cert"));
    assert!(!answer.headers.contains_key("saw-x-envoy-attempt-count"));

    let reason = "PeerAuthentication test/strict asks for mutual TLS";
    proxy.apply(vec![policy(mesh::refusal(reason)), port]).await;
    let answer = fetch(address, SHOP, "/").await;
    assert_eq!((answer.status, answer.text()), (503, reason));
    assert_eq!(application.requests(), 1);
    let labels = ["reporter=\"destination\"", "response_flags=\"NE\""];
    proxy
        .metric_reaches("istio_requests_total", &labels, 1.0)
        .await;
}

#[tokio::test]
async fn a_gateway_believes_nobody_and_sends_some_hosts_to_https() {
    let upstream = Upstream::named("one").await;
    let (mut proxy, address) = (TestProxy::start(), free_address());
    let gateway = GatewayProtocol::Http {
        scope: RouteScope::port(Port::new(80).unwrap()),
        https_redirect: vec![Domain::parse("secure.test").unwrap()],
    };
    proxy
        .apply(vec![
            Resource::Cluster(Arc::new(cluster(SHOP))),
            endpoints(SHOP, &[upstream.address]),
            routes(SHOP, vec![always(forward(SHOP))]),
            listener("gateway", address, mesh::gateway(gateway)),
        ])
        .await;
    let mut client = Client::http1(address).await;
    let mut hello = get("SHOP.test:8443", "/");
    for (name, value) in [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "forged"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
    ] {
        hello
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    let answer = client.send(hello).await;
    assert_eq!(
        (answer.status, answer.header("server")),
        (200, "istio-envoy")
    );
    assert_eq!(answer.header("saw-x-forwarded-for"), "1.2.3.4,127.0.0.1");
    assert_eq!(answer.header("saw-x-envoy-external-address"), "127.0.0.1");
    assert_eq!(answer.header("saw-x-forwarded-proto"), "http");
    assert_eq!(answer.header("saw-x-request-id").len(), 36);
    assert!(
        !answer
            .headers
            .contains_key("saw-x-envoy-upstream-rq-timeout-ms")
    );
    let moved = fetch(address, "secure.test", "/x?y").await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (301, "https://secure.test/x?y")
    );
    assert_eq!(fetch(address, "unknown.test", "/").await.status, 404);
}

/// A connection that stays open is sent to https as its port is set now, not as it was then.
#[tokio::test]
async fn an_open_connection_follows_what_its_gateway_sends_to_https() {
    let upstream = Upstream::named("one").await;
    let (mut proxy, address) = (TestProxy::start(), free_address());
    let set = |hosts: &[&str]| {
        let hosts = hosts.iter().map(|host| Domain::parse(host).unwrap());
        let gateway = GatewayProtocol::Http {
            scope: RouteScope::port(Port::new(80).unwrap()),
            https_redirect: hosts.collect(),
        };
        vec![
            Resource::Cluster(Arc::new(cluster(SHOP))),
            endpoints(SHOP, &[upstream.address]),
            routes(SHOP, vec![always(forward(SHOP))]),
            listener("gateway", address, mesh::gateway(gateway)),
        ]
    };
    proxy.apply(set(&[])).await;
    let mut client = Client::http1(address).await;
    for (hosts, status) in [(&[][..], 200), (&[SHOP][..], 301), (&[][..], 200)] {
        proxy.apply(set(hosts)).await;
        for _ in 0..2 {
            assert_eq!(client.get(SHOP, "/").await.status, status, "{hosts:?}");
        }
    }
}

#[tokio::test]
async fn heads_without_bodies_and_early_answers_keep_the_connection_in_step() {
    let upstream = Upstream::serve(|request, _| async move {
        match request.uri().path() {
            "/no-content" => plain(204, ""),
            "/not-modified" => plain(304, ""),
            // Answers without reading what is sent.
            "/early" => plain(413, "too much"),
            _ => plain(200, "hello"),
        }
    })
    .await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let mut client = Client::http1(shop.address).await;
    for _ in 0..3 {
        let head = client.send(request("HEAD", SHOP, "/", "")).await;
        assert_eq!(
            (head.status, head.header("content-length"), head.text()),
            (200, "5", "")
        );
        assert_eq!(client.get(SHOP, "/no-content").await.status, 204);
        assert_eq!(client.get(SHOP, "/not-modified").await.status, 304);
        assert_eq!(client.get(SHOP, "/").await.text(), "hello");
    }
    let mut other = Client::http1(shop.address).await;
    let early = other
        .try_send(request("POST", SHOP, "/early", vec![b'z'; 64 << 10]))
        .await;
    let early = early.unwrap();
    assert_eq!(early.status, 413, "{early:?}");
    assert_eq!(shop.get("/").await.text(), "hello");
}

#[tokio::test]
async fn http_1_0_is_served_only_where_that_is_wanted() {
    let upstream = Upstream::named("one").await;
    for (http10, expected) in [(Http10::Refused, "426"), (Http10::Accepted, "200")] {
        let settings = Settings {
            http10,
            ..mesh::settings()
        };
        let mut proxy = TestProxy::with(settings);
        let addresses = (free_address(), free_address());
        proxy
            .apply(vec![
                Resource::Cluster(Arc::new(cluster(SHOP))),
                endpoints(SHOP, &[upstream.address]),
                routes(SHOP, vec![always(forward(SHOP))]),
                shop::http_listener(addresses.0),
                inbound(addresses.1, upstream.address, mesh::OPEN),
            ])
            .await;
        for address in [addresses.0, addresses.1] {
            let bytes = format!("GET /a HTTP/1.0\r\nHost: {SHOP}\r\n\r\n");
            // Whoever speaks it waits for the connection's end.
            let answer = raw(address, bytes.as_bytes(), Duration::from_secs(2)).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.0 {expected} ")),
                "{answer}"
            );
            assert!(!answer.contains("chunked"), "{answer}");
            if http10 == Http10::Accepted {
                assert!(answer.contains("saw-version: HTTP/1.1"), "{answer}");
                assert!(answer.ends_with("one"), "{answer}");
            }
        }
    }
}
