//! `connectionPool`: what is refused, what waits, what is used up; and draining.

#[cfg(test)]
#[path = "support/http.rs"]
mod http_support;
#[cfg(test)]
#[path = "support/mesh.rs"]
mod mesh;
#[cfg(test)]
#[path = "support/shop.rs"]
mod shop;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use http_support::{Client, Upstream, get, plain};
use mesh::{TestProxy, settings};
use mesh_api::cluster::{Cluster, ConnectionLimits};
use mesh_api::route::{Forward, RetryCondition, RetryPolicy};
use shop::{SHOP, Shop, always, cluster, forward};

fn retrying() -> Forward {
    let retry = RetryPolicy {
        attempts: 2,
        on: [RetryCondition::GatewayError].into_iter().collect(),
        ..RetryPolicy::off()
    };
    Forward {
        retry,
        ..forward(SHOP)
    }
}

fn limited(limits: ConnectionLimits) -> Cluster {
    Cluster {
        limits,
        ..cluster(SHOP)
    }
}

/// One worker, so that a limit of one is exact.
async fn alone(limits: ConnectionLimits, upstream: &Upstream) -> Shop {
    let mut settings = settings();
    settings.concurrency = NonZeroUsize::MIN;
    let proxy = TestProxy::with(settings);
    let rules = vec![always(forward(SHOP))];
    Shop::on(proxy, limited(limits), &[upstream.address], rules).await
}

/// Answers after `millis`.
async fn slow(millis: u64) -> Upstream {
    Upstream::serve(move |_, _| async move {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        plain(200, "done")
    })
    .await
}

#[tokio::test]
async fn requests_over_the_limit_are_refused_at_once() {
    let upstream = slow(500).await;
    let limits = ConnectionLimits {
        max_requests: Some(1),
        ..ConnectionLimits::default()
    };
    let shop = alone(limits, &upstream).await;
    let (address, mut first) = (shop.address, Client::http1(shop.address).await);
    let running = tokio::spawn(async move { first.get(SHOP, "/").await.status });
    tokio::time::sleep(Duration::from_millis(150)).await;
    let started = Instant::now();
    let refused = Client::http1(address).await.get(SHOP, "/").await;
    assert!(started.elapsed() < Duration::from_millis(300));
    assert_eq!(
        (refused.status, refused.header("x-envoy-overloaded")),
        (503, "true")
    );
    assert_eq!(running.await.unwrap(), 200);
    shop.counted(503, "UO").await;
    assert_eq!(shop.get("/").await.status, 200);
}

#[tokio::test]
async fn a_request_waits_for_the_only_connection_and_the_next_is_refused() {
    let upstream = slow(400).await;
    let limits = ConnectionLimits {
        max_connections: Some(1),
        max_pending_requests: Some(1),
        ..ConnectionLimits::default()
    };
    let shop = alone(limits, &upstream).await;
    let mut statuses = Vec::new();
    let mut running = Vec::new();
    for _ in 0..3 {
        let address = shop.address;
        running.push(tokio::spawn(async move {
            Client::http1(address).await.get(SHOP, "/").await.status
        }));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for one in running {
        statuses.push(one.await.unwrap());
    }
    assert_eq!(statuses, [200, 200, 503]);
    assert_eq!(upstream.connections(), 1);
    shop.counted(503, "UO").await;
}

#[tokio::test]
async fn connections_are_used_up_and_retries_are_limited() {
    let upstream = slow(0).await;
    let limits = ConnectionLimits {
        max_requests_per_connection: Some(1),
        ..ConnectionLimits::default()
    };
    let shop = alone(limits, &upstream).await;
    let mut client = Client::http1(shop.address).await;
    for _ in 0..5 {
        assert_eq!(client.get(SHOP, "/").await.status, 200);
    }
    assert_eq!(upstream.connections(), 5);

    let upstream = Upstream::status(503).await;
    let limits = ConnectionLimits {
        max_retries: Some(0),
        ..ConnectionLimits::default()
    };
    let rules = vec![always(retrying())];
    let shop = Shop::with(limited(limits), &[upstream.address], rules).await;
    assert_eq!((shop.get("/").await.status, upstream.requests()), (503, 1));
    shop.counted(503, "UO").await;
}

#[tokio::test]
async fn draining_finishes_what_is_in_flight_and_closes_the_rest() {
    let upstream = slow(300).await;
    let shop = Shop::new(&[upstream.address], forward(SHOP)).await;
    let (mut busy, mut busy2) = (
        Client::http1(shop.address).await,
        Client::http2(shop.address).await,
    );
    let running = tokio::spawn(async move {
        let answer = busy.get(SHOP, "/").await;
        assert_eq!(answer.header("connection"), "close");
        (answer.status, busy.try_send(get(SHOP, "/")).await.is_err())
    });
    let running2 = tokio::spawn(async move {
        let answer = busy2.get(SHOP, "/").await;
        (answer.status, busy2.try_send(get(SHOP, "/")).await.is_err())
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    shop.proxy.drain.trigger();
    assert_eq!(running.await.unwrap(), (200, true));
    assert_eq!(running2.await.unwrap(), (200, true));
}
