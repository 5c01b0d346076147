//! Whatever may arrive on a socket: ambiguous, forbidden, too large, too slow, or noise.

#[cfg(test)]
#[path = "support/http.rs"]
mod http_support;
#[cfg(test)]
#[path = "support/mesh.rs"]
mod mesh;
#[cfg(test)]
#[path = "support/shop.rs"]
mod shop;

use std::time::{Duration, Instant};

use http_support::{Upstream, raw};
use mesh::{TestProxy, settings};
use shop::{SHOP, Shop, always, cluster, forward};

const QUIET: Duration = Duration::from_millis(500);

#[tokio::test]
async fn ambiguous_and_forbidden_requests_never_reach_the_upstream() {
    let upstream = Upstream::named("one").await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    for (sent, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        (
            "GET / HTTP/1.1\r\nhost: shop.test\r\nhost: shop.test\r\n\r\n",
            "400",
        ),
        ("GET / HTTP/1.1\r\nhost: a@shop.test\r\n\r\n", "400"),
        ("GET / HTTP/1.0\r\nhost: shop.test\r\n\r\n", "426"),
        ("TRACE / HTTP/1.1\r\nhost: shop.test\r\n\r\n", "405"),
        (
            "CONNECT shop.test:80 HTTP/1.1\r\nhost: shop.test:80\r\n\r\n",
            "404",
        ),
        (
            "POST / HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "400",
        ),
        (
            "POST / HTTP/1.1\r\nhost: shop.test\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("NOT HTTP\r\n\r\n", "400"),
    ] {
        let answer = raw(shop.address, sent.as_bytes(), QUIET).await;
        let code = answer.split(' ').nth(1).unwrap_or_default();
        assert_eq!(code, status, "{sent:?}: {answer}");
    }
    let many = format!(
        "GET / HTTP/1.1\r\nhost: shop.test\r\n{}\r\n",
        "x-a: b\r\n".repeat(101)
    );
    let told = raw(shop.address, many.as_bytes(), QUIET).await;
    assert!(told.contains(" 431 "), "{told}");
    assert!(told.ends_with("has more than 100 headers"), "{told}");
    let large = format!(
        "GET / HTTP/1.1\r\nhost: shop.test\r\nx: {}\r\n\r\n",
        "y".repeat(70_000)
    );
    let told = raw(shop.address, large.as_bytes(), QUIET).await;
    assert!(told.contains(" 431 "), "{told}");
    assert!(told.ends_with("is larger than 61440 bytes"), "{told}");
    assert_eq!(upstream.requests(), 0);
    shop.counted(400, "DPE").await;
    shop.counted(431, "DPE").await;
    // Both lengths: read as chunked, and sent on with one length only.
    let both = "POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 50\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n";
    let answer = raw(shop.address, both.as_bytes(), QUIET).await;
    assert!(!answer.contains("saw-content-length: 50"), "{answer}");
}

#[tokio::test]
async fn any_bytes_are_survived() {
    let upstream = Upstream::named("one").await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let mut seed = 0x1234_5678_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed.to_be_bytes()[1]
    };
    for round in 0..60 {
        let mut bytes: Vec<u8> = (0..400).map(|_| random()).collect();
        if round % 3 == 1 {
            bytes.splice(0..0, *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        }
        if round % 3 == 2 {
            bytes.splice(0..0, *b"GET / HTTP/1.1\r\nhost: shop.test\r\n");
        }
        drop(raw(shop.address, &bytes, Duration::from_millis(30)).await);
    }
    assert_eq!(shop.get("/").await.text(), "one");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let upstream = Upstream::named("one").await;
    let mut settings = settings();
    settings.header_read_timeout = Duration::from_secs(1);
    let proxy = TestProxy::with(settings);
    let rules = vec![always(forward(SHOP))];
    let shop = Shop::on(proxy, cluster(SHOP), &[upstream.address], rules).await;
    let started = Instant::now();
    let half = b"GET / HTTP/1.1\r\nhost: shop.test\r\nx-slow: ";
    let told = raw(shop.address, half, Duration::from_secs(20)).await;
    let status = "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n";
    assert!(told.starts_with(status), "{told}");
    assert!(
        told.ends_with("the head of the request took too long"),
        "{told}"
    );
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(6),
        "{took:?}"
    );
    shop.counted(408, "DPE").await;
    // An idle connection, on the other hand, stays.
    let mut idle = http_support::Client::http1(shop.address).await;
    assert_eq!(idle.get(SHOP, "/").await.text(), "one");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(idle.get(SHOP, "/").await.text(), "one");
}
